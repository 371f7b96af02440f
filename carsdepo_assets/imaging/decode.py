"""Decodes the bytes of an image file to upright RGB, or says why that is not possible.

The limits on size are checked against the file's header, before memory for the pixels is taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from carsdepo_assets.imaging import pillow_formats
from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.exif import read_exif
from carsdepo_assets.imaging.headers import JpegHeader, jpeg_header, sniff, webp_size

__all__ = ["BadImage", "Decoded", "ExifDict", "decode", "upright"]


# Eighths at which libjpeg-turbo decodes no slower than at full scale; 5, 6 and 7 take up to 1.6 times as long.
_SCALES = (1, 2, 3, 4, 8)
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
    """height x width x 3, upright; smaller than the original where `at_least` allowed it"""
    format: str
    """jpeg, png, gif, bmp, tiff, webp or avif"""
    orientation: int
    """EXIF's, 1..8; already applied to rgb"""
    notes: str
    """what decoding had to do (grey, cmyk, alpha, 16-bit ...), comma-separated; "" for nothing"""
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
) -> Decoded:
    """Decodes one photograph.

    Args:
        data: the file's bytes.
        max_bytes: larger files are refused.
        max_pixels: larger images (width times height, as the header says) are refused.
        min_side: images with a shorter side are refused, in pixels.
        max_pixels_other: likewise, of formats other than JPEG and PNG, whose decoders take up to 16 bytes of memory for
            each pixel; None: as many as of those.
        at_least: pixels; the photograph may be decoded at a reduced scale whose longest side is still at least this: a
            JPEG (12 megapixels take 22 ms instead of 34), and other formats above LARGE_PX. None: every pixel is kept.

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
    if kind == "heic":
        raise BadImage("unsupported", "HEIC: have the phone send JPEG")
    max_pixels = most_pixels(kind, max_pixels, max_pixels_other)
    header: JpegHeader | None = None
    if kind == "jpeg":
        header = jpeg_header(data)
        _check_size(header.width, header.height, max_pixels, min_side, kind)
        rgb, notes = _jpeg(data, header, at_least)
        width, height, block = header.width, header.height, header.exif
    else:
        if kind == "webp":
            _check_size(*webp_size(data), max_pixels, min_side, kind)
        image = pillow_formats.open_image(data, kind)
        width, height = image.size
        _check_size(width, height, max_pixels, min_side, kind)
        rgb, notes, block = pillow_formats.to_rgb(image, data, kind, _reduction(width, height, at_least))
        width, height = image.size  # Pillow turns TIFF itself
        del image  # it has the pixels a second time
    facts = read_exif(block)
    if not facts.readable:
        notes.append("exif unreadable")
    turned = 1 if kind == "tiff" else facts.orientation
    rgb = upright(rgb, turned)
    if turned >= 5:
        width, height = height, width
    return Decoded(
        rgb,
        kind,
        facts.orientation,
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
        expected = -(-longest * _eighths(longest, at_least) // 8)
    else:
        expected = -(-longest // _reduction(decoded.width, decoded.height, at_least))
    return bool(max(decoded.rgb.shape) == expected)


def declared_pixels(data: bytes) -> int:
    """The number of pixels that a file's header names, read without decoding any; 0 where it is not known yet."""
    kind = sniff(data)
    if kind is None or kind == "heic":
        return 0
    if kind == "jpeg":
        header = jpeg_header(data)
        return header.width * header.height
    width, height = webp_size(data) if kind == "webp" else pillow_formats.open_image(data, kind).size
    return int(width * height)


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


def _jpeg(data: bytes, header: JpegHeader, at_least: int | None) -> tuple[NDArray[np.uint8], list[str]]:
    """Pixels as stored (not upright) and notes."""
    if header.precision != 8:
        raise BadImage("unsupported", f"JPEG of {header.precision} bits a sample")
    if header.components not in (1, 3, 4):
        raise BadImage("unsupported", f"JPEG of {header.components} components")
    notes = {1: ["grey"], 4: ["cmyk"]}.get(header.components, [])
    width, height = _scaled(header, at_least)
    colours = "CMYK" if header.components == 4 else "RGB"
    try:
        pixels = simplejpeg.decode_jpeg(data, colours, min_width=width, min_height=height)
    except ValueError as error:
        message = str(error)
        if "Insufficient memory" in message:
            raise MemoryError(message) from error
        if _harmless(message, data, header):
            pixels = simplejpeg.decode_jpeg(data, colours, min_width=width, min_height=height, strict=False)
            notes.append("padded scan")
        elif "subsampling" in message:  # sampling factors that TurboJPEG's interface cannot name
            rgb, pillow_notes, _ = pillow_formats.to_rgb(pillow_formats.open_image(data, "jpeg"), data, "jpeg")
            return rgb, [*pillow_notes, "unusual subsampling"]
        else:
            unread = re.search(r"[Uu]nsupported|[Nn]ot (supported|implemented)", message)
            raise BadImage("unsupported" if unread else "truncated", message) from error
    if header.components == 4:
        if not header.adobe:  # Adobe stores CMYK inverted, and says that it was Adobe
            pixels = cv2.bitwise_not(pixels)
        black = pixels[..., 3:]
        pixels = cv2.multiply(pixels[..., :3], cv2.merge([black] * 3), scale=1 / 255)
    return pixels, notes


def _scaled(header: JpegHeader, at_least: int | None) -> tuple[int, int]:
    """Width and height of the smallest of JPEG's n/8 scales whose longest side is at least `at_least`."""
    eighths = _eighths(max(header.width, header.height), at_least)
    return -(-header.width * eighths // 8), -(-header.height * eighths // 8)


def _eighths(longest: int, at_least: int | None) -> int:
    return 8 if not at_least else next((n for n in _SCALES if n * longest >= 8 * at_least), 8)


def _harmless(message: str, data: bytes, header: JpegHeader) -> bool:
    """Whether a sequential scan's only fault is padding before the end marker, which some cameras write.

    The same warning about other bytes means damage: the decoder lost its place and had data left over.
    """
    warning = re.search(r"(\d+) extraneous bytes before marker 0xd9", message)
    if not warning or not header.sequential:
        return False
    end = data.find(b"\xff\xd9", header.scan_at)
    padding = data[end - int(warning[1]) : end] if end > 0 else b"?"
    return not padding.strip(b"\x00\xff")
