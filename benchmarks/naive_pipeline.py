"""The image pipeline's work written in the simplest way, to compare with: Pillow, imagehash and numpy."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import imagehash
import numpy as np
from PIL import Image, ImageOps


def process(data: bytes, longest_side: int, quality: int = 90) -> dict[str, Any]:
    """sha256, decode, orient, features, perceptual hash, fit and encode of one photograph."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    width, height = image.size
    fitted = image.copy()
    fitted.thumbnail((longest_side, longest_side), Image.Resampling.BILINEAR)
    small = fitted.copy()
    small.thumbnail((640, 640), Image.Resampling.BILINEAR)  # features on 640 pixels, as in carsdepo_assets.imaging
    luma = np.asarray(small.convert("L"), np.float32)
    inner = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    saturation = np.asarray(small.convert("HSV"))[..., 1]
    mean_colour = np.asarray(small).reshape(-1, 3).mean(axis=0)
    out = io.BytesIO()
    fitted.save(out, "JPEG", quality=quality)
    return {
        "sha256": hashlib.sha256(data).hexdigest(),
        "phash": str(imagehash.phash(small)),
        "jpeg": out.getvalue(),
        "luma_mean": float(luma.mean()),
        "luma_std": float(luma.std()),
        "luma_p95": float(np.percentile(luma, 95)),
        "sharpness": float(laplacian.var()),
        "saturation": float(saturation.mean()),
        "colour_cast": float(np.ptp(mean_colour)),
        "width": width,
        "height": height,
    }
