"""A 64-bit hash that survives resizing and recompression: near duplicates differ in few bits."""

from __future__ import annotations

import cv2
import numpy as np

_SIDE, _KEPT = 32, 8
# Coefficients this close to the median count as equal. On a plain picture they are rounding noise, of standard
# deviation up to 0.5; in photographs they are tens to thousands.
_DEAD_ZONE = 2.0


def phash(rgb: np.ndarray) -> str:
    """DCT hash of HxWx3 (or HxW grey) uint8 as 16 hex digits.

    32 x 32 luma, the 8 x 8 lowest frequencies of its DCT-II, one bit each: above their median (Zauner 2010).
    """
    grey = rgb if rgb.ndim == 2 else cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(grey.astype(np.float32))[:_KEPT, :_KEPT].ravel()
    bits = low > np.median(low[1:]) + _DEAD_ZONE
    return np.packbits(bits).tobytes().hex()


def hamming(a: str, b: str) -> int:
    """Bits, 0..64, in which two hashes of phash() differ. Raises ValueError on anything that is not 16 hex digits."""
    if len(a) != 16 or len(b) != 16:
        raise ValueError(f"a perceptual hash has 16 hex digits: {a!r}, {b!r}")
    return (int(a, 16) ^ int(b, 16)).bit_count()
