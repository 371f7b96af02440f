"""The surroundings that the panels mirror: a map of the half sphere behind the photographer, and the light it sheds.

The map is paraboloidal: direction (x, y, z) lies at (x, y) / (1 + z) (Heidrich and Seidel, 1998), so that looking a
reflection up needs no trigonometry and has no seam.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from carsdepo_assets.sample import noise
from carsdepo_assets.sample.scene import Light

SIZE = 384
REACH = 1.25  # of the map, in paraboloid units; 1 is the horizon of the half sphere


@dataclass(frozen=True)
class Surroundings:
    """mirror, rough: (SIZE, SIZE, 3) and (48, 48, 3) float32 radiance; sun: unit direction; the rest: linear RGB."""

    mirror: np.ndarray
    rough: np.ndarray
    sun: np.ndarray
    sun_colour: np.ndarray
    above: np.ndarray
    below: np.ndarray

    def reflect(self, rx: np.ndarray, ry: np.ndarray, rz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sharp and rough radiance seen along unit directions, (H, W, 3) each."""
        scale = 1.0 / (np.maximum(rz, -0.6) + 1.0) / (2 * REACH)
        mx, my = rx * scale + 0.5, 0.5 - ry * scale
        sharp = _look(self.mirror, mx, my)
        return sharp, _look(self.rough, mx, my)


