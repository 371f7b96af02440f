"""Draws at random what has happened to a car: damage, and dirt, drops and stickers, which are none."""

from __future__ import annotations

import numpy as np

from carsdepo_assets.demo.sample.scene import Body, Clutter, Colour, Dent, Paint, Point, Scratch

DENT_SHARE = 0.46  # of damages
HARD_SHARE = 0.08  # of damages: small and faint
NEAR_SHARE = 0.7  # of damages: near another, since one accident leaves several


def draw_damage(rng: np.random.Generator, body: Body, paint: Paint) -> tuple[tuple[Dent, ...], tuple[Scratch, ...]]:
    """Draws the damage of a car that has some; scratches show other colours on dark paint than on pale paint."""
    dents: list[Dent] = []
    scratches: list[Scratch] = []
    taken: list[Point] = []
    for _ in range(4 + int(rng.poisson(9))):
        centre = _place(rng, body, taken)
        if centre is None:
            continue
        taken.append(centre)
        hard = bool(rng.random() < HARD_SHARE)
        if rng.random() < DENT_SHARE:
            dents.append(_dent(rng, centre, hard))
            if rng.random() < 0.08:  # what dented it also scratched it
                scratches.append(_scratch(rng, centre, paint, hard, 0.6))
        else:
            scratches.append(_scratch(rng, centre, paint, hard, 1.0))
    return tuple(dents), tuple(scratches)


def _place(rng: np.random.Generator, body: Body, taken: list[Point]) -> Point | None:
    """A point on the paint that keeps a distance from the points taken; None where ten tries find none."""
    for _ in range(10):
        low, high = body.sill + 0.16, body.belt - 0.09
        u, v = float(rng.uniform(0.2, body.length - 0.2)), float(rng.uniform(low, high))
        if taken and rng.random() < NEAR_SHARE:
            near = taken[int(rng.integers(len(taken)))]
            u = float(np.clip(near[0] + rng.uniform(-0.34, 0.34), 0.2, body.length - 0.2))
            v = float(np.clip(near[1] + rng.uniform(-0.28, 0.28), low, high))
        if any(np.hypot(u - w, v - body.wheel_radius) < body.wheel_radius * 1.3 + 0.05 for w in body.wheels):
            continue
        if any(np.hypot(u - a, v - b) < 0.19 for a, b in taken):
            continue
        return u, v
    return None


def _dent(rng: np.random.Generator, centre: Point, hard: bool) -> Dent:
    u = rng.uniform
    radius = float(u(0.025, 0.05)) if hard else float(np.exp(u(np.log(0.075), np.log(0.12))))
    ratio = float(u(0.7, 1.0))
    slope = float(u(0.18, 0.35)) if hard else float(u(0.55, 1.1))
    crease = float(u(0.3, 0.9)) if rng.random() < 0.35 else 0.0
    return Dent(centre, (radius, radius * ratio), float(u(0, np.pi)), slope, crease)


def _scratch(rng: np.random.Generator, centre: Point, paint: Paint, hard: bool, size: float) -> Scratch:
    u = rng.uniform
    drawn = str(rng.choice(["clearcoat", "primer", "metal", "transfer"], p=[0.2, 0.4, 0.25, 0.15]))
    kind = "clearcoat" if hard else drawn
    many = 1 if rng.random() < (0.6 if hard else 0.15) else int(rng.integers(5, 14))
    length = float(u(0.06, 0.14)) if hard else float(np.exp(u(np.log(0.17), np.log(0.30)))) * size
    # people drag things along a car and lean things on it: mostly slanted, seldom level
    slant = float(rng.normal(0, 0.1)) if rng.random() < 0.06 else float(rng.choice([-1, 1]) * u(0.45, 1.1))
    spread = length * float(u(0.14, 0.24))
    strokes, widths, opacity = [], [], []
    strength = {"clearcoat": (0.5, 0.75), "primer": (0.8, 1.0), "metal": (0.75, 1.0), "transfer": (0.6, 0.95)}[kind]
    bend = float(u(-0.35, 0.35))
    for _ in range(many):
        own = length * float(u(0.5, 1.0)) if many > 1 else length
        strokes.append(_stroke(rng, centre, own, slant + float(rng.normal(0, 0.10)), bend, spread if many > 1 else 0.0))
        widths.append(float(u(0.0012, 0.0025)) if hard else float(u(0.003, 0.0075)))
        opacity.append(float(u(*strength)) * (0.6 if hard else 1.0))
    return Scratch(
        tuple(strokes),
        tuple(widths),
        tuple(opacity),
        _bare(rng, paint, kind),
        float(u(0.1, 0.4)) if many > 4 and not hard else 0.0,
        kind,
    )


