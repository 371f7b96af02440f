"""demo/sample/stack.py: layers over the paint."""

from __future__ import annotations

import numpy as np
import pytest

from carsdepo_assets.demo.sample import camera, stack
from carsdepo_assets.demo.sample.casting import draw_car
from carsdepo_assets.demo.sample.light import surroundings
from carsdepo_assets.demo.sample.panel import Panel, build_panel

WINDOW = (slice(100, 260), slice(50, 350))


@pytest.fixture(scope="module")
def panel() -> Panel:
    car = draw_car(3, "day")
    rays = camera.aim(car.shots[0])
    return build_panel(car, surroundings(car.light), rays, np.ones(rays.u.shape, np.float32))


def _layers(panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Cover and radiance of two thin layers in a window, colours as numbers and as planes."""
    over, shape = stack.Stack(panel), (160, 300)
    thin = np.zeros(shape, np.float32)
    thin[20:30, 40:200] = np.linspace(0, 1, 160, dtype=np.float32)
    drawn = np.zeros(shape, np.uint8)
    drawn[10:150, 60:64] = 200
    ramp = np.broadcast_to(np.linspace(0, 1, shape[1], dtype=np.float32), shape)
    over.lay(thin, [ramp, ramp * 0.5, ramp * 0.2], (0.1, 0.2, 0.3), WINDOW)
    over.lay(drawn, (0.3, 0.1, 0.1), [ramp] * 3, WINDOW, share=0.8 / 255)
    return over.cover, over.radiance


def test_a_layer_is_the_same_pixel_by_pixel_and_in_one_piece(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    by_pixel = _layers(panel)
    monkeypatch.setattr(stack, "_SMALL", 10**9)
    in_one = _layers(panel)
    for a, b in zip(by_pixel, in_one, strict=True):
        np.testing.assert_array_equal(a, b)
    assert by_pixel[0].any()
    outside = by_pixel[0].copy()
    outside[WINDOW] = 0
    assert not outside.any()


def test_an_opaque_layer_hides_what_lies_below(panel: Panel) -> None:
    over = stack.Stack(panel)
    over.lay(np.full((160, 300), 0.5, np.float32), (0.9, 0.9, 0.9), window=WINDOW)
    over.lay(np.ones((160, 300), np.float32), (0.2, 0.0, 0.0), (0.0, 0.1, 0.0), WINDOW)
    assert (over.cover[WINDOW] == 1).all()
    np.testing.assert_allclose(over.radiance[0][WINDOW], 0.2 * over.light[0][WINDOW], rtol=1e-5)
    np.testing.assert_allclose(over.radiance[1][WINDOW], 0.1, rtol=1e-5)
    seen = stack.Overlay(1 - over.cover, over.radiance).over([np.full(over.cover.shape, 5.0, np.float32)] * 3)
    np.testing.assert_allclose(seen[2][WINDOW], 0.0, atol=1e-6)
    assert (seen[2][:100] == 5).all()