def _look(image: np.ndarray, mx: np.ndarray, my: np.ndarray) -> np.ndarray:
    side = np.float32(image.shape[0] - 1)
    at = np.asarray(mx * side, np.float32), np.asarray(my * side, np.float32)
    return np.asarray(cv2.remap(image, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def direction(azimuth: float, elevation: float) -> np.ndarray:
    """Unit vector; azimuth 0 looks away from the car, to where the photographer stands."""
    c = np.cos(elevation)
    return np.array([np.sin(azimuth) * c, np.sin(elevation), np.cos(azimuth) * c], np.float32)


def surroundings(light: Light) -> Surroundings:
    rng = np.random.default_rng(light.seed)
    axis = np.linspace(-REACH, REACH, SIZE, dtype=np.float32)
    px, py = np.meshgrid(axis, -axis)
    rr = px * px + py * py
    x, y, z = 2 * px / (1 + rr), 2 * py / (1 + rr), (1 - rr) / (1 + rr)
    azimuth, elevation = np.arctan2(x, z), np.arcsin(np.clip(y, -1, 1))
    shift = rng.uniform(0, noise.SIDE, 2)
    clouds = noise.sample(1.6, azimuth * 90 + shift[0], elevation * 180 + shift[1])
    image = _sky(light, elevation, clouds)
    image = _ground(light, image, azimuth, elevation, shift)
    top = SIZE // 2 + 6  # rows down to just below the horizon
    image[:top] = _skyline(light, image[:top], azimuth[:top], elevation[:top], rng)
    for at, half, height, shine in light.poles:
        bar = _inside(np.abs(azimuth - at), half, 0.008) * _inside(elevation, height, 0.02) * (elevation > -0.12)
        tone = np.array(light.sky_low, np.float32) * shine
        image += bar[..., None] * (tone - image)
    _wires(light, image)
    sun = direction(light.sun_azimuth, light.sun_elevation)
    warm = 1.0 - np.clip(light.sun_elevation / 0.7, 0, 1)
    sun_colour = np.array([1.0, 0.96 - 0.25 * warm, 0.88 - 0.5 * warm], np.float32) * light.sun
    towards = x * sun[0] + y * sun[1] + z * sun[2]
    if light.sun > 0.3:
        glow = np.exp((towards - 1) * 900) * 14 + np.exp((towards - 1) * 30) * 0.6
        image += glow[..., None] * sun_colour
    for az, el, strength, colour in light.lamps:
        d = direction(az, el)
        near = (
            np.exp((x * d[0] + y * d[1] + z * d[2] - 1) * 1500) * 12
            + np.exp((x * d[0] + y * d[1] + z * d[2] - 1) * 40) * 0.25
        )
        image += (near * strength)[..., None] * np.array(colour, np.float32)
    if light.flash > 0:
        image += (np.exp((z - 1) * 2500) * 8 * light.flash)[..., None]
    image = np.asarray(image, np.float32)
    mirror = cv2.GaussianBlur(image, (0, 0), 0.8)
    rough = cv2.GaussianBlur(cv2.resize(np.minimum(image, 8.0), (48, 48), interpolation=cv2.INTER_AREA), (0, 0), 2.5)
    upper, lower = rough[:24].mean(axis=(0, 1)), rough[24:].mean(axis=(0, 1))
    return Surroundings(mirror, rough, sun, sun_colour, upper, lower)


def _inside(value: np.ndarray, edge: float, soft: float) -> np.ndarray:
    """1 below the edge, 0 above, a ramp of width soft."""
    return np.clip((edge - value) / soft + 0.5, 0, 1)


def _sky(light: Light, elevation: np.ndarray, clouds: np.ndarray) -> np.ndarray:
    top, low = np.array(light.sky_top, np.float32), np.array(light.sky_low, np.float32)
    t = np.clip(elevation / 1.2, 0, 1) ** 0.6
    sky = low + (top - low) * t[..., None]
    cover = np.clip(clouds * 0.6 + 0.2, 0, 1) * light.cloud
    white = (low + top).mean() * 0.65 + 0.1 * low
    return np.asarray(sky + cover[..., None] * (white - sky) * 0.8, np.float32)


def _ground(
    light: Light, image: np.ndarray, azimuth: np.ndarray, elevation: np.ndarray, shift: np.ndarray
) -> np.ndarray:
    ground = np.array(light.ground, np.float32)
    grain = noise.sample(1.0, azimuth * 150 + shift[1], elevation * 500 + shift[0])
    surface = ground * (1 + 0.10 * grain + 0.5 * np.exp(elevation * 6))[..., None]
    kerb = (np.abs(elevation + 0.16) < 0.02).astype(np.float32)
    surface += kerb[..., None] * ground * 0.9
    return np.asarray(image + _inside(elevation, 0.0, 0.01)[..., None] * (surface - image), np.float32)


def _skyline(
    light: Light, image: np.ndarray, azimuth: np.ndarray, elevation: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    above = np.asarray(1 - _inside(elevation, -0.02, 0.01), np.float32)
    low = np.array(light.sky_low, np.float32)
    for at, half, height in light.skyline:
        wall = _inside(np.abs(azimuth - at), half, 0.01) * _inside(elevation, height, 0.01) * above
        tone = low * rng.uniform(0.15, 0.6) * np.array([1.0, 0.95, 0.9], np.float32)
        cell_x, cell_y = (azimuth - at + half) * rng.uniform(14, 22), elevation * rng.uniform(18, 26)
        pane = ((cell_x % 1 > 0.4) & (cell_y % 1 > 0.45)).astype(np.float32)
        glass: np.ndarray
        if light.name == "night":
            lit = noise.sample(0.0, np.floor(cell_x) + 31, np.floor(cell_y) + 57) > 0.7
            glass = pane[..., None] * lit[..., None] * np.array([0.5, 0.4, 0.22], np.float32)
        else:
            glass = -pane[..., None] * tone * 0.55
        image = image + np.asarray(wall[..., None] * (tone + glass - image), np.float32)
    edge = light.trees * (0.6 + 0.35 * noise.sample(1.2, azimuth * 200, np.full_like(azimuth, 40.0)))
    leaf = _inside(elevation - edge, 0.0, 0.03) * above if light.trees > 0 else np.zeros_like(elevation)
    mottled = 0.16 + 0.06 * noise.sample(0.6, azimuth * 200, elevation * 200)
    tree = low * np.array([0.8, 1.0, 0.6], np.float32) * np.maximum(mottled, 0.03)[..., None]
    return np.asarray(image + leaf[..., None] * (tree - image), np.float32)


def _wires(light: Light, image: np.ndarray) -> None:
    """Cables and branches: thin dark curves in the mirror image, which look like scratches."""
    tone = tuple(float(c) * 0.12 for c in light.sky_low)
    for az, el, angle, bend in light.wires:
        t = np.linspace(-0.6, 0.6, 24)
        a = az + t * np.cos(angle)
        e = el + t * np.sin(angle) + bend * t * t
        d = np.stack([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)], axis=1)
        p = d[:, :2] / (1 + np.maximum(d[:, 2:], -0.5)) / (2 * REACH)
        pixels = np.stack([p[:, 0] + 0.5, 0.5 - p[:, 1]], axis=1) * (SIZE - 1)
        cv2.polylines(image, [np.round(pixels * 16).astype(np.int32)], False, tone, 1, cv2.LINE_AA, 4)
