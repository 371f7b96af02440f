"""Converts pixels to sRGB by lcms, from the colours that their file declares.

The intent is relative colorimetric with black point compensation: colours that sRGB has come out as they were measured,
and the deepest black of a print becomes black. For profiles of three primaries, as phones and cameras write them, the
perceptual intent gives the same; for those with tables it would shift every colour to make room for the few that sRGB
lacks.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from carsdepo_assets.imaging.icc import space_of

MAX_PROFILE_BYTES = 8 * 2**20  # profiles of presses have up to 4 MB, of cameras and screens under 1
UNREADABLE = "colour profile unreadable"
_STRIP = 256  # rows: Pillow's copies hold four bytes a pixel
_KEPT = 64  # transforms; a fleet has a handful of profiles
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_SPACES = {1: "GRAY", 3: "RGB", 4: "CMYK"}
# A transform that moves no sample colour by more is that of an sRGB profile: some have their curve rounded to a table.
_SAME = 2
_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError, SyntaxError)


@dataclass(frozen=True)
class Declared:
    """What a file says about its colours."""

    profile: bytes = b""
    """an ICC profile; empty where the file says nothing that is used, or sRGB"""
    by: str = ""
    """where it does not have the profile itself: what says so, for notes"""
    note: str = ""
    """what was there and cannot be used, for notes; "" for nothing"""


@dataclass(frozen=True)
class Conversion:
    """How pixels of a certain number of channels become sRGB."""

    transform: Any | None
    """Pillow's; None: they are sRGB, or there is nothing that could be used"""
    channels: int
    """that the transform takes: 1, 3 or 4"""
    note: str
    """for Decoded.notes; "" for nothing"""

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Converts pixels.

        Args:
            pixels: height x width x channels, or height x width of one; CMYK as shares of ink, 255 is all.

        Returns:
            height x width x 3; the array itself where nothing is to be done.
        """
        if self.transform is None:
            return pixels
        height, width = pixels.shape[:2]
        rgb = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, _STRIP):
            strip = np.ascontiguousarray(pixels[top : top + _STRIP])
            image = Image.frombuffer(
                _MODES[self.channels], strip.shape[1::-1], strip, "raw", _MODES[self.channels], 0, 1
            )
            rgb[top : top + _STRIP] = np.asarray(self.transform.apply(image))
        return rgb


_transforms: OrderedDict[tuple[bytes, int], Conversion] = OrderedDict()
_lock = threading.Lock()


def conversion(declared: Declared, channels: int) -> Conversion:
    """Returns how pixels become sRGB. A profile that cannot be used is left out with a note; this never raises.

    Args:
        declared: what the file says.
        channels: of its pixels: 1 grey, 3 RGB, 4 CMYK.
    """
    if not declared.profile:
        return Conversion(None, channels, declared.note)
    if len(declared.profile) > MAX_PROFILE_BYTES:
        return Conversion(None, channels, f"colour profile of {len(declared.profile)} bytes left out")
    key = (hashlib.sha256(declared.profile).digest(), channels)
    with _lock:
        cached = _transforms.get(key)
        if cached is not None:
            _transforms.move_to_end(key)
    if cached is None:
        cached = _conversion(declared.profile, channels)  # twice at once is harmless
        with _lock:
            _transforms[key] = cached
            while len(_transforms) > _KEPT:
                _transforms.popitem(last=False)
    if declared.by and cached.note:
        return Conversion(cached.transform, cached.channels, f"{cached.note} by {declared.by}")
    return cached


def _conversion(profile: bytes, channels: int) -> Conversion:
    space = space_of(profile)
    if not space:
        return Conversion(None, channels, UNREADABLE)
    takes = 3 if channels == 1 and space == "RGB" else channels  # grey is a case of RGB
    if _SPACES[takes] != space:
        return Conversion(None, channels, f"colour profile of {_plain(space)} left out")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            _MODES[takes],
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        name = _plain(source.profile.profile_description or "") or "colour profile"
    except _ERRORS:
        return Conversion(None, channels, UNREADABLE)
    candidate = Conversion(transform, takes, f"{name} to sRGB")
    if not _is_sane(candidate):
        return Conversion(None, channels, UNREADABLE)
    return Conversion(None, channels, "") if _is_identity(candidate) else candidate


def _is_sane(candidate: Conversion) -> bool:
    """Whether white stays light and black dark: a damaged table or curve would give a picture of one colour."""
    dark, light = (255, 0) if candidate.channels == 4 else (0, 255)
    ends = np.full((1, 2, candidate.channels), 0, np.uint8)
    ends[0, 0], ends[0, 1] = dark, light
    black, white = candidate(ends)[0].astype(int)
    return bool(white.min() >= 128 and black.max() < 128)


def _is_identity(candidate: Conversion) -> bool:
    if candidate.channels == 4:
        return False
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)
    if candidate.channels == 1:
        return bool(np.abs(candidate(ramp[None, :, :1]).astype(int) - ramp[None]).max() <= _SAME)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    sample = np.concatenate([cube, ramp])[None]
    return bool(np.abs(candidate(sample).astype(int) - sample).max() <= _SAME)


def _plain(text: str) -> str:
    """A short name without what separates notes: a stranger wrote it."""
    kept = "".join(c if c.isprintable() and c not in ",;" else " " for c in text)
    return " ".join(kept.split())[:40].strip()
