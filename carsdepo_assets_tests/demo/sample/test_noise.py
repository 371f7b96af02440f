"""demo/sample/noise.py: noise that repeats without a seam."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from carsdepo_assets.demo.sample import noise


@pytest.mark.parametrize("power", [0.0, 1.3])
def test_looked_up_as_if_the_tile_repeated_without_end(power: float) -> None:
    """Against OpenCV's own wrapping, over several tiles and below zero; a thousandth of the noise's deviation."""
    u, v = np.meshgrid(np.linspace(-1.2, 1.7, 97, dtype=np.float32), np.linspace(-0.9, 0.4, 61, dtype=np.float32))
    x, y = u * np.float32(900) + np.float32(37.25), v * np.float32(500) + np.float32(401.5)
    wrapped = cv2.remap(noise.tile(power), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    assert x.min() < -512
    assert x.max() > 1024
    assert y.min() < 0
    np.testing.assert_allclose(noise.sample(power, u, v, (900, 500), (37.25, 401.5)), wrapped, atol=1e-3)


def test_the_seam_is_as_smooth_as_the_rest() -> None:
    x = np.arange(500, 524, dtype=np.float32)[None].repeat(3, axis=0)
    across = noise.sample(1.6, x, np.full_like(x, 511.5))
    tile = np.asarray([noise.tile(1.6)[:, i % 512] for i in range(500, 524)]).T
    np.testing.assert_allclose(across[0], (tile[511] + tile[0]) / 2, atol=1e-6)
