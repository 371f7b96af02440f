"""Finds files whose size was reserved before they were copied, and whose copy never came to its end.

Their rest is zeros. The decoders of JPEG, GIF and packed TIFF notice it; those of PNG, WebP and AVIF take zeros for a
picture. PNG has checksums, which Pillow does not look at.
"""

from __future__ import annotations

import zlib

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.isobmff import last_box

# A photograph's data never end in so many zeros: they are packed to look like noise. Files are copied in blocks of this
# size and more.
_MOST = 512


def check_written(data: bytes, kind: str) -> None:
    """Refuses a PNG with a wrong checksum, and a WebP, AVIF or HEIC file whose picture ends in zeros.

    Zeros behind the end that the file itself names, or in a part that is free by name, are none of the picture.

    Args:
        data: the file's bytes.
        kind: the format, as headers.sniff names it; others than these are not looked at.

    Raises:
        BadImage: truncated.
    """
    if kind == "png":
        _check_sums(data)
        return
    if kind == "webp":
        end = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    elif kind not in ("avif", "heic"):
        return
    else:
        name, end = last_box(data)
        if name != b"mdat":
            return
    zeros = end - len(data[:end].rstrip(b"\0")) if data[max(0, end - _MOST) : end].count(0) == _MOST else 0
    if zeros >= _MOST:
        raise BadImage("truncated", f"{kind}: its last {zeros} bytes are zeros, as of a file that was not copied whole")


def _check_sums(data: bytes) -> None:
    """Compares the checksums of a PNG's chunks of pixels; a chunk that the file ends in is left to the decoder."""
    view, at = memoryview(data), 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        name = data[at + 4 : at + 8]
        if end > len(data) or name == b"IEND":
            return
        if name == b"IDAT" and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise BadImage("truncated", f"png: the checksum of its pixels at byte {at} is wrong")
        at = end
