"""Draws a car at random from a seed: its seller, paint, body and damage, the light, and how it is photographed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from carsdepo_assets.demo.sample import wear
from carsdepo_assets.demo.sample.scene import Body, Car, Colour, Light, LightName, Paint, Point
from carsdepo_assets.demo.sample.shots import draw_shots

CLEAN_SHARE = 0.25  # of cars have no damage
LIGHT_MIX: dict[LightName, float] = {"day": 0.5, "overcast": 0.28, "dusk": 0.14, "night": 0.08}
# Light of the sample that the demo's first model is trained on. It has no night, so that night is new to the model.
INTAKE_MIX: dict[str, float] = {"day": 0.6, "overcast": 0.34, "dusk": 0.06}

MAKES = ("Arvo", "Belmar", "Corvid", "Dunlin", "Estrel", "Fjord", "Garnet", "Halden")  # no maker has these names
CAMERAS = (
    ("Lumenix", "LX-20"),
    ("Pomona", "Phone 11"),
    ("Pomona", "Phone 14"),
    ("Sonder", "S9"),
    ("Kestrel", "K3 Pro"),
)
REGIONS = ("north", "south", "east", "west")
_PAINTS: tuple[tuple[str, Colour, float], ...] = (
    ("white", (0.72, 0.72, 0.70), 0.0),
    ("pearl", (0.62, 0.61, 0.57), 0.25),
    ("silver", (0.40, 0.41, 0.42), 0.9),
    ("grey", (0.12, 0.125, 0.13), 0.8),
    ("black", (0.012, 0.012, 0.013), 0.1),
    ("black metallic", (0.02, 0.02, 0.022), 0.6),
    ("blue", (0.02, 0.06, 0.22), 0.6),
    ("light blue", (0.12, 0.25, 0.42), 0.7),
    ("red", (0.36, 0.02, 0.02), 0.15),
    ("dark red", (0.13, 0.012, 0.016), 0.6),
    ("green", (0.02, 0.09, 0.05), 0.5),
    ("beige", (0.42, 0.36, 0.27), 0.6),
    ("orange", (0.50, 0.14, 0.02), 0.4),
)
_FIRST_DAY = datetime(2026, 3, 2, tzinfo=UTC)
_HOURS: dict[LightName, tuple[float, float]] = {
    "day": (9, 17),
    "overcast": (9, 17),
    "dusk": (18, 19.4),
    "night": (20.5, 23.5),
}


def draw_car(seed: int, light: LightName | None = None, clean: bool | None = None) -> Car:
    """Draws the car of a seed; the same arguments give the same car.

    Args:
        seed: Of the random numbers.
        light: None to draw it too.
        clean: Whether the car has no damage; None to draw it too.
    """
    rng = np.random.default_rng([0xCA2, seed])
    drawn_light = str(rng.choice(list(LIGHT_MIX), p=list(LIGHT_MIX.values())))
    drawn_clean = bool(rng.random() < CLEAN_SHARE)
    name = light if light is not None else next(x for x in LIGHT_MIX if x == drawn_light)
    unhurt = drawn_clean if clean is None else clean
    body, paint = draw_body(rng), draw_paint(rng)
    clutter = wear.draw_clutter(rng, body)
    lit = draw_light(rng, name)
    dents, scratches = wear.draw_damage(rng, body, paint)
    if unhurt:
        dents, scratches = (), ()
    shots = draw_shots(
        np.random.default_rng([0x540, seed]),
        body,
        [d.centre for d in dents]
        + [
            (float(np.mean([p[0] for t in s.strokes for p in t])), float(np.mean([p[1] for t in s.strokes for p in t])))
            for s in scratches
        ],
        name,
    )
    low, high = _HOURS[name]
    at = _FIRST_DAY + timedelta(days=int(rng.integers(0, 60)), hours=float(rng.uniform(low, high)))
    return Car(
        seed=seed,
        listing=f"L{seed:013d}",
        make=str(rng.choice(MAKES)),
        year=int(rng.integers(2006, 2026)),
        region=str(rng.choice(REGIONS)),
        uploader=f"seller-{int(rng.integers(1, 25)):02d}",
        camera=CAMERAS[int(rng.integers(len(CAMERAS)))],
        captured_at=at.replace(microsecond=0).isoformat(),
        paint=paint,
        body=body,
        clutter=clutter,
        light=lit,
        dents=dents,
        scratches=scratches,
        shots=shots,
    )


def draw_paint(rng: np.random.Generator) -> Paint:
    """Draws a paint: one of thirteen colours, a little varied."""
    name, albedo, flake = _PAINTS[int(rng.integers(len(_PAINTS)))]
    shade = rng.uniform(0.8, 1.2) * rng.uniform(0.94, 1.06, 3)
    tinted = tuple(float(min(a * s, 0.85)) for a, s in zip(albedo, shade, strict=True))
    return Paint(
        name,
        (tinted[0], tinted[1], tinted[2]),
        float(np.clip(flake * rng.uniform(0.6, 1.3), 0, 1)),
        float(rng.uniform(0.5, 2.0)),
        float(rng.uniform(0.05, 0.11)),
        float(rng.uniform(0.002, 0.007)),
    )


def draw_body(rng: np.random.Generator) -> Body:
    """Draws the shape of a car's side: wheels, doors, creases, trims and the like."""
    length = float(rng.uniform(3.9, 4.7))
    wheels = (float(rng.uniform(0.75, 0.9)), length - float(rng.uniform(0.75, 0.95)))
    radius = float(rng.uniform(0.29, 0.34))
    belt, rise = float(rng.uniform(0.86, 0.95)), float(rng.uniform(0.0, 0.03))
    sill = float(rng.uniform(0.17, 0.23))
    creases = [
        (
            float(rng.uniform(0.66, 0.78)),
            float(rng.uniform(0, 0.04)),
            float(rng.uniform(0.08, 0.3)),
            float(rng.uniform(0.015, 0.05)),
        )
    ]
    if rng.random() < 0.7:
        creases.append(
            (
                float(rng.uniform(0.32, 0.45)),
                float(rng.uniform(0, 0.06)),
                float(rng.uniform(-0.25, 0.25)),
                float(rng.uniform(0.03, 0.08)),
            )
        )
    doors = (
        wheels[0] + float(rng.uniform(0.46, 0.55)),
        length * float(rng.uniform(0.5, 0.54)),
        wheels[1] - float(rng.uniform(0.08, 0.18)),
    )
    top = belt + rise * length / 2 + 0.02
    bulge = float(rng.uniform(-0.04, 0.04))
    arch = radius * 1.36
    rear: list[Point] = [(doors[2] + 0.10, top + 0.05), (doors[2] + 0.06, 0.80)]
    for t in np.linspace(0.55 * np.pi, 0.9 * np.pi, 6):  # the rear door goes round the wheel
        rear.append((wheels[1] + arch * float(np.cos(t)), radius + arch * float(np.sin(t))))
    rear.append((wheels[1] - arch - 0.02, sill + 0.06))
    gaps: list[tuple[Point, ...]] = [
        tuple(
            (doors[0] + bulge * float(np.sin(np.pi * t)), top + (sill + 0.06 - top) * t) for t in np.linspace(0, 1, 8)
        ),
        tuple(
            (doors[1] + 0.5 * bulge * float(np.sin(np.pi * t)), top + (sill + 0.06 - top) * t)
            for t in np.linspace(0, 1, 8)
        ),
        tuple(rear),
        ((doors[0], sill + 0.06), (wheels[1] - arch - 0.02, sill + 0.06)),
        ((0.0, belt - 0.06), (wheels[0] + 0.1, belt - 0.03), (doors[0], belt + 0.01)),
        ((wheels[0] - arch * 0.85, radius + 0.2), (0.12, radius + 0.24)),
        ((wheels[1] + arch * 0.85, radius + 0.2), (length - 0.12, radius + 0.25)),
    ]
    flap = (wheels[1] + float(rng.uniform(-0.02, 0.25)), float(rng.uniform(0.72, 0.8))) if rng.random() < 0.7 else None
    if flap is not None:
        t = np.linspace(0, 2 * np.pi, 25)
        loop = np.sign(np.cos(t)) * np.abs(np.cos(t)) ** 0.5, np.sign(np.sin(t)) * np.abs(np.sin(t)) ** 0.5
        points = [(flap[0] + 0.085 * float(a), flap[1] + 0.075 * float(b)) for a, b in zip(*loop, strict=True)]
        gaps.append((*points[:-1], points[0]))
    height = belt - float(rng.uniform(0.08, 0.14))
    trims: list[tuple[float, float, float, str]] = []
    if rng.random() < 0.45:
        trims.append(
            (
                float(rng.uniform(0.42, 0.55)),
                float(rng.uniform(0, 0.02)),
                float(rng.uniform(0.02, 0.05)),
                str(rng.choice(["black", "body", "chrome"])),
            )
        )
    if rng.random() < 0.4:
        trims.append((sill + 0.09, 0.0, 0.012, "chrome"))
    badge = None
    if rng.random() < 0.5:
        text = str(rng.choice(["GLX", "TDI", "hybrid", "V6", "SPORT", "1.6 i", "e-drive"]))
        badge = (
            text,
            float(rng.uniform(doors[0] - 0.32, doors[0] + 0.2)),
            float(rng.uniform(0.58, 0.66)),
            float(rng.uniform(0.018, 0.03)),
        )
    return Body(
        barrel=float(rng.uniform(0.5, 1.1)),
        middle=float(rng.uniform(0.5, 0.62)),
        creases=tuple(creases),
        belt=belt,
        belt_rise=rise,
        roof=float(rng.uniform(1.38, 1.55)),
        sill=sill,
        wheels=wheels,
        wheel_radius=radius,
        spokes=int(rng.integers(5, 11)),
        gaps=tuple(gaps),
        handles=((doors[1] - 0.14, height + rise * length * 0.4), (doors[2] - 0.06, height + rise * length * 0.6)),
        flap=flap,
        trims=tuple(trims),
        badge=badge,
        length=length,
    )


