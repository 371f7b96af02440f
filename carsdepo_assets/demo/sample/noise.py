"""Random textures: tiles of noise that repeat without a seam and are computed once."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.demo.sample.bands import bands

SIDE = 512


@lru_cache(maxsize=16)
def tile(power: float, seed: int = 7) -> NDArray[np.float32]:
    """A tile of noise whose amplitude spectrum is 1 / f^power, by filtering white noise in the frequency domain.

    Args:
        power: 0 for white noise; the larger, the softer.
        seed: Of the random numbers.

    Returns:
        (SIDE, SIDE) float32 with mean 0 and standard deviation 1.
    """
    white = np.random.default_rng(seed).standard_normal((SIDE, SIDE))
    if power == 0:
        return white.astype(np.float32)
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None, :]
    f = np.hypot(fy, fx)
    f[0, 0] = 1.0
    spectrum = np.fft.rfft2(white) / f**power
    spectrum[0, 0] = 0
    values = np.fft.irfft2(spectrum, s=(SIDE, SIDE))
    return np.asarray(values / values.std(), np.float32)


@lru_cache(maxsize=16)
def _padded(power: float) -> NDArray[np.float32]:
    """The tile with its first two rows and columns repeated at its ends, (SIDE + 2, SIDE + 2)."""
    return np.pad(tile(power), ((0, 2), (0, 2)), mode="wrap")


def _wrap(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reduces x modulo the tile's side, in place; exact in float32, since the side is a power of two."""
    whole = x * np.float32(1 / SIDE)
    np.floor(whole, out=whole)
    whole *= SIDE
    x -= whole
    return x


def sample(
    power: float,
    u: NDArray[np.float32],
    v: NDArray[np.float32],
    scale: tuple[float, float] = (1.0, 1.0),
    shift: tuple[float, float] = (0.0, 0.0),
) -> NDArray[np.float32]:
    """Noise at given points: the tile's bilinear values at (u, v) * scale + shift, in pixels of the tile.

    Args:
        power: Of the tile.
        u: (H, W) float32.
        v: (H, W) float32.
        scale: Pixels of the tile for 1 of u, and of v.
        shift: Pixels of the tile.

    Returns:
        (H, W) float32. It repeats every SIDE pixels of the tile.
    """
    values = np.empty(u.shape, np.float32)
    padded = _padded(power)
    for rows in bands(*u.shape):
        x, y = (_wrap(a[rows] * np.float32(b) + np.float32(c)) for a, b, c in zip((u, v), scale, shift, strict=True))
        # Padding instead of BORDER_WRAP: cv2.remap is five times slower where it reads outside of an image.
        values[rows] = cv2.remap(padded, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return values
