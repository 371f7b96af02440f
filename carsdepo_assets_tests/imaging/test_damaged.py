"""imaging/unwritten.py, pillow_formats.py: a damaged file is a photograph or a BadImage, whatever is wrong with it."""

from __future__ import annotations

import random
import struct
from collections import Counter

import numpy as np
import pytest

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.decode import declared_pixels, decode
from carsdepo_assets_tests.imaging.files import LIMITS, saved, scene
from carsdepo_assets_tests.imaging.test_colour import CONVERTED, LEFT_ALONE
from carsdepo_assets_tests.imaging.test_formats import READ

FILES = [case[0] for cases in (READ, CONVERTED, LEFT_ALONE) for case in cases.values()]  # type: ignore[attr-defined]


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The file with some bytes changed, taken out or put in, mostly in its header, or cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(12, max(13, len(changed) if rng.random() < 0.4 else min(len(changed), 600)))
        match rng.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([rng.choice((0, 1, 127, 128, 255))])
            case 1:
                changed[at : at + 4] = rng.randbytes(4)
            case 2:
                del changed[at : at + rng.randrange(1, 50)]
            case 3:
                changed[at:at] = rng.randbytes(rng.randrange(1, 20))
            case _:
                del changed[at:]
    return bytes(changed)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow's, of damaged TIFF tags
@pytest.mark.parametrize("seed", range(6))
def test_a_damaged_file_is_a_photograph_or_a_refusal(seed: int) -> None:
    rng = random.Random(seed)
    outcomes: Counter[str] = Counter()
    for _ in range(120):
        data = damaged(rng.choice(FILES), rng)
        for read in (declared_pixels, lambda d: decode(d, **LIMITS)):
            try:
                read(data)
                outcomes["read"] += 1
            except BadImage as refusal:
                outcomes[refusal.reason] += 1
    assert outcomes["read"] > 20
    assert outcomes["truncated"] > 20


UNWRITTEN = {
    "avif": saved(scene(), "AVIF"),
    "webp": saved(scene(), "WEBP"),
    "webp, lossless": saved(scene(), "WEBP", lossless=True),
    "jpeg": saved(scene()),
    "progressive jpeg": saved(scene(), progressive=True),
    "png": saved(scene(), "PNG"),
    "gif": saved(scene(), "GIF"),
    "tiff, lzw": saved(scene(), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("name", UNWRITTEN)
def test_a_file_whose_rest_was_never_written_is_truncated(name: str, share: float) -> None:
    data = UNWRITTEN[name]
    at = int(share * len(data))
    with pytest.raises(BadImage, match="truncated"):
        decode(data[:at] + b"\0" * (len(data) - at), **LIMITS)


@pytest.mark.parametrize("name", ["avif", "webp", "webp, lossless", "png", "gif"])
def test_zeros_behind_a_whole_file_are_none_of_it(name: str) -> None:
    free = struct.pack(">I4s", 4096, b"free") if name == "avif" else b""
    whole, longer = (decode(data, **LIMITS) for data in (UNWRITTEN[name], UNWRITTEN[name] + free + b"\0" * 4088))
    assert np.array_equal(whole.rgb, longer.rgb)


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_picture_is_no_unwritten_one(kind: str, level: int) -> None:
    assert decode(saved(np.full((900, 1200, 3), level, np.uint8), kind), **LIMITS).width == 1200
