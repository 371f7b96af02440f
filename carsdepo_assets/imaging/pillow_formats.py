"""Decodes by Pillow what is not JPEG: one frame, as RGB, whatever the file's colour mode."""

from __future__ import annotations

import functools
import io
import re
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.colour import Declared, conversion
from carsdepo_assets.imaging.colour_tags import (
    by_code_points,
    by_exif,
    colours_of_bmp,
    colours_of_png,
    of_profile,
)
from carsdepo_assets.imaging.exif import read_exif
from carsdepo_assets.imaging.isobmff import isobmff_header
from carsdepo_assets.imaging.tiff_pages import photograph_page

# The readers themselves and not Image.open, whose limit on pixels is a global of the process: the policy has its own.
_READERS: dict[str, Any] = {
    "png": PngImagePlugin.PngImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
}
# The errors that Pillow's readers raise on damaged files.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
)
_STRIP = 256  # rows
_FILLS = (77, 78)  # rare in whole rows, so that pictures are seldom read twice; of mode "1": (1, 0)
_ICC_TAG = 34675  # TIFF's, of the ICC profile
_OUT_OF_MEMORY = "error -9"
_UNREAD = re.compile(r"[Uu]nsupported|[Nn]ot supported|unknown (pixel mode|data organization)|[Cc]annot handle")
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def open_image(data: bytes, kind: str) -> Any:
    """Opens a file by Pillow without reading its pixels.

    Args:
        data: the file's bytes.
        kind: its format, as headers.sniff names it.

    Returns:
        Pillow's image.

    Raises:
        BadImage: truncated, unsupported, animated or too_many_pixels.
    """
    page = photograph_page(data).index if kind == "tiff" else 0
    if kind == "png":
        data = colours_of_png(data)[1]
    try:
        image = _READERS[kind](io.BytesIO(data))
        if page:
            image.seek(page)
        animated = kind != "tiff" and bool(getattr(image, "is_animated", False))
    except _BOMB as error:
        raise BadImage("too_many_pixels", str(error)) from error
    except _DAMAGE as error:
        raise _fault(kind, error) from error
    if animated:
        raise BadImage("animated", f"{kind} of several frames")
    return image


def _fault(kind: str, error: Exception) -> BadImage:
    return BadImage("unsupported" if _UNREAD.search(str(error)) else "truncated", f"{kind}: {error}")


def colours(image: Any, data: bytes, kind: str) -> Declared | None:
    """Returns what a file says about its colours besides EXIF; None for nothing.

    Args:
        image: Pillow's image.
        data: the file's bytes.
        kind: its format; not jpeg.

    Raises:
        BadImage: unsupported: it is for HDR screens.
    """
    if kind == "png":
        return colours_of_png(data)[0]
    if kind == "bmp":
        return colours_of_bmp(data)
    profile = image.tag_v2.get(_ICC_TAG) if kind == "tiff" else image.info.get("icc_profile")
    if isinstance(profile, bytes) and profile:
        return of_profile(profile)
    if kind == "avif" and (points := isobmff_header(data, kind).code_points):
        return by_code_points(*points)
    return None


def to_rgb(
    image: Any, data: bytes, kind: str, reduction: int = 1, declared: Declared | None = None
) -> tuple[NDArray[np.uint8], list[str], bytes]:
    """Reads the pixels of an image that open_image opened, as sRGB.

    Args:
        image: Pillow's image.
        data: the file's bytes.
        kind: its format.
        reduction: blocks of so many pixels squared are averaged to one.
        declared: what the file says about its colours; None: that is looked for here.

    Returns:
        The pixels as stored (height x width x 3; transparency laid on white), notes on what had to be done, and the
        EXIF block (empty when there is none).

    Raises:
        BadImage: truncated, unsupported or too_many_pixels.
        MemoryError: there is not enough memory for it.
    """
    declared = declared or colours(image, data, kind)
    try:
        _load(image, data, kind)
        # A TIFF file is itself the structure that EXIF blocks have.
        exif = data if kind == "tiff" else image.info.get("exif", b"")
        exif = exif if isinstance(exif, bytes) else b""
        rgb, notes = _convert(image, declared or by_exif(read_exif(exif).adobe_rgb), reduction)
    except _BOMB as error:
        raise BadImage("too_many_pixels", str(error)) from error
    except _DAMAGE as error:
        if _OUT_OF_MEMORY in str(error):
            raise MemoryError(str(error)) from error
        raise _fault(kind, error) from error
    if kind == "png" and data[24] == 16:
        notes.append("16-bit")
    return rgb, notes, exif


