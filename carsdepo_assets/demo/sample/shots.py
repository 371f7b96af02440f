"""Draws how people photograph a car: 1 to 6 pictures, most of them of its damage."""

from __future__ import annotations

import numpy as np

from carsdepo_assets.demo.sample.scene import Body, LightName, Point, Shot

COUNT = (0.18, 0.22, 0.22, 0.16, 0.12, 0.10)  # share of cars with 1 .. 6 photographs


def draw_shots(rng: np.random.Generator, body: Body, damage: list[Point], light: LightName) -> tuple[Shot, ...]:
    """Draws a car's shots.

    Args:
        rng: Source of the random numbers.
        body: Of the car.
        damage: Centres of its damage, in metres on the car; most shots are aimed at one of them.
        light: In poor light pictures are blurred more.
    """
    count = 1 + int(rng.choice(len(COUNT), p=COUNT))
    return tuple(_shot(rng, body, damage, light) for _ in range(count))


def _shot(rng: np.random.Generator, body: Body, damage: list[Point], light: LightName) -> Shot:
    u = rng.uniform
    wide = rng.random() < 0.10  # a view of the whole door or more
    width = float(u(0.9, 1.5)) if wide else float(np.exp(u(np.log(0.48), np.log(0.75))))
    look = (float(u(0.4, body.length - 0.4)), float(u(0.45, 0.75)))
    if damage and rng.random() < 0.92:
        at = damage[int(rng.integers(len(damage)))]
        look = (at[0] + float(u(-0.25, 0.25)) * width, float(np.clip(at[1] + u(-0.17, 0.17) * width, 0.35, 0.85)))
    dim = {"day": 0.0, "overcast": 0.1, "dusk": 0.35, "night": 0.7}[light]
    return Shot(
        look=look,
        width_m=width,
        yaw=float(rng.normal(0, 0.28)),
        pitch=float(u(-0.02, 0.26)),
        roll=float(rng.normal(0, 0.03)),
        focal=float(u(0.8, 1.3)),
        portrait=bool(rng.random() < 0.08),
        orientation=int(rng.choice([3, 6, 8])) if rng.random() < 0.12 else 1,
        exposure=float(rng.normal(0, 0.22)),
        blur=float(u(0.3, 0.9) + dim * u(0, 0.7)),
        motion=float(u(1, 5)) if rng.random() < 0.06 + dim * 0.25 else 0.0,
        motion_angle=float(u(0, np.pi)),
        warmth=float(rng.normal(0, 0.05)),
        vignette=float(u(0, 0.22)),
        quality=int(rng.integers(74, 95)),
        seed=int(rng.integers(2**31)),
    )
