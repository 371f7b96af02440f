"""The surroundings that the car's panels mirror, as a map of the half sphere behind the photographer, and their light.

The map is paraboloidal: direction (x, y, z) lies at (x, y) / (1 + z) (Heidrich and Seidel, 1998). Looking up a
reflection then needs no trigonometry, and the map has no seam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.demo.sample import noise
from carsdepo_assets.demo.sample.scene import Light

SIZE = 384
_DARK = 14.0  # exp(-14) is a millionth
REACH = 1.25  # of the map, in paraboloid units; 1 is the horizon of the half sphere


@dataclass(frozen=True)
class Surroundings:
    """The radiance around a car.

    The maps have a fourth channel of zeros after red, green and blue: cv2.remap handles four channels at once, but
    three one by one.
    """

    mirror: NDArray[np.float32]
    """(SIZE, SIZE, 4) float32: radiance by direction, as a mirror shows it."""
    rough: NDArray[np.float32]
    """(48, 48, 4) float32: the same as metallic paint shows it, blurred."""
    sun: NDArray[np.float32]
    """(3,): unit vector towards the sun."""
    sun_colour: NDArray[np.float32]
    """Linear RGB radiance on a surface that faces the sun."""
    above: NDArray[np.float32]
    """Mean of the map's upper half, linear RGB and the zero."""
    below: NDArray[np.float32]
    """Mean of the map's lower half, linear RGB and the zero."""

    def reflect(
        self, rx: NDArray[np.float32], ry: NDArray[np.float32], rz: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What is seen in directions of reflection.

        Args:
            rx: x of the unit vectors, (H, W).
            ry: Their y.
            rz: Their z.

        Returns:
            Sharp and rough radiance, (H, W, 4) each: red, green, blue and zero.
        """
        scale = 1.0 / (np.maximum(rz, -0.6) + 1.0) / (2 * REACH)
        mx, my = rx * scale + 0.5, 0.5 - ry * scale
        return _look(self.mirror, mx, my), _look(self.rough, mx, my)


def _look(image: NDArray[np.float32], mx: NDArray[Any], my: NDArray[Any]) -> NDArray[np.float32]:
    side = np.float32(image.shape[0] - 1)
    at = np.asarray(mx * side, np.float32), np.asarray(my * side, np.float32)
    return np.asarray(cv2.remap(image, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _with_fourth(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, 3) -> (H, W, 4), the fourth channel zero."""
    return np.concatenate([image, np.zeros_like(image[..., :1])], axis=2)


@dataclass(frozen=True)
class _Sphere:
    """The direction of each pixel of the map, and functions of its elevation; (SIZE, SIZE) float32 each.

    All cars share one: it must not be changed.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    z: NDArray[np.float32]
    azimuth: NDArray[np.float32]
    elevation: NDArray[np.float32]
    rise: NDArray[np.float32]  # 0 at the horizon .. 1 high in the sky
    haze: NDArray[np.float32]  # brightness of the ground towards the horizon
    ground: NDArray[np.float32]  # 1 below the horizon, 0 above
    kerb: NDArray[np.float32]  # 1 on the edge of the pavement


@lru_cache(maxsize=1)
def _sphere() -> _Sphere:
    axis = np.linspace(-REACH, REACH, SIZE, dtype=np.float32)
    px, py = np.meshgrid(axis, -axis)
    rr = px * px + py * py
    x, y, z = 2 * px / (1 + rr), 2 * py / (1 + rr), (1 - rr) / (1 + rr)
    azimuth, elevation = np.arctan2(x, z), np.arcsin(np.clip(y, -1, 1))
    return _Sphere(
        x,
        y,
        z,
        azimuth,
        elevation,
        rise=np.clip(elevation / 1.2, 0, 1) ** 0.6,
        haze=0.5 * np.exp(elevation * 6),
        ground=_inside(elevation, 0.0, 0.01),
        kerb=(np.abs(elevation + 0.16) < 0.02).astype(np.float32),
    )


def direction(azimuth: float, elevation: float) -> NDArray[np.float32]:
    """The unit vector (3,) of two angles in radians; azimuth 0 points from the car to the photographer."""
    c = np.cos(elevation)
    return np.array([np.sin(azimuth) * c, np.sin(elevation), np.cos(azimuth) * c], np.float32)


def surroundings(light: Light) -> Surroundings:
    """Renders the map of a light: sky, clouds, ground, buildings, trees, poles, wires, sun and lamps."""
    rng = np.random.default_rng(light.seed)
    sphere = _sphere()
    shift = rng.uniform(0, noise.SIDE, 2)
    red_green_blue = _sky(light, sphere, shift)
    _ground(light, red_green_blue, sphere, shift)
    _skyline(light, red_green_blue, sphere, rng)
    for at, half, height, shine in light.poles:
        bar = _inside(np.abs(sphere.azimuth - at), half, 0.008) * _inside(sphere.elevation, height, 0.02)
        _mix(red_green_blue, bar * (sphere.elevation > -0.12), np.array(light.sky_low, np.float32) * shine)
    image = cv2.merge(red_green_blue)
    _wires(light, image)
    red_green_blue = list(cv2.split(image))
    sun = direction(light.sun_azimuth, light.sun_elevation)
    warm = 1.0 - np.clip(light.sun_elevation / 0.7, 0, 1)
    sun_colour = np.array([1.0, 0.96 - 0.25 * warm, 0.88 - 0.5 * warm], np.float32) * light.sun
    if light.sun > 0.3:
        _glow(red_green_blue, sphere, sun, ((900, 14), (30, 0.6)), sun_colour)
    for az, el, strength, colour in light.lamps:
        d = direction(az, el)
        _glow(red_green_blue, sphere, d, ((1500, 12 * strength), (40, 0.25 * strength)), np.array(colour, np.float32))
    if light.flash > 0:
        ahead = np.array([0, 0, 1], np.float32)
        _glow(red_green_blue, sphere, ahead, ((2500, 8 * light.flash),), np.ones(3, np.float32))
    image = cv2.merge(red_green_blue)
    mirror = cv2.GaussianBlur(image, (0, 0), 0.8)
    rough = cv2.GaussianBlur(cv2.resize(np.minimum(image, 8.0), (48, 48), interpolation=cv2.INTER_AREA), (0, 0), 2.5)
    upper, lower = rough[:24].mean(axis=(0, 1)), rough[24:].mean(axis=(0, 1))
    return Surroundings(_with_fourth(mirror), _with_fourth(rough), sun, sun_colour, upper, lower)


def _inside(value: NDArray[Any], edge: float, soft: float) -> NDArray[Any]:
    """1 where value is below the edge, 0 above, with a ramp of width `soft` between."""
    return np.clip((edge - value) / soft + 0.5, 0, 1)


def _box(alpha: NDArray[Any]) -> tuple[slice, slice] | None:
    """The smallest rectangle of (H, W) that has all values other than zero; None where all are zero."""
    rows, cols = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    return (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)) if len(rows) else None


def _mix(planes: list[NDArray[Any]], alpha: NDArray[Any], tones: Sequence[NDArray[Any]] | NDArray[Any]) -> None:
    """Blends three tones (numbers or (H, W)) into three planes (H, W), in place, with opacity alpha (H, W)."""
    part = _box(alpha)
    if part is None:
        return
    share = alpha[part].astype(np.float32)
    for plane, tone in zip(planes, tones, strict=True):
        here = plane[part]
        here += share * ((tone[part] if np.ndim(tone) == 2 else tone) - here)


def _glow(
    planes: list[NDArray[Any]],
    sphere: _Sphere,
    towards: NDArray[Any],
    lobes: tuple[tuple[float, float], ...],
    colour: NDArray[Any],
) -> None:
    """Adds round spots of light in the direction `towards`. lobes: how narrow, how bright."""
    cosine = sphere.x * towards[0] + sphere.y * towards[1] + sphere.z * towards[2]
    for narrow, bright in lobes:
        part = _box(cosine > 1 - _DARK / narrow)  # beyond, less than a millionth of it is left
        if part is not None:
            spot = np.exp((cosine[part] - 1) * narrow) * bright
            for plane, tone in zip(planes, colour, strict=True):
                plane[part] += spot * tone


def _sky(light: Light, sphere: _Sphere, shift: NDArray[Any]) -> list[NDArray[Any]]:
    """Red, green and blue of sky and clouds."""
    clouds = noise.sample(1.6, sphere.azimuth, sphere.elevation, (90, 180), (shift[0], shift[1]))
    cover = np.clip(clouds * 0.6 + 0.2, 0, 1) * light.cloud * 0.8
    top, low = np.array(light.sky_top, np.float32), np.array(light.sky_low, np.float32)
    white = (low + top).mean() * 0.65 + 0.1 * low
    planes = []
    for i in range(3):
        sky = low[i] + (top[i] - low[i]) * sphere.rise
        planes.append(sky + cover * (white[i] - sky))
    return planes


def _ground(light: Light, planes: list[NDArray[Any]], sphere: _Sphere, shift: NDArray[Any]) -> None:
    rows = slice(int(np.flatnonzero(sphere.ground.any(axis=1))[0]), SIZE)
    grain = noise.sample(1.0, sphere.azimuth[rows], sphere.elevation[rows], (150, 500), (shift[1], shift[0]))
    surface = 1 + 0.10 * grain + sphere.haze[rows] + sphere.kerb[rows] * 0.9
    _mix([p[rows] for p in planes], sphere.ground[rows], [surface * np.float32(c) for c in light.ground])


def _skyline(light: Light, planes: list[NDArray[Any]], sphere: _Sphere, rng: np.random.Generator) -> None:
    rows = slice(0, SIZE // 2 + 6)  # down to just below the horizon
    planes, azimuth, elevation = [p[rows] for p in planes], sphere.azimuth[rows], sphere.elevation[rows]
    above = np.asarray(1 - _inside(elevation, -0.02, 0.01), np.float32)
    low = np.array(light.sky_low, np.float32)
    for at, half, height in light.skyline:
        wall = _inside(np.abs(azimuth - at), half, 0.01) * _inside(elevation, height, 0.01) * above
        tone = low * rng.uniform(0.15, 0.6) * np.array([1.0, 0.95, 0.9], np.float32)
        across, up = rng.uniform(14, 22), rng.uniform(18, 26)  # windows per radian
        part = _box(wall)
        if part is None:
            continue
        cell_x, cell_y = (azimuth[part] - at + half) * across, elevation[part] * up
        pane = ((cell_x % 1 > 0.4) & (cell_y % 1 > 0.45)).astype(np.float32)
        if light.name == "night":
            lit = noise.sample(0.0, np.floor(cell_x), np.floor(cell_y), shift=(31, 57)) > 0.7
            tones = [tone[i] + pane * lit * np.float32(c) for i, c in enumerate((0.5, 0.4, 0.22))]
        else:
            tones = [c * (1 - pane * 0.55) for c in tone]
        _mix([p[part] for p in planes], wall[part], tones)
    if light.trees > 0:
        edge = light.trees * (0.6 + 0.35 * noise.sample(1.2, azimuth, np.zeros_like(azimuth), (200, 1), (0, 40)))
        leaf = _inside(elevation - edge, 0.0, 0.03) * above
        mottled = np.maximum(0.16 + 0.06 * noise.sample(0.6, azimuth, elevation, (200, 200)), 0.03)
        tree = low * np.array([0.8, 1.0, 0.6], np.float32)
        _mix(planes, leaf, [mottled * c for c in tree])


def _wires(light: Light, image: NDArray[Any]) -> None:
    """Draws cables and branches: thin dark curves, whose reflections look like scratches."""
    tone = tuple(float(c) * 0.12 for c in light.sky_low)
    for az, el, angle, bend in light.wires:
        t = np.linspace(-0.6, 0.6, 24)
        a = az + t * np.cos(angle)
        e = el + t * np.sin(angle) + bend * t * t
        d = np.stack([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)], axis=1)
        p = d[:, :2] / (1 + np.maximum(d[:, 2:], -0.5)) / (2 * REACH)
        pixels = np.stack([p[:, 0] + 0.5, 0.5 - p[:, 1]], axis=1) * (SIZE - 1)
        cv2.polylines(image, [np.round(pixels * 16).astype(np.int32)], False, tone, 1, cv2.LINE_AA, 4)
