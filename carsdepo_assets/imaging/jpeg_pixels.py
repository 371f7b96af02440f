"""Decodes a JPEG's pixels: strictly, at a reduced scale where that is enough, and to sRGB."""

from __future__ import annotations

import re

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from carsdepo_assets.imaging import pillow_formats
from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.colour import UNREADABLE, Declared, conversion
from carsdepo_assets.imaging.colour_tags import profile_segments
from carsdepo_assets.imaging.headers import JpegHeader, jpeg_header
from carsdepo_assets.imaging.scans import walk_scans

# Eighths at which libjpeg-turbo decodes no slower than at full scale; 5, 6 and 7 take up to 1.6 times as long.
_SCALES = (1, 2, 3, 4, 8)
_MAX_SCANS = 100  # progressive encoders write about 10; thousands of scans decode for minutes
_END = b"\xff\xd9"


def read_jpeg(
    data: bytes, header: JpegHeader, at_least: int | None, declared: Declared
) -> tuple[NDArray[np.uint8], list[str]]:
    """Decodes a JPEG.

    Args:
        data: the file's bytes.
        header: its header.
        at_least: pixels; the longest side may be reduced to no less; None: every pixel is kept.
        declared: what the file says about its colours.

    Returns:
        Its pixels as stored (not upright), and notes on what had to be done.

    Raises:
        BadImage: truncated or unsupported.
        MemoryError: there is not enough memory for it.
    """
    if header.precision != 8:
        raise BadImage("unsupported", f"JPEG of {header.precision} bits a sample")
    if header.components not in (1, 3, 4):
        raise BadImage("unsupported", f"JPEG of {header.components} components")
    _check_scans(data, header)
    notes = {1: ["grey"], 4: ["cmyk"]}.get(header.components, [])
    width, height = scaled(header, at_least)
    colours = "CMYK" if header.components == 4 else "RGB"
    try:
        pixels = simplejpeg.decode_jpeg(data, colours, min_width=width, min_height=height)
    except ValueError as error:
        message = str(error)
        if "Insufficient memory" in message:
            raise MemoryError(message) from error
        if "subsampling" in message:  # sampling factors that TurboJPEG's interface cannot name
            image = pillow_formats.open_image(data, "jpeg")
            rgb, more, _ = pillow_formats.to_rgb(image, data, "jpeg", declared=declared)
            return rgb, [*more, "unusual subsampling"]
        if _is_padding(message, data, header):
            pixels = simplejpeg.decode_jpeg(data, colours, min_width=width, min_height=height, strict=False)
            notes.append("padded scan")
        elif "ICC" in message and profile_segments(
            data, header
        ):  # libjpeg warns of a profile that does not fit together
            bare = _without_profile(data, header)
            return read_jpeg(bare, jpeg_header(bare), at_least, Declared(note=UNREADABLE))
        elif _lacks_only_its_end(message, data, header):
            try:
                pixels = simplejpeg.decode_jpeg(data + _END, colours, min_width=width, min_height=height)
            except ValueError as fault:
                raise BadImage("truncated", f"{fault} (it has no end marker either)") from fault
            notes.append("no end marker")
        else:
            unread = re.search(r"[Uu]nsupported|[Nn]ot (supported|implemented)", message)
            raise BadImage("unsupported" if unread else "truncated", message) from error
    rgb, note = _coloured(pixels, header, declared)
    return rgb, [*notes, note] if note else notes


def _without_profile(data: bytes, header: JpegHeader) -> bytes:
    parts, at = [], 0
    for segment in profile_segments(data, header):
        parts.append(data[at : segment.start])
        at = segment.end
    return b"".join([*parts, data[at:]])


def scaled(header: JpegHeader, at_least: int | None) -> tuple[int, int]:
    """Width and height of the smallest of JPEG's n/8 scales whose longest side is at least `at_least`."""
    n = eighths(max(header.width, header.height), at_least)
    return -(-header.width * n // 8), -(-header.height * n // 8)


def eighths(longest: int, at_least: int | None) -> int:
    """The scale in eighths at which a JPEG of this longest side is decoded."""
    return 8 if not at_least else next((n for n in _SCALES if n * longest >= 8 * at_least), 8)


def _coloured(pixels: NDArray[np.uint8], header: JpegHeader, declared: Declared) -> tuple[NDArray[np.uint8], str]:
    """The pixels as sRGB, and a note, empty for none."""
    convert = conversion(declared, header.components)
    if header.components == 4:
        if not header.adobe:  # Adobe stores CMYK inverted, and says that it was Adobe
            pixels = np.asarray(cv2.bitwise_not(pixels), np.uint8)
        if convert.transform is not None:
            return convert(np.asarray(cv2.bitwise_not(pixels), np.uint8)), convert.note
        black = pixels[..., 3:]
        product = cv2.multiply(pixels[..., :3], cv2.merge([black] * 3), scale=1 / 255)
        return np.asarray(product, np.uint8), convert.note
    return convert(pixels[..., :1] if convert.channels == 1 and convert.transform else pixels), convert.note


def _check_scans(data: bytes, header: JpegHeader) -> None:
    """Refuses a JPEG of several scans that lacks some of them: it would decode without a fault, blurred."""
    if not header.progressive and data[header.scan_at + 4] == header.components:
        return
    scans = walk_scans(data, header, _MAX_SCANS + 1)
    if scans.number > _MAX_SCANS:
        raise BadImage("unsupported", f"JPEG of more than {_MAX_SCANS} scans")
    if not scans.is_complete:
        raise BadImage("truncated", f"JPEG of {scans.number} scans, the last of which are missing")


def _lacks_only_its_end(message: str, data: bytes, header: JpegHeader) -> bool:
    """Whether a JPEG may be whole but for its end marker.

    It is, when with that marker put behind it libjpeg decodes it without one warning: it warns both of a scan whose
    data end early and of data that are left over. (That no scan is missing was looked at before.) Zeros at the end may
    be the rest of a file that was not copied; they decode as pixels, so that such a file stays refused.
    """
    if "Premature end of JPEG file" not in message or data.endswith(b"\0\0"):
        return False
    return not walk_scans(data, header, _MAX_SCANS + 1).has_end


def _is_padding(message: str, data: bytes, header: JpegHeader) -> bool:
    """Whether a sequential scan's only fault is padding before the end marker, which some cameras write.

    The same warning about other bytes means damage: the decoder lost its place and had data left over.
    """
    warning = re.search(r"(\d+) extraneous bytes before marker 0xd9", message)
    if not warning or not header.sequential:
        return False
    end = data.find(_END, header.scan_at)
    padding = data[end - int(warning[1]) : end] if end > 0 else b"?"
    return not padding.strip(b"\x00\xff")
