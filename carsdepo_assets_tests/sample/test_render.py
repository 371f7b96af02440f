"""Pictures, and whether their boxes say what is on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from carsdepo_assets.sample import camera, damage
from carsdepo_assets.sample.casting import draw_car
from carsdepo_assets.sample.light import surroundings
from carsdepo_assets.sample.render import SMALLEST, render_car, render_shot
from carsdepo_assets.sample.scene import DENT, SCRATCH, Car, Dent

SEEDS = (3, 5, 8)


def _first(car: Car) -> tuple[np.ndarray, list[tuple[int, float, float, float, float]]]:
    rgb, boxes, _ = render_shot(car, car.shots[0], surroundings(car.light))
    return rgb, boxes


@pytest.mark.parametrize("seed", SEEDS)
def test_same_seed_same_pixels(seed: int) -> None:
    car = draw_car(seed, "day")
    (a, boxes), (b, again) = _first(car), _first(draw_car(seed, "day"))
    assert np.array_equal(a, b)
    assert boxes == again


def test_other_seed_other_car() -> None:
    assert not np.array_equal(_first(draw_car(1, "day"))[0], _first(draw_car(2, "day"))[0])


@pytest.mark.parametrize("light", ["day", "night"])
def test_boxes_lie_in_the_picture(light: str) -> None:
    for photo in render_car(72, light):  # type: ignore[arg-type]
        height, width = photo.rgb.shape[:2]
        for class_id, x1, y1, x2, y2 in photo.boxes:
            assert class_id in (SCRATCH, DENT)
            assert min(x1, y1) >= 0
            assert x2 <= width
            assert y2 <= height
            assert min(x2 - x1, y2 - y1) >= SMALLEST


@pytest.mark.parametrize("seed", [70, 72, 74])
def test_boxes_hold_what_the_damage_changes_and_little_else(seed: int) -> None:
    car = draw_car(seed, "day", clean=False)
    car = replace(car, shots=tuple(replace(s, blur=0.3, motion=0.0) for s in car.shots))
    hurt, boxes = _first(car)
    whole, none = _first(replace(car, dents=(), scratches=()))
    assert boxes
    assert none == []
    change = np.abs(hurt.astype(int) - whole).max(axis=2)  # the same noise lies on both
    outside = change.copy()
    for _, x1, y1, x2, y2 in boxes:
        x1, y1, x2, y2 = int(x1), int(y1), int(x2), int(y2)
        inside = change[y1:y2, x1:x2] > 6
        assert inside.any()
        ys, xs = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        slack = max(ys[0], xs[0], y2 - y1 - 1 - ys[-1], x2 - x1 - 1 - xs[-1])
        assert slack <= 6, "a box is larger than what changed"
        outside[max(0, y1 - 6) : y2 + 6, max(0, x1 - 6) : x2 + 6] = 0
    assert (outside > 25).sum() < 0.02 * (change > 25).sum()


def test_clean_cars_have_no_boxes() -> None:
    assert draw_car(5, "day", clean=True).clean
    assert all(not photo.boxes for photo in render_car(5, "day", clean=True))


def test_darker_light_darker_pictures() -> None:
    """Night below dusk below day, on the mean of several cars."""
    luma = {
        light: np.mean([_first(draw_car(seed, light))[0].mean() for seed in SEEDS])  # type: ignore[arg-type]
        for light in ("night", "dusk", "overcast", "day")
    }
    assert luma["night"] < 0.65 * luma["dusk"]
    assert luma["dusk"] < 0.85 * min(luma["day"], luma["overcast"])


def test_a_dent_is_a_depression_with_the_slope_it_says() -> None:
    dent = Dent(centre=(1.0, 0.5), radii=(0.1, 0.08), angle=0.7, slope=0.5, crease=0.0)
    u, v = np.meshgrid(np.linspace(0.85, 1.15, 301, dtype=np.float32), np.linspace(0.35, 0.65, 301, dtype=np.float32))
    hu, hv = damage.dent_slopes(dent, u, v)
    assert np.hypot(hu, hv).max() == pytest.approx(0.5, rel=0.02)
    assert hu[150, 170] > 0 > hu[150, 130], "the surface rises away from the middle"
    assert hu[0, 0] == hv[0, 0] == 0


def test_camera_projects_where_its_rays_look() -> None:
    rays = camera.aim(draw_car(4, "day").shots[0])
    for y, x in ((0, 0), (200, 300), (rays.u.shape[0] - 1, rays.u.shape[1] - 1)):
        assert rays.project(np.array([[rays.u[y, x], rays.v[y, x]]]))[0] == pytest.approx((x, y), abs=0.05)