def draw_light(rng: np.random.Generator, name: LightName) -> Light:
    """Draws the light and the surroundings of a scene; radiances are relative to a clear sky's."""
    u = rng.uniform
    sun, elevation = 0.0, float(u(0.4, 1.1))
    if name == "day":
        top, low, ground = (0.28, 0.48, 0.95), (0.95, 1.0, 1.08), (0.24, 0.23, 0.21)
        sun, target, noise, cloud = float(u(0.8, 2.8)), 0.27, 2.0, float(u(0, 0.7))
    elif name == "overcast":
        grey = float(u(0.75, 1.0))
        top, low, ground = (0.9 * grey, 0.95 * grey, grey), (0.75 * grey, 0.78 * grey, 0.8 * grey), (0.17, 0.17, 0.17)
        target, noise, cloud = 0.24, 2.6, float(u(0.3, 1.0))
    elif name == "dusk":
        top, low, ground = (0.10, 0.13, 0.28), (0.9, float(u(0.42, 0.6)), 0.32), (0.10, 0.09, 0.09)
        sun, elevation, target, noise, cloud = float(u(0, 0.9)), float(u(0.04, 0.2)), 0.13, 4.0, float(u(0.1, 0.8))
    else:
        top, low, ground = (0.012, 0.014, 0.022), (0.07, 0.055, 0.045), (0.05, 0.04, 0.03)
        target, noise, cloud = 0.075, 9.0, 0.3
    tint = u(0.9, 1.1)
    skyline = tuple(
        (float(u(-1.5, 1.5)), float(u(0.06, 0.25)), float(u(0.05, 0.4))) for _ in range(int(rng.integers(2, 9)))
    )
    poles = tuple(
        (float(u(-1.3, 1.3)), float(u(0.006, 0.03)), float(u(0.2, 0.9)), float(rng.choice([0.08, 0.15, 1.3])))
        for _ in range(int(rng.integers(0, 6)))
    )
    wires = tuple(
        (float(u(-1, 1)), float(u(0.1, 0.7)), float(u(-0.8, 0.8)), float(u(-0.4, 0.4)))
        for _ in range(int(rng.integers(0, 7)))
    )
    lamps: list[tuple[float, float, float, Colour]] = []
    if name in ("dusk", "night"):
        for _ in range(int(rng.integers(1, 5)) if name == "night" else int(rng.integers(0, 2))):
            colour = [(1.0, 0.62, 0.28), (0.9, 0.95, 1.0), (1.0, 0.85, 0.6)][int(rng.integers(3))]
            lamps.append((float(u(-1.1, 1.1)), float(u(0.12, 0.8)), float(u(0.5, 1.5)), colour))
    flash = float(u(0.15, 0.6)) if name == "night" and rng.random() < 0.5 else 0.0
    return Light(
        name=name,
        sun_azimuth=float(u(-1.9, 1.9)),
        sun_elevation=elevation,
        sun=sun,
        sky_top=(top[0] * tint, top[1], top[2]),
        sky_low=low,
        ground=ground,
        cloud=cloud,
        skyline=skyline,
        trees=float(u(0.05, 0.35)) if rng.random() < 0.6 else 0.0,
        poles=poles,
        wires=wires,
        lamps=tuple(lamps),
        flash=flash,
        target=target,
        noise=float(noise * u(0.7, 1.5)),
        seed=int(rng.integers(2**31)),
    )
