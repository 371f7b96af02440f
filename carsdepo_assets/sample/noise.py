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


def sample(power: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Noise at (x, y) in tile pixels, any arrays of one shape; repeats every 512."""
    at = np.asarray(x, np.float32), np.asarray(y, np.float32)
    return np.asarray(cv2.remap(tile(power), *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)
