"""Writes ICC profiles of colour spaces that files name without giving a profile, and reads what heads a profile."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_D50 = np.array([0.9642, 1.0, 0.8249])  # what ICC profiles are stated against
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
D65 = (0.3127, 0.3290)

Curve = tuple[float, ...]
"""Parameters of ICC's parametric curve: (gamma,), or (gamma, a, b, c, d) of its type 3."""
SRGB_CURVE: Curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # IEC 61966-2-1


@dataclass(frozen=True)
class RgbSpace:
    """A colour space of three primaries, a white and a curve."""

    name: str
    """for people"""
    red: tuple[float, float]
    """x and y of CIE 1931"""
    green: tuple[float, float]
    """likewise"""
    blue: tuple[float, float]
    """likewise"""
    white: tuple[float, float] = D65
    """likewise"""
    curve: Curve = SRGB_CURVE
    """from stored values to light"""


_REC709 = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
SRGB = RgbSpace("sRGB", *_REC709)
ADOBE_RGB = RgbSpace("Adobe RGB", (0.64, 0.33), (0.21, 0.71), (0.15, 0.06), curve=(563 / 256,))
DISPLAY_P3 = RgbSpace("Display P3", (0.680, 0.320), (0.265, 0.690), (0.150, 0.060))


def rgb_profile(space: RgbSpace) -> bytes:
    """Returns the ICC profile (version 4.2, ICC.1:2004-10) of a colour space.

    Args:
        space: the space.

    Raises:
        ValueError: its chromaticities are those of no space.
    """
    columns = _to_xyz_d50(space).T
    curve = b"para" + struct.pack(">4xHxx", 0 if len(space.curve) == 1 else 3) + _fixed(*space.curve)
    name = space.name.encode("utf-16-be")
    described = b"mluc" + struct.pack(">4xII2s2sII", 1, 12, b"en", b"US", len(name), 28) + name
    tags = {
        b"desc": described,
        b"wtpt": b"XYZ \0\0\0\0" + _fixed(*_D50),
        b"rXYZ": b"XYZ \0\0\0\0" + _fixed(*columns[0]),
        b"gXYZ": b"XYZ \0\0\0\0" + _fixed(*columns[1]),
        b"bXYZ": b"XYZ \0\0\0\0" + _fixed(*columns[2]),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(content))
        body += content + b"\0" * (-len(content) % 4)
    head = struct.pack(
        ">I4xI4s4s4s12x4s28x12s48x",
        start + len(body), 0x04200000, b"mntr", b"RGB ", b"XYZ ", b"acsp", _fixed(*_D50),
    )  # fmt: skip
    return head + table + body


def space_of(profile: bytes) -> str:
    """Returns the signature of the colours that a profile describes: "RGB", "GRAY", "CMYK" ...

    It is "" where the bytes are no profile, or one that does not describe an image's colours: a device link, an
    abstract profile, one of named colours.
    """
    if len(profile) < 132 or profile[36:40] != b"acsp" or profile[12:16] in (b"link", b"abst", b"nmcl"):
        return ""
    return profile[16:20].decode("latin-1").strip()


def _to_xyz_d50(space: RgbSpace) -> NDArray[np.float64]:
    """The matrix from linear RGB to XYZ, adapted to D50 by Bradford's method (ICC.1:2004-10, annex E)."""
    points = [space.red, space.green, space.blue, space.white]
    if any(not (0 <= x <= 1 and 0 < y <= 1 and x + y <= 1) for x, y in points):
        raise ValueError(f"chromaticities {points}")
    xyz = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in points])
    if abs(np.linalg.det(xyz[:3])) < 1e-6:
        raise ValueError(f"chromaticities {points} lie on a line")
    white = xyz[3]
    matrix = xyz[:3].T * np.linalg.solve(xyz[:3].T, white)
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD @ matrix
    if np.abs(adapted).max() > 100:
        raise ValueError(f"chromaticities {points}")
    return np.asarray(adapted, np.float64)


def _fixed(*values: float) -> bytes:
    """Values as ICC's s15Fixed16Number."""
    return struct.pack(f">{len(values)}i", *(round(float(v) * 65536) for v in values))
