"""Photographs in other colour spaces than sRGB, for these tests, and what they look like in sRGB by the formulas."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np

from carsdepo_assets_tests.imaging.files import saved

# From linear RGB of the space to linear RGB of sRGB, as published (B. Lindbloom, "RGB/XYZ Matrices"; Apple; both white
# points adapted by Bradford's method).
TO_SRGB = {
    "Display P3": ((1.2249401, -0.2249404, 0.0), (-0.0420569, 1.0420571, 0.0), (-0.0196376, -0.0786361, 1.0982735)),
    "Adobe RGB": ((1.3982832, -0.3982831, 0.0), (0.0, 1.0, 0.0), (0.0, -0.0429383, 1.0429383)),
    "ProPhoto RGB": (
        (2.0343193, -0.7275346, -0.3067847),
        (-0.2288185, 1.2317296, -0.0029111),
        (-0.0085649, -0.1532726, 1.1618375),
    ),
}
# Columns of the matrix to XYZ of D50: what the three tags rXYZ, gXYZ, bXYZ of such a profile hold.
COLORANTS = {
    "Display P3": ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
    "Adobe RGB": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    "ProPhoto RGB": ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491)),
    "sRGB IEC61966-2.1": ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)),
}


def srgb_to_light(v: np.ndarray) -> np.ndarray:
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def light_to_srgb(v: np.ndarray) -> np.ndarray:
    v = np.clip(v, 0, 1)
    return np.where(v <= 0.0031308, 12.92 * v, 1.055 * v ** (1 / 2.4) - 0.055)


CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Display P3": srgb_to_light,
    "Adobe RGB": lambda v: v ** (563 / 256),
    "ProPhoto RGB": lambda v: v**1.8,
    "sRGB IEC61966-2.1": srgb_to_light,
}


def chart() -> np.ndarray:
    """A chart of 96 x 144: 16-pixel patches of greys, of saturated colours and of those between, uint8."""
    levels = (16, 100, 178, 245)
    patches = [(r, g, b) for r in levels[:3] for g in levels[1:] for b in levels[::2]]
    patches += [(v, v, v) for v in range(4, 256, 7)]
    grid = np.array(patches[:54], np.uint8).reshape(6, 9, 3)
    return np.ascontiguousarray(np.repeat(np.repeat(grid, 16, 0), 16, 1))


def in_srgb(stored: np.ndarray, space: str) -> np.ndarray:
    """What pixels of a space are in sRGB; colours that it lacks are clipped."""
    light = CURVES[space](stored / 255)
    return np.asarray(255 * light_to_srgb(light @ np.array(TO_SRGB[space]).T))


def profile(space: str, grey: bool = False) -> bytes:
    """An ICC profile of version 2 as cameras and programs write it, its curve a table of 1024 values."""
    table = CURVES[space](np.linspace(0, 1, 1024))
    curve = b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *np.round(65535 * table).astype(int))
    name = space.encode() + b"\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + b"\0" * 78,
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249),
    }
    if grey:
        tags[b"kTRC"] = curve
    else:
        for letter, xyz in zip("rgb", COLORANTS[space], strict=True):
            tags[f"{letter}XYZ".encode()] = b"XYZ \0\0\0\0" + fixed(*xyz)
            tags[f"{letter}TRC".encode()] = curve
    return _assembled(tags, b"GRAY" if grey else b"RGB ", b"mntr", b"XYZ ")


def cmyk_profile(darker: float = 0.8) -> bytes:
    """A press profile by a table of 5^4 colours: paper less inks, in CIELAB, light to the power 1 / `darker`."""
    steps = np.linspace(0, 1, 5)
    c, m, y, k = np.meshgrid(steps, steps, steps, steps, indexing="ij")
    lab = inks_to_lab(np.stack([c, m, y, k], -1).reshape(-1, 4), darker)
    encoded = np.stack([lab[:, 0] * 655.35, (lab[:, 1] + 128) * 257, (lab[:, 2] + 128) * 257], -1)
    # lut16Type in the Lab encoding of version 4 would be other: version 2 counts L* = 100 as 0xFF00.
    encoded = np.clip(np.round(encoded * (65280 / 65535)), 0, 65535).astype(">u2")
    identity = fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    ramp = struct.pack(">2H", 0, 65535)
    table = b"mft2\0\0\0\0" + bytes([4, 3, 5, 0]) + identity + struct.pack(">2H", 2, 2)
    table += ramp * 4 + encoded.tobytes() + ramp * 3
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 6) + b"press\0" + b"\0" * 78,
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249),
        b"A2B0": table,
        b"A2B1": table,
    }
    return _assembled(tags, b"CMYK", b"prtr", b"Lab ")


def inks_to_lab(inks: np.ndarray, darker: float) -> np.ndarray:
    """CIELAB (D50) of shares of four inks, by a model that only these tests use."""
    light = ((1 - inks[:, :3]) * (1 - inks[:, 3:])) ** (1 / darker)
    xyz = light @ np.array(COLORANTS["sRGB IEC61966-2.1"]) / np.array([0.9642, 1.0, 0.8249])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


def inks_in_srgb(inks: np.ndarray, darker: float = 0.8) -> np.ndarray:
    """The same colours in sRGB. inks: shares, height x width x 4."""
    light = ((1 - inks[..., :3]) * (1 - inks[..., 3:])) ** (1 / darker)
    return np.asarray(255 * light_to_srgb(light))


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(v * 65536) for v in values))


def _assembled(tags: dict[bytes, bytes], space: bytes, kind: bytes, pcs: bytes) -> bytes:
    start = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    head = struct.pack(">I4xI4s4s4s12x4s28x12s48x", start + len(body), 0x02400000, kind, space, pcs, b"acsp",
                       fixed(0.9642, 1.0, 0.8249))  # fmt: skip
    return head + table + body


def jpeg_with_parts(pixels: np.ndarray, parts: list[tuple[int, int, bytes]]) -> bytes:
    """A JPEG with ICC segments of these numbers, counts and bytes, in this order."""
    data = saved(pixels, quality=100, subsampling=0)
    segments = b""
    for number, count, part in parts:
        body = b"ICC_PROFILE\0" + bytes([number, count]) + part
        segments += b"\xff\xe2" + struct.pack(">H", 2 + len(body)) + body
    return data[:2] + segments + data[2:]


def png_with(pixels: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with these chunks behind its header."""
    data = saved(pixels, "PNG")
    at = 8 + 25
    added = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return data[:at] + added + data[at:]


def iccp(content: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"any\0\0" + zlib.compress(content)


def bmp_with_profile(pixels: np.ndarray, content: bytes) -> bytes:
    """A BMP of version 5, 24 bits, bottom up, with an embedded profile."""
    height, width = pixels.shape[:2]
    assert width % 4 == 0
    rows = pixels[::-1, :, ::-1].tobytes()
    head = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 24, 0, len(rows), 2835, 2835, 0, 0)
    head += b"\0" * 16 + b"DEBM" + b"\0" * 48 + struct.pack("<IIII", 4, 124 + len(rows), len(content), 0)
    assert len(head) == 124
    size = 14 + 124 + len(rows) + len(content)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, 138) + head + rows + content