def _load(image: Any, data: bytes, kind: str) -> None:
    """Reads all pixels, or raises BadImage.

    Pillow takes a PNG whose compressed data end early, but properly, for whole, and leaves its other rows black.
    So the memory is filled with a colour beforehand: a row that has it still after a second reading with another
    colour was never written.
    """
    if kind != "png" or not _is_left(image, _FILLS[0]):
        image.load()
        return
    again = open_image(data, kind)
    if _is_left(again, _FILLS[1]):
        raise BadImage("truncated", "png: its data end before its last row")


def _is_left(image: Any, fill: int) -> bool:
    """Reads all pixels into memory filled with a colour; returns whether one of the last two rows has it still."""
    value = fill % 2 if image.mode == "1" else fill
    bands = len(Image.new(image.mode, (1, 1)).getbands())
    colour = value if bands == 1 else (value,) * bands
    image.im = Image.new(image.mode, image.size, colour).im
    image.load()
    width, height = image.size
    # Of interlaced pictures the last but one may be written by an earlier pass.
    rows = np.asarray(image.crop((0, height - 2, width, height)))
    return any((row == value).all() for row in rows)


def _convert(image: Any, declared: Declared, reduction: int) -> tuple[NDArray[np.uint8], list[str]]:
    mode = image.mode
    if mode in ("I", "F"):
        raise BadImage("unsupported", f"{image.format} with pixels of mode {mode}: their range is unknown")
    notes = {"L": ["grey"], "LA": ["grey"], "1": ["grey"], "P": ["palette"], "PA": ["palette"], "CMYK": ["cmyk"]}.get(
        mode, []
    )
    if is_deep := mode.startswith("I;16"):
        notes = ["grey"] if image.format == "PNG" else ["grey", "16-bit"]
    has_alpha = mode in ("LA", "PA", "RGBA", "La", "RGBa") or (not is_deep and "transparency" in image.info)
    if mode == "LAB":  # a space of its own, which says all about its colours
        notes, declared = ["lab"], Declared()
    convert = conversion(declared, 4 if mode == "CMYK" else 1 if "grey" in notes else 3)
    is_inks = mode == "CMYK" and convert.transform is not None
    # By strips: whole conversions would hold up to four copies of all pixels at a time.
    width, height = image.size
    rows = max(1, _STRIP // reduction) * reduction  # no averaged block lies in two strips
    rgb = np.empty((-(-height // reduction), -(-width // reduction), 3), np.uint8)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(height, top + rows)))
        if is_deep:  # Pillow's own conversion clips at 255 and would give a white picture
            strip = Image.fromarray((np.asarray(strip) >> 8).astype(np.uint8))
        if has_alpha:
            front = strip.convert("RGBA")
            strip = Image.new("RGBA", front.size, (255, 255, 255, 255))
            strip.alpha_composite(front)
        if mode == "LAB":
            strip = _from_lab().apply(strip)
        elif not is_inks:
            strip = strip.convert("RGB")
        reduced = strip.reduce(reduction) if reduction > 1 else strip
        pixels = np.asarray(reduced)
        if convert.transform is not None and convert.channels == 1:
            pixels = pixels[..., :1]
        rgb[top // reduction :][: reduced.height] = convert(pixels)
    if has_alpha:
        notes = [*notes, "alpha"]
    return rgb, [*notes, convert.note] if convert.note else notes


@functools.cache
def _from_lab() -> Any:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB", renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC)