def _stroke(
    rng: np.random.Generator, centre: Point, length: float, angle: float, bend: float, spread: float
) -> tuple[Point, ...]:
    c, s = np.cos(angle), np.sin(angle)
    across, along = rng.normal(0, 1) * spread, rng.uniform(-0.34, 0.34) * spread * 3
    t = np.linspace(-0.5, 0.5, 13)
    tremble = np.cumsum(rng.normal(0, 1, 13)) * length * 0.004
    p, q = t * length + along, bend * length * (t * t - 0.08) + across + tremble
    x, y = centre[0] + p * c - q * s, centre[1] + p * s + q * c
    return tuple(zip(x.tolist(), y.tolist(), strict=True))


def _bare(rng: np.random.Generator, paint: Paint, kind: str) -> Colour:
    """Albedo of what a scratch lays bare: pale on dark paint, dark on pale paint."""
    bright = float(np.dot(paint.albedo, (0.21, 0.72, 0.07)))
    if kind == "transfer":
        other = (
            ((0.6, 0.58, 0.5), (0.7, 0.55, 0.02), (0.5, 0.03, 0.03))
            if bright < 0.25
            else ((0.02, 0.02, 0.02), (0.03, 0.06, 0.3), (0.4, 0.02, 0.02))
        )
        return other[int(rng.integers(3))]
    level = float(rng.uniform(0.45, 0.8)) if bright < 0.25 else float(rng.uniform(0.03, 0.12))
    warm = float(rng.uniform(0.0, 0.25)) if bright >= 0.25 else float(rng.uniform(-0.05, 0.1))  # rust in pale paint
    return level * (1 + warm), level, level * (1 - warm)


def draw_clutter(rng: np.random.Generator, body: Body) -> Clutter:
    """Draws the dirt, streaks, drops, stickers and the shadow on a car."""
    u = rng.uniform
    brown = float(u(0.6, 1.0))
    streaks = tuple(
        (
            float(u(0.2, body.length - 0.2)),
            float(u(body.sill + 0.3, body.belt)),
            float(u(0.06, 0.35)),
            float(u(0.004, 0.02)),
            float(u(0.15, 0.6)),
        )
        for _ in range(int(rng.poisson(6)))
    )
    drops: list[tuple[float, float, float]] = []
    if rng.random() < 0.2:
        for _ in range(int(rng.integers(60, 260))):
            radius = float(np.exp(rng.normal(-5.5, 0.35)))
            drops.append((float(u(0, body.length)), float(u(body.sill, body.belt)), radius))
    colours: tuple[Colour, ...] = (
        (0.7, 0.7, 0.68),
        (0.75, 0.6, 0.05),
        (0.5, 0.04, 0.04),
        (0.03, 0.1, 0.4),
        (0.02, 0.02, 0.02),
    )
    stickers = tuple(
        (
            float(u(0.3, body.length - 0.3)),
            float(u(body.sill + 0.2, body.belt - 0.08)),
            float(u(0.06, 0.18)),
            float(u(0.03, 0.09)),
            float(rng.normal(0, 0.12)),
            colours[int(rng.integers(5))],
            int(rng.integers(0, 4)),
        )
        for _ in range(int(rng.poisson(0.7)))
    )
    shadow = None
    if rng.random() < 0.45:
        at, lean, high = float(u(0, body.length)), float(u(-1, 1)), float(u(0.5, 1.2))
        shadow = (
            (at, -0.2),
            (at + 3, -0.2),
            (at + 3 + lean, high),
            (at + 1.2 + lean, high + 0.2),
            (at + lean, high - 0.1),
        )
    return Clutter(
        dirt=float(u(0, 1) ** 2 * 0.6),
        dirt_colour=(0.16 * brown + 0.05, 0.13 * brown + 0.045, 0.09 * brown + 0.04),
        streaks=streaks,
        drops=tuple(drops),
        stickers=stickers,
        shadow=shadow,
        noise_offset=(float(u(0, 512)), float(u(0, 512))),
    )
