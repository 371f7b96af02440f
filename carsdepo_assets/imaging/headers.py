"""Reads the headers of image files without decoding them: format, segments of a JPEG, size of a WebP."""

from __future__ import annotations

from dataclasses import dataclass

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.isobmff import brand_of

# Frame headers: SOF0..SOF15 without DHT, JPG and DAC (ITU-T T.81, table B.1).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers with no length: TEM, RST0..7
_MAX_SEGMENTS = 4096  # a colour profile takes up to 255; more than this is an attack on the loop below
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})  # sizes of the headers of its versions


@dataclass(frozen=True)
class JpegSegment:
    """One segment of a JPEG."""

    marker: int
    """second byte of its marker"""
    start: int
    """offset of its first byte, 0xFF"""
    end: int
    """offset behind its payload"""


@dataclass(frozen=True)
class JpegHeader:
    """What a JPEG holds before its first scan."""

    width: int
    """as stored, before EXIF's orientation"""
    height: int
    """as stored"""
    components: int
    """1 grey, 3 colour, 4 CMYK"""
    precision: int
    """bits a sample"""
    frame: int
    """marker of the frame header: 0xC0 baseline, 0xC2 progressive ..."""
    adobe: bool
    """whether it has Adobe's segment, and so stores CMYK inverted"""
    exif: bytes
    """the EXIF block without its `Exif` prefix; empty when there is none"""
    segments: tuple[JpegSegment, ...]
    """in the file's order"""
    scan_at: int
    """offset of the first scan"""
    component_ids: tuple[int, ...] = ()
    """as the frame header numbers its components, of which there are no more than four"""

    @property
    def sequential(self) -> bool:
        """Whether it is Huffman-coded in one pass: SOF0 or SOF1."""
        return self.frame in (0xC0, 0xC1)

    @property
    def progressive(self) -> bool:
        """Whether its scans refine each other: SOF2, SOF6, SOF10 or SOF14."""
        return self.frame in (0xC2, 0xC6, 0xCA, 0xCE)


def sniff(data: bytes) -> str | None:
    """Returns the format by the file's first bytes: jpeg, png, gif, bmp, tiff, webp, avif or heic; else None."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "bmp"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):  # the latter with offsets of 64 bits
        return "tiff"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return brand_of(data)


def jpeg_header(data: bytes) -> JpegHeader:
    """Reads a JPEG's segments up to its first scan.

    Raises:
        BadImage: truncated or unsupported.
    """
    position, exif, adobe = 2, b"", False
    frame: tuple[int, int, int, int, int] | None = None
    component_ids: tuple[int, ...] = ()
    segments: list[JpegSegment] = []
    while len(segments) < _MAX_SEGMENTS:
        start = data.find(b"\xff", position)
        position = start + 1
        while start >= 0 and data[position : position + 1] == b"\xff":  # fill bytes
            start, position = position, position + 1
        if start < 0 or position + 3 > len(data):
            raise BadImage("truncated", f"JPEG ends in its header, after {len(data)} bytes")
        marker = data[position]
        position += 1
        if marker in _ALONE or marker == 0:
            continue
        if marker == 0xD9:
            raise BadImage("truncated", "JPEG ends before its first scan")
        length = int.from_bytes(data[position : position + 2], "big")
        end = position + length
        if length < 2 or end > len(data):
            raise BadImage("truncated", f"JPEG segment 0x{marker:02x} at byte {start} runs past the file's end")
        if marker == 0xDA:
            if frame is None:
                raise BadImage("truncated", "JPEG scan without a frame header")
            number, precision, height, width, components = frame
            return JpegHeader(
                width, height, components, precision, number, adobe, exif, tuple(segments), start, component_ids
            )
        payload = data[position + 2 : end] if marker != 0xE2 else b""
        if marker in _FRAMES and len(payload) >= 6:
            frame = (
                marker,
                payload[0],
                int.from_bytes(payload[1:3], "big"),
                int.from_bytes(payload[3:5], "big"),
                payload[5],
            )
            component_ids = tuple(payload[6 : 6 + 3 * payload[5] : 3])
        elif marker == 0xE1 and not exif and payload[:6] == b"Exif\0\0":
            exif = payload[6:]
        elif marker == 0xEE and payload[:5] == b"Adobe":
            adobe = True
        segments.append(JpegSegment(marker, start, end))
        position = end
    raise BadImage("unsupported", f"JPEG of more than {_MAX_SEGMENTS} segments")


def webp_size(data: bytes) -> tuple[int, int]:
    """Returns width and height of a WebP's canvas (RFC 9649, section 2).

    They must be checked before Pillow opens the file, since its decoder allocates the canvas then.

    Raises:
        BadImage: truncated or unsupported.
    """
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        raise BadImage("truncated", f"WebP ends in its header, after {len(data)} bytes")
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise BadImage("unsupported", f"WebP chunk {kind!r}")
