"""The parameters of a rendered car and its photographs. Lengths are metres on the car's side, angles radians.

The side of the car is the plane z = 0: u runs from nose to tail, v upwards from the ground, z towards the camera.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

LightName = Literal["day", "overcast", "dusk", "night"]
LIGHTS: tuple[LightName, ...] = ("day", "overcast", "dusk", "night")
SCRATCH, DENT = 0, 1

Point = tuple[float, float]
Colour = tuple[float, float, float]  # linear RGB, 0..1


@dataclass(frozen=True)
class Paint:
    """A paint with its clear coat."""

    name: str
    albedo: Colour
    flake: float  # 0 solid .. 1 coarse metallic
    flop: float  # how much darker it is at a grazing angle
    gloss: float  # clear coat's reflectance at right angles
    peel: float  # slope of the waviness of the clear coat


@dataclass(frozen=True)
class Body:
    """The shape of a car's side, and what is mounted on it."""

    barrel: float  # 1/m: curvature of the side
    middle: float  # m: height at which the side is vertical
    creases: tuple[tuple[float, float, float, float], ...]  # height, rise per m of u, tilt, width
    belt: float  # m: lower edge of the windows at u = 0
    belt_rise: float  # m per m
    roof: float
    sill: float
    wheels: Point  # u of the two axles
    wheel_radius: float
    spokes: int
    gaps: tuple[tuple[Point, ...], ...]  # lines between panels
    handles: tuple[Point, ...]
    flap: Point | None  # fuel flap
    trims: tuple[tuple[float, float, float, str], ...]  # height, rise, width, chrome | black | body
    badge: tuple[str, float, float, float] | None  # text, u, v, height of the letters
    length: float


@dataclass(frozen=True)
class Dent:
    """An elliptic depression."""

    centre: Point
    radii: Point  # m
    angle: float
    slope: float  # steepest slope of the depression
    crease: float  # 0 a soft bowl .. 1 folded along its long axis


@dataclass(frozen=True)
class Scratch:
    """Strokes that have taken paint off."""

    strokes: tuple[tuple[Point, ...], ...]
    widths: tuple[float, ...]  # m, one a stroke
    opacity: tuple[float, ...]  # 0..1, one a stroke
    albedo: Colour
    haze: float  # dulled clear coat between the strokes, 0..1
    kind: str  # clearcoat | primer | metal | transfer


@dataclass(frozen=True)
class Clutter:
    """What looks like damage but is none."""

    dirt: float  # 0..1
    dirt_colour: Colour
    streaks: tuple[tuple[float, float, float, float, float], ...]  # u, v of the top, length, width, opacity
    drops: tuple[tuple[float, float, float], ...]  # u, v, radius
    stickers: tuple[tuple[float, float, float, float, float, Colour, int], ...]  # u, v, size, turn, colour, bars
    shadow: tuple[Point, ...] | None  # polygon that the sun does not reach
    noise_offset: Point  # of this car in the noise tiles, px


@dataclass(frozen=True)
class Light:
    """The light of a scene, and the surroundings that the car mirrors."""

    name: LightName
    sun_azimuth: float
    sun_elevation: float
    sun: float  # radiance on a surface that faces it, sky = 1
    sky_top: Colour
    sky_low: Colour
    ground: Colour
    cloud: float
    skyline: tuple[tuple[float, float, float], ...]  # buildings: azimuth, half width, height
    trees: float
    poles: tuple[tuple[float, float, float, float], ...]  # azimuth, half width, height, brightness
    wires: tuple[tuple[float, float, float, float], ...]  # azimuth, elevation, angle, bend
    lamps: tuple[tuple[float, float, float, Colour], ...]  # azimuth, elevation, strength, colour
    flash: float
    target: float  # mean that the exposure aims at, 0..1, linear
    noise: float  # standard deviation, levels of 255, at mid grey
    seed: int


@dataclass(frozen=True)
class Shot:
    """How one photograph is taken: the camera's place and direction, its errors, and the file."""

    look: Point  # point of the car in the middle of the picture
    width_m: float  # m across the picture's longer side
    yaw: float
    pitch: float
    roll: float
    focal: float  # focal length, over the length of the picture's longer side
    portrait: bool
    orientation: int  # EXIF: 1, 3, 6 or 8
    exposure: float  # stops
    blur: float  # px, standard deviation
    motion: float  # px
    motion_angle: float
    warmth: float  # white balance error
    vignette: float
    quality: int  # JPEG
    seed: int


@dataclass(frozen=True)
class Car:
    """A car with its damage, the light and its photographs: all that the renderer needs."""

    seed: int
    listing: str
    make: str
    year: int
    region: str
    uploader: str
    camera: tuple[str, str]  # maker, model
    captured_at: str  # ISO 8601 with zone, of the first photograph
    paint: Paint
    body: Body
    clutter: Clutter
    light: Light
    dents: tuple[Dent, ...]
    scratches: tuple[Scratch, ...]
    shots: tuple[Shot, ...]

    @property
    def clean(self) -> bool:
        """Whether the car has no damage."""
        return not self.dents and not self.scratches

    def parameters(self) -> dict[str, Any]:
        """The car as JSON values by name, floats rounded to 1e-5."""
        rounded: dict[str, Any] = _rounded(self)
        return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if is_dataclass(value):
        return {field.name: _rounded(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (list, tuple)):
        return [_rounded(v) for v in value]
    return value
