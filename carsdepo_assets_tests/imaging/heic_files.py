"""HEIC files for these tests: headers written by hand, and, where the optional package is installed, photographs."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from carsdepo_assets.imaging.heic import is_installed
from carsdepo_assets_tests.imaging.files import saved

needs_package = pytest.mark.skipif(not is_installed(), reason='needs pillow-heif: pip install "carsdepo[heic]"')


def box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), name) + body


def heic_claiming(width: int, height: int, code_points: tuple[int, int] = (1, 13)) -> bytes:
    """The header of a HEIC file of that size, as the standard has it, without a picture."""
    size = box(b"ispe", b"\0" * 4, struct.pack(">II", width, height))
    thumbnail = box(b"ispe", b"\0" * 4, struct.pack(">II", 160, 120))
    colours = box(b"colr", b"nclx", struct.pack(">HHHB", *code_points, 6, 128))
    of_thumbnail = box(b"colr", b"nclx", struct.pack(">HHHB", 9, 16, 6, 128))
    # Item 2, the thumbnail, has properties 1 and 2; item 1, the photograph, has 3 and 4.
    associated = struct.pack(">IHBBBHBBB", 2, 2, 2, 1, 2, 1, 2, 3, 4)
    properties = box(b"ipco", thumbnail, of_thumbnail, size, colours), box(b"ipma", b"\0" * 4, associated)
    meta = box(b"meta", b"\0" * 4, box(b"pitm", b"\0" * 4, struct.pack(">H", 1)), box(b"iprp", *properties))
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + meta


def heic(picture: np.ndarray | Image.Image, **options: Any) -> bytes:
    import pillow_heif  # type: ignore[import-not-found, unused-ignore]

    pillow_heif.register_heif_opener()
    return saved(picture, "HEIF", **{"quality": 95, "chroma": 444, **options})
