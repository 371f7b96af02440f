"""Tiles of noise that repeat without a seam, made once."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

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


def _within_tile(x: np.ndarray) -> np.ndarray:
    """x modulo the tile's side as float32; exact, since multiples of the side are powers of two apart."""
    at = np.asarray(x, np.float32)
    whole = np.floor(at * np.float32(1 / SIDE))
    whole *= SIDE
    return np.asarray(np.subtract(at, whole, out=whole))


def sample(power: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Noise at (x, y) in tile pixels, any (H, W) arrays of one shape, bilinear; repeats every 512. (H, W) float32."""
    # cv2.remap looks outside an image, as BORDER_WRAP would have it do here, five times slower than inside of one.
    inside = _within_tile(x), _within_tile(y)
    return np.asarray(cv2.remap(_padded(power), *inside, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
