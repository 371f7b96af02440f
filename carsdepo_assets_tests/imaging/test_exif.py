"""imaging/exif.py: orientation, time and camera; damaged and hostile blocks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from carsdepo_assets.imaging.decode import decode, upright
from carsdepo_assets.imaging.exif import ExifFacts, read_exif
from carsdepo_assets_tests.imaging.files import LIMITS, saved, scene


def block(main: dict[int, object] | None = None, sub: dict[int, object] | None = None) -> bytes:
    exif = Image.Exif()
    exif.update(main or {})
    if sub:
        exif.get_ifd(0x8769).update(sub)
    return exif.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_agrees_with_pillow(orientation: int) -> None:
    stored = Image.fromarray(scene(64, 40))
    stored.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored))
    assert np.array_equal(upright(scene(64, 40), orientation), expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_format_is_turned(kind: str, orientation: int) -> None:
    options: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}
    data = saved(scene(96, 64), kind, exif=block({0x0112: orientation}), **options.get(kind, {}))
    decoded = decode(data, **LIMITS)
    expected = upright(scene(96, 64), orientation)
    assert decoded.orientation == orientation
    assert (decoded.height, decoded.width) == decoded.rgb.shape[:2] == expected.shape[:2]
    assert np.abs(decoded.rgb.astype(int) - expected).mean() < 6


@pytest.mark.parametrize(
    ("main", "sub", "expected"),
    [
        ({}, {}, ExifFacts()),
        ({0x010F: "Canon", 0x0110: "Canon EOS 5D"}, {}, ExifFacts(camera="Canon EOS 5D")),
        ({0x010F: "Apple", 0x0110: "iPhone 12"}, {}, ExifFacts(camera="Apple iPhone 12")),
        ({0x0110: "  X\t1\x07 "}, {}, ExifFacts(camera="X1")),
        ({0x010F: "   "}, {}, ExifFacts()),
        ({}, {0x9003: "2024:05:31 18:20:01"}, ExifFacts(captured_at=datetime(2024, 5, 31, 18, 20, 1, tzinfo=UTC))),
        (
            {},
            {0x9003: "2024:05:31 18:20:01", 0x9011: "+02:00"},
            ExifFacts(captured_at=datetime(2024, 5, 31, 16, 20, 1, tzinfo=UTC)),
        ),
        (
            {0x0132: "2023:01:02 03:04:05"},
            {0x9003: "0000:00:00 00:00:00"},
            ExifFacts(captured_at=datetime(2023, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ),
        ({0x0132: "0001:01:01 00:00:00"}, {0x9010: "+14:00"}, ExifFacts()),
        ({0x0132: "yesterday"}, {}, ExifFacts()),
        ({0x0112: 0}, {}, ExifFacts()),
        ({0x0112: 9}, {}, ExifFacts()),
    ],
    ids=str,
)
def test_facts(main: dict[int, object], sub: dict[int, object], expected: ExifFacts) -> None:
    assert read_exif(block(main, sub)) == expected


def test_big_and_little_endian_agree() -> None:
    little = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    big = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    assert read_exif(little).orientation == read_exif(big).orientation == 6


@pytest.mark.parametrize("seed", range(20))
def test_damaged_blocks_never_raise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    good = block({0x0112: 6, 0x010F: "Apple", 0x0110: "iPhone 12"}, {0x9003: "2024:05:31 18:20:01"})
    for _ in range(50):
        damaged = bytearray(good)
        for at in rng.integers(6, len(good), 4):
            damaged[at] = rng.integers(0, 256)
        facts = read_exif(bytes(damaged[: rng.integers(0, len(good) + 1)]))
        assert 1 <= facts.orientation <= 8


def test_an_unreadable_block_is_noted_and_the_photograph_kept() -> None:
    decoded = decode(saved(scene(), exif=b"Exif\0\0not a tiff block"), **LIMITS)
    assert (decoded.notes, decoded.orientation) == ("exif unreadable", 1)
