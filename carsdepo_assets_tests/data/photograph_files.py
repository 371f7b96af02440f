"""Small photographs and lakes, for the tests of the data step."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import numpy as np
from PIL import Image

NOW = datetime(2030, 1, 1, tzinfo=UTC)  # later than any file that a test writes


def photograph(seed: int, width: int = 64, height: int = 48) -> bytes:
    """A JPEG of smooth noise."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def animated() -> bytes:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=50)
    return out.getvalue()
