"""Decodes by Pillow what is not JPEG: one frame, as RGB, whatever the file's colour mode."""

from __future__ import annotations

import io
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
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from carsdepo_assets.imaging.bad_image import BadImage

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
_OUT_OF_MEMORY = "error -9"
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def open_image(data: bytes, kind: str) -> Any:
    """Opens a file by Pillow without reading its pixels.

    Args:
        data: the file's bytes.
        kind: its format, as headers.sniff names it.

    Returns:
        Pillow's image.

    Raises:
        BadImage: truncated, animated or too_many_pixels.
    """
    try:
        image = _READERS[kind](io.BytesIO(data))
        animated = bool(getattr(image, "is_animated", False))
    except _BOMB as error:
        raise BadImage("too_many_pixels", str(error)) from error
    except _DAMAGE as error:
        raise BadImage("truncated", f"{kind}: {error}") from error
    if animated:
        raise BadImage("animated", f"{kind} of several frames or pages")
    return image


def to_rgb(image: Any, data: bytes, kind: str, reduction: int = 1) -> tuple[NDArray[np.uint8], list[str], bytes]:
    """Reads the pixels of an image that open_image opened.

    Args:
        image: Pillow's image.
        data: the file's bytes.
        kind: its format.
        reduction: blocks of so many pixels squared are averaged to one.

    Returns:
        The pixels as stored (height x width x 3; transparency laid on white), notes on what had to be done, and the
        EXIF block (empty when there is none).

    Raises:
        BadImage: truncated, unsupported or too_many_pixels.
        MemoryError: there is not enough memory for it.
    """
    try:
        _load(image, data, kind)
        rgb, notes = _convert(image, reduction)
    except _BOMB as error:
        raise BadImage("too_many_pixels", str(error)) from error
    except _DAMAGE as error:
        if _OUT_OF_MEMORY in str(error):
            raise MemoryError(str(error)) from error
        raise BadImage("truncated", f"{kind}: {error}") from error
    if kind == "png" and data[24] == 16:
        notes.append("16-bit")
    # A TIFF file is itself the structure that EXIF blocks have.
    exif = data if kind == "tiff" else image.info.get("exif", b"")
    return rgb, notes, exif if isinstance(exif, bytes) else b""


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


def _convert(image: Any, reduction: int) -> tuple[NDArray[np.uint8], list[str]]:
    mode = image.mode
    if mode in ("I", "F"):
        raise BadImage("unsupported", f"{image.format} with pixels of mode {mode}: their range is unknown")
    notes = {"L": ["grey"], "LA": ["grey"], "1": ["grey"], "P": ["palette"], "PA": ["palette"], "CMYK": ["cmyk"]}.get(
        mode, []
    )
    if is_deep := mode.startswith("I;16"):
        notes = ["grey"] if image.format == "PNG" else ["grey", "16-bit"]
    has_alpha = mode in ("LA", "PA", "RGBA", "La", "RGBa") or (not is_deep and "transparency" in image.info)
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
        strip = strip.convert("RGB")
        reduced = strip.reduce(reduction) if reduction > 1 else strip
        rgb[top // reduction :][: reduced.height] = np.asarray(reduced)
    return rgb, [*notes, "alpha"] if has_alpha else notes
