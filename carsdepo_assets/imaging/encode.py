"""JPEG out: an image encoded, or an original's own scan without its metadata."""

from __future__ import annotations

import numpy as np
import simplejpeg

from carsdepo_assets.imaging.headers import JpegHeader

_KEPT_APPS = (b"JFIF\0", b"Adobe")  # both say how to read the colours


def encode_jpeg(rgb: np.ndarray, quality: int) -> bytes:
    """HxWx3 uint8 RGB as baseline JPEG, 4:2:0, without metadata. The same pixels give the same bytes."""
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality=quality, colorsubsampling="420"))


def rewrap_jpeg(data: bytes, header: JpegHeader) -> bytes | None:
    """The same pixels without metadata (EXIF with its GPS, thumbnails, profiles, comments, what follows the end).

    Copies tables and scan as they are, so nothing is lost and nothing is encoded twice. None where that is not
    certain: progressive files, several scans, no end marker. Call it only on data that decoded without complaint.
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
