"""Finds what a file says about its colours: its ICC profile, or the tags that stand for one.

Of several statements the strongest counts, as PNG orders them (W3C PNG, section 13.1): code points, profile, sRGB,
gamma and chromaticities. EXIF's Adobe RGB counts where nothing else is said.
"""

from __future__ import annotations

import struct
import zlib

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.imaging.colour import MAX_PROFILE_BYTES, UNREADABLE, Declared
from carsdepo_assets.imaging.headers import JpegHeader, JpegSegment
from carsdepo_assets.imaging.icc import ADOBE_RGB, D65, DISPLAY_P3, SRGB, SRGB_CURVE, RgbSpace, rgb_profile

_ICC_SEGMENT = b"ICC_PROFILE\0"
_MAX_CHUNKS = 1000
# Colour primaries of ITU-T H.273, table 2, besides those of sRGB (1) and "unspecified" (2).
_PRIMARIES = {
    5: RgbSpace("BT.470 BG", (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: RgbSpace("BT.601", (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: RgbSpace("BT.601", (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: RgbSpace("BT.2020", (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: RgbSpace("DCI-P3", (0.680, 0.320), (0.265, 0.690), (0.150, 0.060), white=(0.314, 0.351)),
    12: DISPLAY_P3,
}
# Transfer characteristics, table 3. Those of video (1, 6, 14, 15) are shown with sRGB's curve, as browsers do.
_CURVES = {4: (2.2,), 5: (2.8,), 8: (1.0,)}
_HDR = {16: "PQ", 18: "HLG"}
_SRGB_GAMA = 45455  # what PNG writers of sRGB give: 1/2.2
_NO_SRGB = frozenset({1, 2, 6, 13, 14, 15})


def colours_of_jpeg(data: bytes, header: JpegHeader, says_adobe: bool) -> Declared:
    """Reads the colours of a JPEG: the profile of its APP2 segments (ICC.1:2004-10, annex B.4), else EXIF's word.

    Args:
        data: the file's bytes.
        header: its header.
        says_adobe: whether its EXIF data say Adobe RGB.
    """
    bodies = [data[s.start + 4 + len(_ICC_SEGMENT) : s.end] for s in profile_segments(data, header)]
    if not bodies:
        return by_exif(says_adobe and header.components == 3)
    parts = {body[0]: body[2:] for body in bodies if len(body) > 2}
    counts = {body[1] for body in bodies if len(body) > 2}
    if counts != {len(bodies)} or sorted(parts) != list(range(1, len(bodies) + 1)):
        return Declared(note=UNREADABLE)
    return of_profile(b"".join(parts[n] for n in sorted(parts)))


def profile_segments(data: bytes, header: JpegHeader) -> list[JpegSegment]:
    """Returns the segments of a JPEG that hold its ICC profile, in the file's order."""
    return [s for s in header.segments if s.marker == 0xE2 and data.startswith(_ICC_SEGMENT, s.start + 4)]


def of_profile(profile: bytes) -> Declared:
    """Returns what a profile that lies in the file says."""
    if len(profile) > MAX_PROFILE_BYTES:
        return Declared(note=f"colour profile of {len(profile)} bytes left out")
    return Declared(profile)


def by_exif(says_adobe: bool) -> Declared:
    """Returns what EXIF says: Adobe RGB, or sRGB."""
    return Declared(rgb_profile(ADOBE_RGB), by="EXIF") if says_adobe else Declared()


def by_code_points(primaries: int, transfer: int) -> Declared | None:
    """Returns the colours of ITU-T H.273's code points; None where they say nothing.

    Raises:
        BadImage: unsupported: the picture is for HDR screens, and what it shows on others is the maker's choice.
    """
    if transfer in _HDR:
        raise BadImage("unsupported", f"HDR ({_HDR[transfer]}): export it for ordinary screens (SDR)")
    if primaries == 2 and transfer == 2:
        return None
    space = _PRIMARIES.get(primaries)
    curve = _CURVES.get(transfer)
    if (space is None and primaries not in (1, 2)) or (curve is None and transfer not in _NO_SRGB):
        return Declared(note=f"colours of code points {primaries}/{transfer} left out")
    if space is None and curve is None:
        return Declared()
    base = space or SRGB
    named = base.name if curve is None else f"{base.name} gamma {curve[0]}"
    space = RgbSpace(named, base.red, base.green, base.blue, base.white, curve or SRGB_CURVE)
    return Declared(rgb_profile(space), by="code points")


def colours_of_png(data: bytes) -> tuple[Declared | None, bytes]:
    """Reads the colours of a PNG from its chunks before the pixels.

    Args:
        data: the file's bytes.

    Returns:
        What they say, None for nothing; and the file without its profile, whose size and checksum Pillow would take
        for damage of the picture.

    Raises:
        BadImage: unsupported, as in by_code_points.
    """
    chunks: dict[bytes, bytes] = {}
    at, without = 8, data
    for _ in range(_MAX_CHUNKS):
        head = data[at : at + 8]
        if len(head) < 8:
            break
        length, name = struct.unpack(">I4s", head)
        end = at + 12 + length
        if name in (b"IDAT", b"IEND") or end > len(data):
            break
        if name in (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM") and name not in chunks:
            body = data[at + 8 : end - 4]
            is_whole = zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
            chunks[name] = body if is_whole else b""
            if name == b"iCCP":
                without = data[:at] + data[end:]
        at = end
    return _by_chunks(chunks), without


def _by_chunks(chunks: dict[bytes, bytes]) -> Declared | None:
    if len(chunks.get(b"cICP", b"")) == 4 and (declared := by_code_points(*chunks[b"cICP"][:2])):
        return declared
    if b"iCCP" in chunks:
        return _inflated(chunks[b"iCCP"])
    if b"sRGB" in chunks:
        return Declared()
    gamma = int.from_bytes(chunks[b"gAMA"], "big") if len(chunks.get(b"gAMA", b"")) == 4 else None
    corners = chunks[b"cHRM"] if len(chunks.get(b"cHRM", b"")) == 32 else None
    if gamma is None and corners is None:
        return None
    # 1/2.2 is what the specification has sRGB's writers say; values beyond 0.2 to 2 are no screen's.
    curve = SRGB_CURVE if gamma is None or abs(gamma - _SRGB_GAMA) <= 500 else (1e5 / max(gamma, 1),)
    if len(curve) == 1 and not 0.5 <= curve[0] <= 5:
        return Declared(note="gamma left out")
    points = [v / 1e5 for v in struct.unpack(">8I", corners)] if corners else [*D65, *SRGB.red, *SRGB.green, *SRGB.blue]
    white, red, green, blue = zip(points[::2], points[1::2], strict=True)
    try:
        space = RgbSpace("gamma and chromaticities", red, green, blue, white, curve)
        return Declared(rgb_profile(space), by="PNG")
    except ValueError:
        return Declared(note="chromaticities left out")


def _inflated(body: bytes) -> Declared:
    """The profile of an iCCP chunk, inflated no further than a profile may be long."""
    _, _, packed = body.partition(b"\0")
    if packed[:1] != b"\0":
        return Declared(note=UNREADABLE)
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(packed[1:], MAX_PROFILE_BYTES + 1)
    except zlib.error:
        return Declared(note=UNREADABLE)
    if len(profile) > MAX_PROFILE_BYTES:
        return Declared(note=f"colour profile of more than {MAX_PROFILE_BYTES} bytes left out")
    return Declared(profile) if inflater.eof else Declared(note=UNREADABLE)


def colours_of_bmp(data: bytes) -> Declared | None:
    """Returns the profile that a BMP of version 5 embeds; None for others."""
    if len(data) < 138 or int.from_bytes(data[14:18], "little") < 124 or data[70:74] != b"DEBM":
        return None
    offset, size = struct.unpack_from("<II", data, 126)
    profile = data[14 + offset : 14 + offset + size]
    return of_profile(profile) if len(profile) == size else Declared(note=UNREADABLE)
