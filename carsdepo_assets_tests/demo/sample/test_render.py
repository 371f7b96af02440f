"""demo/sample/render.py, demo/sample/camera.py: pictures, and whether their boxes fit the damage on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from carsdepo_assets.demo.sample import bands, camera, damage, outside
from carsdepo_assets.demo.sample.casting import draw_car
from carsdepo_assets.demo.sample.light import surroundings
from carsdepo_assets.demo.sample.render import SMALLEST, render_car, render_shot
from carsdepo_assets.demo.sample.scene import DENT, SCRATCH, Car, Dent, LightName
from carsdepo_assets.imaging.features import features

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


# What the renderer showed when the windows of traffic_windows.py were chosen by how far their features drift.
_CHOSEN_WITH = {
    (70, "day"): ([(0, 280, 158, 490, 470), (0, 485, 165, 640, 315)], (121.733, 51.084, 55.125, 25.194, 2.256)),
    (72, "dusk"): (
        [(1, 229, 193, 382, 342), (0, 29, 10, 327, 185), (0, 263, 0, 441, 122)],
        (48.47, 28.754, 34.345, 125.766, 22.681),
    ),
    (74, "overcast"): ([(0, 169, 100, 497, 413)], (76.878, 38.144, 19.002, 16.558, 1.576)),
    (76, "night"): (
        [(1, 541, 131, 640, 253), (1, 0, 168, 49, 238), (1, 193, 100, 313, 236)],
        (16.689, 7.625, 23.486, 133.098, 7.17),
    ),
}


@pytest.mark.parametrize(("seed", "light"), list(_CHOSEN_WITH))
def test_pictures_look_as_they_did_when_the_windows_were_chosen(seed: int, light: LightName) -> None:
    boxes, figures = _CHOSEN_WITH[seed, light]
    photo = render_car(seed, light, clean=False)[0]
    assert photo.boxes == boxes
    shown = features(photo.rgb, n_bytes=1)
    names = ("luma_mean", "luma_std", "sharpness", "saturation", "colour_cast")
    assert [shown[name] for name in names] == pytest.approx(figures, rel=0.002)


def test_pictures_do_not_hang_on_how_many_rows_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    car = draw_car(72, "dusk", clean=False)
    whole = _first(car)
    for numbers in (2_000, 10**9):
        monkeypatch.setattr(bands, "_NUMBERS_AT_ONCE", numbers)
        rgb, boxes = _first(car)
        assert np.array_equal(rgb, whole[0])
        assert boxes == whole[1]


@pytest.mark.parametrize("seed", range(20))
def test_the_part_of_a_picture_that_looks_into_half_planes(seed: int) -> None:
    """No pixel of it is missed, and it is at most three pixels larger than what looks within two pixels of it."""
    rng = np.random.default_rng(seed)
    car = draw_car(seed, "day")
    rays = camera.aim(car.shots[0])
    (u, v), width = car.shots[0].look, car.shots[0].width_m
    planes = []
    for _ in range(3):
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(-0.4, 0.2) * width
        a, b = float(np.cos(angle)), float(np.sin(angle))
        planes.append((a, b, -a * u - b * v - float(away)))
    inside = np.all([a * rays.u + b * rays.v + c >= 0 for a, b, c in planes], axis=0)
    part = rays.where(*planes)
    if part is None:
        assert not inside.any()
        return
    shown = np.zeros_like(inside)
    shown[part] = True
    assert not (inside & ~shown).any()
    slack = -2 * rays.metres_per_pixel
    near = np.all([a * rays.u + b * rays.v + c >= slack for a, b, c in planes], axis=0)
    for axis, pixels in enumerate(part):
        seen = np.flatnonzero(near.any(axis=1 - axis))
        assert seen[0] - pixels.start <= 3
        assert pixels.stop - 1 - seen[-1] <= 3


def test_wheels_are_drawn_wherever_they_are_seen() -> None:
    """Also in a corner, as in the first of these pictures: its part of the picture was once taken for empty."""
    shots = [(draw_car(seed, "day"), None) for seed in range(12)]
    seen_at_all = 0
    for car, number in [(draw_car(997771920084, "day"), 3), *shots]:
        for shot in car.shots if number is None else [car.shots[number]]:
            rays, reach = camera.aim(shot), 1.2 * car.body.wheel_radius
            for axle in car.body.wheels:
                seen = np.hypot(rays.u - axle, rays.v - car.body.wheel_radius) < reach
                disc = outside._disc(rays, (axle, car.body.wheel_radius), reach)
                if seen.any():
                    assert disc is not None
                    seen[disc[0]] = False
                    assert not seen.any()
                    seen_at_all += 1
    assert seen_at_all > 5
