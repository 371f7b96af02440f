"""Writes JPEG: encodes an image, or copies the compressed pixels of an original without its metadata."""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from carsdepo_assets.imaging.headers import JpegHeader

_KEPT_APPS = (b"JFIF\0", b"Adobe")  # both say how to read the colours


def encode_jpeg(rgb: NDArray[np.uint8], quality: int) -> bytes:
    """Encodes an image as baseline JPEG, 4:2:0, without metadata. The same pixels give the same bytes.

    Args:
        rgb: height x width x 3.
        quality: 1..100, on libjpeg's scale.
    """
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality=quality, colorsubsampling="420"))


def rewrap_jpeg(data: bytes, header: JpegHeader) -> bytes | None:
    """Copies a JPEG without its metadata: EXIF with its GPS, thumbnails, profiles, comments, bytes behind the end.

    Tables and scan are copied as they are, so no pixel changes.

    Args:
        data: the file's bytes, which decoded without a fault or a note.
        header: its header.

    Returns:
        The copy; None where it would not be certain to be right: progressive files, several scans, no end marker.
    """
    if not header.sequential or data[header.scan_at + 4] != header.components:  # components of the first scan: all?
        return None
    # Inside entropy-coded data 0xFF is followed by 0x00 or a restart marker, so the first 0xFFD9 is the end.
    end = data.find(b"\xff\xd9", header.scan_at)
    if end < 0:
        return None
    view = memoryview(data)
    parts: list[bytes | memoryview] = [b"\xff\xd8"]
    for s in header.segments:
        metadata = s.marker == 0xFE or (0xE0 <= s.marker <= 0xEF and data[s.start + 4 : s.start + 9] not in _KEPT_APPS)
        if not metadata:
            parts.append(view[s.start : s.end])
    parts.append(view[header.scan_at : end + 2])
    return b"".join(parts)
