"""The painted side of the car: its shape as slopes, and the light that paint and clear coat send to the camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.demo.sample import noise
from carsdepo_assets.demo.sample.camera import PixelWindow, Rays
from carsdepo_assets.demo.sample.damage import window_of
from carsdepo_assets.demo.sample.light import Surroundings
from carsdepo_assets.demo.sample.scene import Car, Colour

HANDLE = (0.095, 0.034)  # half axes of the recess behind a door handle, m


@dataclass(frozen=True)
class Panel:
    """The undamaged side of a car in one picture; arrays are (H, W) float32."""

    car: Car
    around: Surroundings
    rays: Rays
    hu: NDArray[np.float32]
    """Slope of the surface along u."""
    hv: NDArray[np.float32]
    """Slope of the surface along v."""
    sunlit: NDArray[np.float32]
    """1 where the sun reaches, less in a shadow."""
    flake: NDArray[np.float32]
    """Standard normal noise: how the metal flakes of the paint are turned."""


def build_panel(car: Car, around: Surroundings, rays: Rays, sunlit: NDArray[np.float32]) -> Panel:
    """Computes the shape of a car's side in one picture; sunlit is (H, W), 1 where the sun reaches."""
    hu, hv = _slopes(car, rays)
    ox, oy = car.clutter.noise_offset
    flake = noise.sample(0.0, rays.u, rays.v, (900, 900), (ox, oy))
    return Panel(car, around, rays, hu, hv, sunlit, flake)


def _around(rays: Rays, u: float, v: float, reach: float) -> PixelWindow | None:
    return window_of(rays, np.array([(u + a * reach, v + b * reach) for a in (-1, 1) for b in (-1, 1)]), 2)


def _slopes(car: Car, rays: Rays) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    body, u, v = car.body, rays.u, rays.v
    hv = -body.barrel * (v - body.middle)
    middle = body.length / 2
    hu = -0.035 * (u - middle)
    straight = 0.42 * body.length  # the ends bow inwards
    for side in (-1, 1):
        part = rays.where((side, 0, -side * middle - straight))
        if part is not None:
            hu[part] -= 0.9 * side * np.maximum(side * (u[part] - middle) - straight, 0)
    for height, rise, tilt, width in body.creases:
        reach, base = 6 * width, height - rise * middle  # further off, it is negligible
        part = rays.where((-rise, 1, reach - base), (rise, -1, reach + base))
        if part is not None:
            d = (v[part] - height - rise * (u[part] - middle)) / width
            hv[part] += tilt * np.exp(-0.5 * d * d) * (0.4 - d)
    for axle in body.wheels:  # the flared lip of the arch
        part = _around(rays, axle, body.wheel_radius, body.wheel_radius * 1.3 + 0.12)
        if part is not None:
            du, dv = u[part] - axle, v[part] - body.wheel_radius
            r = np.sqrt(du * du + dv * dv) + 1e-6
            d = (r - body.wheel_radius * 1.3) / 0.035
            lip = -0.35 * d * np.exp(-0.5 * d * d) / r
            hu[part] += lip * du
            hv[part] += lip * dv
    for cu, cv in body.handles:
        part = _around(rays, cu, cv, HANDLE[0])
        if part is not None:
            p, q = (u[part] - cu) / HANDLE[0], (v[part] - cv) / HANDLE[1]
            rest = np.maximum(1 - p * p - q * q, 0)
            hu[part] += 0.35 * p * rest
            hv[part] += 1.1 * q * rest
    ox, oy = car.clutter.noise_offset
    peel = car.paint.peel
    hu += peel * noise.sample(1.3, u, v, (260, 260), (ox, oy))
    hv += peel * noise.sample(1.3, u, v, (260, 260), (oy + 99, ox))
    return hu, hv


