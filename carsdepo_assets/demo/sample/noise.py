"""Tiles of noise that repeat without a seam, made once."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from carsdepo_assets.demo.sample.bands import bands

SIDE = 512


@lru_cache(maxsize=16)
def tile(power: float, seed: int = 7) -> np.ndarray:
    """(512, 512) float32, mean 0, standard deviation 1, amplitude spectrum 1 / f^power (0: white)."""
    white = np.random.default_rng(seed).standard_normal((SIDE, SIDE))
    if power == 0:
        return white.astype(np.float32)
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None, :]
    f = np.hypot(fy, fx)
    f[0, 0] = 1.0
    spectrum = np.fft.rfft2(white) / f**power
    spectrum[0, 0] = 0
    made = np.fft.irfft2(spectrum, s=(SIDE, SIDE))
    return (made / made.std()).astype(np.float32)


@lru_cache(maxsize=16)
def _padded(power: float) -> np.ndarray:
    """The tile with its first rows and columns once more at its far ends, (514, 514)."""
    return np.pad(tile(power), ((0, 2), (0, 2)), mode="wrap")


def _wrap(x: np.ndarray) -> np.ndarray:
    """x modulo the tile's side, in place; exact in float32, since the side is a power of two."""
    whole = x * np.float32(1 / SIDE)
    np.floor(whole, out=whole)
    whole *= SIDE
    x -= whole
    return x


def sample(
    power: float,
    u: np.ndarray,
    v: np.ndarray,
    scale: tuple[float, float] = (1.0, 1.0),
    shift: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """(H, W) float32 noise at (u, v) * scale + shift in pixels of the tile, bilinear; it repeats every 512.

    u, v: (H, W) float32.
    """
    made = np.empty(u.shape, np.float32)
    padded = _padded(power)
    for rows in bands(*u.shape):
        x, y = (_wrap(a[rows] * np.float32(b) + np.float32(c)) for a, b, c in zip((u, v), scale, shift, strict=True))
        # cv2.remap looks outside an image, as BORDER_WRAP would have it do here, five times slower than inside of one.
        made[rows] = cv2.remap(padded, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return made
