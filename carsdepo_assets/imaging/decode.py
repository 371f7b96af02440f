"""Decodes the bytes of an image file to upright RGB, or says why that is not possible.

The limits on size are checked against the file's header, before memory for the pixels is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.imaging import heic as heic_format
from carsdepo_assets.imaging import pillow_formats
from carsdepo_assets.imaging.bad_image import BadImage, SwitchedOff
from carsdepo_assets.imaging.colour_tags import colours_of_jpeg
from carsdepo_assets.imaging.exif import ExifFacts, read_exif
from carsdepo_assets.imaging.headers import JpegHeader, jpeg_header, sniff, webp_size
from carsdepo_assets.imaging.isobmff import isobmff_header
from carsdepo_assets.imaging.jpeg_pixels import eighths, read_jpeg
from carsdepo_assets.imaging.tiff_pages import photograph_page

__all__ = ["BadImage", "Decoded", "ExifDict", "decode", "upright"]

# Above this many, pixels of formats other than JPEG are averaged while they are converted: Pillow holds four bytes of
# each already.
LARGE_PX = 16_000_000
# cv2.flip's code for each EXIF orientation, after transposing 5..8: 1 left-right, 0 up-down, -1 both.
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}


class ExifDict(TypedDict):
    """What is kept of a photograph's EXIF data besides its orientation."""

    captured_at: datetime | None
    """when it was taken, UTC"""
    camera: str | None
    """make and model"""


@dataclass(frozen=True)
class Decoded:
    """A decoded photograph."""

    rgb: NDArray[np.uint8]
    """height x width x 3, sRGB, upright; smaller than the original where `at_least` allowed it"""
    format: str
    """jpeg, png, gif, bmp, tiff, webp, avif or heic"""
    orientation: int
    """EXIF's, 1..8; already applied to rgb"""
    notes: str
    """what decoding had to do (grey, cmyk, alpha, Display P3 to sRGB ...), comma-separated; "" for nothing"""
    width: int
    """of the upright original, in pixels"""
    height: int
    """of the upright original, in pixels"""
    exif: ExifDict
    """time and camera"""
    header: JpegHeader | None = None
    """the segments of a JPEG; None for other formats"""


def decode(
    data: bytes,
    *,
    max_bytes: int,
    max_pixels: int,
    min_side: int,
    max_pixels_other: int | None = None,
    at_least: int | None = None,
    heic: bool = True,
) -> Decoded:
    """Decodes one photograph, to sRGB.

    Args:
        data: the file's bytes.
        max_bytes: larger files are refused.
        max_pixels: larger images (width times height, as the header says) are refused.
        min_side: images with a shorter side are refused, in pixels.
        max_pixels_other: likewise, of formats other than JPEG and PNG, whose decoders take up to 16 bytes of memory for
            each pixel; None: as many as of those.
        at_least: pixels; the photograph may be decoded at a reduced scale whose longest side is still at least this: a
            JPEG (12 megapixels take 22 ms instead of 34), and other formats above LARGE_PX. None: every pixel is kept.
        heic: whether HEIC is read, in a process of its own.

    Raises:
        BadImage: the photograph is refused; `reason` says why.
        MemoryError: there is not enough memory for it.
    """
    if not data:
        raise BadImage("empty", "0 bytes")
    if len(data) > max_bytes:
        raise BadImage("too_large", f"{len(data)} bytes, at most {max_bytes} are read")
    kind = sniff(data)
    if kind is None:
        raise BadImage("not_an_image", f"starts with {data[:12]!r}")
    if kind == "heic" and not heic:
        raise SwitchedOff("HEIC is not accepted (policy: inference.heic): have the phone send JPEG")
    if kind == "heic":
        heic_format.check_installed()
    max_pixels = most_pixels(kind, max_pixels, max_pixels_other)
    header: JpegHeader | None = None
    if kind == "jpeg":
        header = jpeg_header(data)
        _check_size(header.width, header.height, max_pixels, min_side, kind)
        width, height, facts = header.width, header.height, read_exif(header.exif)
        rgb, notes = read_jpeg(data, header, at_least, colours_of_jpeg(data, header, facts.adobe_rgb))
    elif kind == "heic":
        declared = isobmff_header(data, kind)
        _check_size(declared.width, declared.height, max_pixels, min_side, kind)
        picture = heic_format.read_heic(data, declared.width * declared.height, at_least, LARGE_PX)
        _check_size(picture.width, picture.height, max_pixels, min_side, kind)
        rgb, notes, width, height, facts = picture.rgb, picture.notes, picture.width, picture.height, picture.exif
    else:
        if kind in ("webp", "avif"):
            _check_size(*_size_before_opening(data, kind), max_pixels, min_side, kind)
        image = pillow_formats.open_image(data, kind)
        width, height = image.size
        _check_size(width, height, max_pixels, min_side, kind)
        rgb, notes, block = pillow_formats.to_rgb(image, data, kind, _reduction(width, height, at_least))
        width, height = image.size  # Pillow turns TIFF itself
        facts = read_exif(block)
        del image  # it has the pixels a second time
    if not facts.readable:
        notes.append("exif unreadable")
    orientation, turned = _orientation(data, kind, facts)
    rgb = upright(rgb, turned)
    if turned >= 5:
        width, height = height, width
    return Decoded(
        rgb,
        kind,
        orientation,
        ", ".join(notes),
        width,
        height,
        {"captured_at": facts.captured_at, "camera": facts.camera},
        header,
    )