def shade(
    panel: Panel,
    window: PixelWindow,
    hu: NDArray[np.float32] | None = None,
    hv: NDArray[np.float32] | None = None,
    worn: list[tuple[NDArray[Any], Colour]] | None = None,
) -> list[NDArray[np.float32]]:
    """The light that the paint sends to the camera.

    Args:
        panel: The undamaged side.
        window: The rectangle of the picture to compute, H x W.
        hu: Slopes along u that are added to the panel's, (H, W); None for none.
        hv: Slopes along v.
        worn: Scratches: the share of the paint that is lost, (H, W), and the albedo of what shows below it.

    Returns:
        Linear radiance: red, green and blue, (H, W) float32 each.
    """
    paint, around = panel.car.paint, panel.around
    vx, vy, vz = (c[window] for c in panel.rays.view)
    a, b = panel.hu[window], panel.hv[window]
    a, b = (a + hu if hu is not None else a), (b + hv if hv is not None else b)
    nz = 1 / np.sqrt(a * a + b * b + 1)
    nx, ny = -a * nz, -b * nz
    facing = np.clip(nx * vx + ny * vy + nz * vz, 0.02, 1)
    rx, ry, rz = 2 * facing * nx - vx, 2 * facing * ny - vy, 2 * facing * nz - vz
    sharp, rough = around.reflect(rx, ry, rz)
    light = irradiance(panel, window, nx, ny, nz)
    flake = panel.flake[window]
    metal = 1.35 * paint.flake * (1 + 0.10 * paint.flake * flake) * cv2.pow(facing, 2 * paint.flop)
    sparkle = np.maximum(flake - 2.2, 0) * (0.5 * paint.flake) * panel.sunlit[window]
    grazing = (1 - facing) * (1 - facing)
    coat = paint.gloss + (1 - paint.gloss) * grazing * grazing * (1 - facing)
    for layer, _ in worn or ():
        coat = coat * (1 - 0.85 * layer)
    planes = []  # a colour at a time: numpy is several times slower along an axis of three
    for i in range(3):
        shine, glow = sharp[..., i], rough[..., i]
        albedo = paint.albedo[i]
        plane = light[i] * (albedo * (1 - 0.55 * paint.flake))
        if paint.flake > 0:
            plane += metal * glow * albedo
            plane += sparkle * (float(around.sun_colour[i]) * (0.3 + albedo))
        for layer, bare in worn or ():
            plane += layer * (bare[i] * light[i] - plane)
        plane += coat * shine
        planes.append(plane)
    return planes


def irradiance(
    panel: Panel, window: PixelWindow, nx: NDArray[Any] | float, ny: NDArray[Any] | float, nz: NDArray[Any] | float
) -> list[NDArray[np.float32]]:
    """The light that falls on a surface, from sky, ground, sun and flash, divided by pi.

    Args:
        panel: Has the car, its surroundings and where the sun reaches.
        window: The rectangle of the picture to compute, H x W.
        nx: x of the surface's unit normal, a number or (H, W).
        ny: Its y, upwards: the more, the more sky and the less ground.
        nz: Its z, towards the camera.

    Returns:
        Radiance of a white matt surface: red, green and blue, (H, W) float32 each.
    """
    around, light = panel.around, panel.car.light
    shape = panel.sunlit[window].shape
    up = np.broadcast_to(np.asarray(0.5 + 0.5 * np.asarray(ny, np.float32), np.float32), shape)
    s, (vx, vy, vz) = around.sun, (c[window] for c in panel.rays.view)
    direct = np.maximum(nx * s[0] + ny * s[1] + nz * s[2], 0) * panel.sunlit[window] if light.sun > 0 else None
    flash = None
    if light.flash > 0:
        towards = np.maximum(nx * vx + ny * vy + nz * vz, 0)
        flash = towards * towards * towards * (light.flash * 0.5)
    planes = []
    for i in range(3):
        plane = up * (around.above[i] - around.below[i]) + around.below[i]
        if direct is not None:
            plane += direct * around.sun_colour[i]
        if flash is not None:
            plane += flash
        planes.append(plane)
    return planes