def most_pixels(kind: str, max_pixels: int, max_pixels_other: int | None) -> int:
    """How many pixels a file of this format may have; arguments as of `decode`."""
    if kind in ("jpeg", "png") or max_pixels_other is None:
        return max_pixels
    return min(max_pixels, max_pixels_other)


def is_at_scale(decoded: Decoded, at_least: int | None) -> bool:
    """Whether `decode` would give the same pixels with this `at_least`."""
    longest = max(decoded.width, decoded.height)
    if decoded.format == "jpeg":
        expected = -(-longest * eighths(longest, at_least) // 8)
    else:
        expected = -(-longest // _reduction(decoded.width, decoded.height, at_least))
    return bool(max(decoded.rgb.shape) == expected)


def declared_pixels(data: bytes) -> int:
    """The number of pixels that a file's header names, read without decoding any; 0 where it is not known yet."""
    kind = sniff(data)
    if kind is None:
        return 0
    if kind == "jpeg":
        header = jpeg_header(data)
        return header.width * header.height
    if kind in ("webp", "avif", "heic"):
        width, height = _size_before_opening(data, kind)
    else:
        width, height = pillow_formats.open_image(data, kind).size
    return int(width * height)


def _size_before_opening(data: bytes, kind: str) -> tuple[int, int]:
    """Width and height of formats whose decoders take memory for the pixels when they open a file, or may."""
    if kind == "webp":
        return webp_size(data)
    declared = isobmff_header(data, kind)
    return declared.width, declared.height


def _orientation(data: bytes, kind: str, facts: ExifFacts) -> tuple[int, int]:
    """EXIF's orientation, and what is left to be applied of it."""
    if kind == "tiff":  # Pillow has turned the page
        return photograph_page(data).orientation, 1
    if kind == "heic":  # libheif has done what the file says; EXIF's word has no weight there (ISO/IEC 23008-12)
        return 1, 1
    return facts.orientation, facts.orientation


def _reduction(width: int, height: int, at_least: int | None) -> int:
    """The side of the blocks of pixels that are averaged to one; 1: none are."""
    if at_least is None or width * height <= LARGE_PX:
        return 1
    return max(1, max(width, height) // at_least)


def upright(rgb: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turns and mirrors an image as its EXIF orientation demands.

    Args:
        rgb: height x width x 3, as stored in the file.
        orientation: 1..8, as EXIF counts (CIPA DC-008, tag 0x0112); 1 leaves the image as it is.

    Returns:
        The upright image; its sides are exchanged for 5..8.
    """
    if orientation >= 5:  # the stored rows are columns
        rgb = np.asarray(cv2.transpose(rgb), np.uint8)
    flip = _FLIPS.get(orientation)
    return rgb if flip is None else np.asarray(cv2.flip(rgb, flip), np.uint8)


def _check_size(width: int, height: int, max_pixels: int, min_side: int, kind: str) -> None:
    if width * height > max_pixels:
        raise BadImage("too_many_pixels", f"{width} x {height}, at most {max_pixels} pixels of {kind} are decoded")
    if min(width, height) < min_side:
        raise BadImage("too_small", f"{width} x {height}, each side has at least {min_side}")
