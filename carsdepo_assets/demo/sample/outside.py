"""Draws what is not painted: the windows, the wheels, the street, and what is behind the car."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.demo.sample import noise
from carsdepo_assets.demo.sample.camera import PixelWindow, Rays
from carsdepo_assets.demo.sample.scene import Car, Point
from carsdepo_assets.demo.sample.stack import Stack, soft, tint


def belt(car: Car, u: NDArray[Any] | float) -> NDArray[Any] | float:
    """Height of the windows' lower edge, in metres, at u metres from the nose."""
    return car.body.belt + car.body.belt_rise * u


def glass_ends(car: Car) -> Point:
    """Where the windows begin and end at their lower edge, in metres from the nose."""
    return car.body.wheels[0] + 0.35, car.body.wheels[1] + 0.25


def windows(stack: Stack) -> None:
    """Lays the windows, which mirror the surroundings, with their seal and the pillar between the doors."""
    panel, rays, car = stack.panel, stack.rays, stack.panel.car
    (u1, u2), rise = glass_ends(car), car.body.belt_rise
    window = rays.where(
        (-rise, 1, 0.02 - car.body.belt),  # above the belt, with the seal
        (1 + 0.9 * rise, -0.9, 0.9 * car.body.belt - u1 + 0.05),
        (-1 + 0.9 * rise, -0.9, 0.9 * car.body.belt + u2 + 0.05),
    )
    if window is None:
        return
    u, v = rays.u[window], rays.v[window]
    edge = belt(car, u)
    glass = soft(edge - v, stack)
    slant = (v - edge) * 0.9
    glass *= soft(u1 + slant - u, stack) * soft(u - u2 + slant, stack)
    vx, vy, vz = (c[window] for c in rays.view)
    ny = np.float32(0.25)
    facing = np.clip((vz + ny * vy) / np.sqrt(1 + ny * ny), 0.05, 1)
    n = 1 / np.sqrt(1 + ny * ny)
    sharp, _ = panel.around.reflect(-vx, 2 * facing * ny * n - vy, 2 * facing * n - vz)
    away = 1 - facing
    mirrored = 0.09 + 0.8 * (away * away * away * away * away)
    stack.lay(glass, (0.018, 0.022, 0.022), [sharp[..., i] * mirrored for i in range(3)], window)
    seal = soft(np.abs(v - edge) - 0.009, stack) * (u > u1 - 0.02) * (u < u2)
    stack.lay(seal, (0.015, 0.015, 0.015), window=window)
    pillar = glass * soft(np.abs(u - car.body.length * 0.52 + 0.1 * (v - edge)) - 0.035, stack)
    stack.lay(pillar, (0.012, 0.012, 0.013), window=window)


def wheels(stack: Stack) -> None:
    """Lays the wheel arches, the tyres and the rims with their spokes."""
    rays, body = stack.rays, stack.panel.car.body
    radius = body.wheel_radius
    for axle in body.wheels:
        around = _disc(rays, (axle, radius), radius * 1.2)
        if around is None:
            continue
        window, r, _ = around
        stack.lay(soft(r - radius * 1.2, stack), (0.006, 0.006, 0.006), window=window)
        stack.lay(soft(r - radius, stack), [0.02 + 0.006 * np.cos(r * 700)] * 3, window=window)
        rim = radius * 0.68
        around = _disc(rays, (axle, radius), rim + 0.012)
        if around is None:
            continue
        window, r, (du, dv) = around
        stack.lay(soft(r - rim, stack), (0.02, 0.02, 0.02), window=window)
        angle = np.arctan2(dv, du)
        spoke = np.clip((np.cos(angle * body.spokes + axle) - 0.2) * 6, 0, 1) * soft(r - rim * 0.95, stack)
        ring = soft(np.abs(r - rim * 0.95) - 0.012, stack)
        metal = np.maximum(np.maximum(spoke, ring), soft(r - rim * 0.2, stack)).astype(np.float32)
        shine = tint(0.12 + 0.1 * np.sin(angle + 1), stack.panel.around.above)
        stack.lay(metal, (0.33, 0.33, 0.34), shine, window)


def _disc(
    rays: Rays, centre: Point, radius: float
) -> tuple[PixelWindow, NDArray[Any], tuple[NDArray[Any], NDArray[Any]]] | None:
    """The rectangle of the picture with a disc on the car, and its pixels' distances in metres from the disc's centre.

    Distances are given in all, then along u and v. None where the disc is outside of the picture.
    """
    (u, v), reach = centre, radius + rays.metres_per_pixel
    window = rays.where((1, 0, reach - u), (-1, 0, reach + u), (0, 1, reach - v), (0, -1, reach + v))
    if window is None:
        return None
    du, dv = rays.u[window] - u, rays.v[window] - v
    return window, np.sqrt(du * du + dv * dv), (du, dv)


def street(stack: Stack) -> None:
    """Lays the asphalt below the car, and the plain background before, behind and above it."""
    under = _under(stack)
    window = _outside_window(stack)
    if window is None:
        return
    rays, body, car = stack.rays, stack.panel.car.body, stack.panel.car
    ox, oy = car.clutter.noise_offset
    u, v = rays.u[window], rays.v[window]
    nose = 0.35 * (v - 0.5) ** 2  # the ends bow outwards
    ends = np.maximum(soft(u - 0.02 - nose, stack), soft(body.length - 0.02 - nose - u, stack))
    u1, u2 = glass_ends(car)
    cabin = np.minimum(u - u1 + 0.09, u2 + 0.09 - u) / 0.9  # bonnet and boot are as high as the belt
    top = np.minimum(belt(car, u) + 0.05 + np.maximum(cabin, 0), body.roof)
    outside = np.maximum(ends, soft(top - v, stack)) * (1 - under[window])
    if outside.any():
        blot = noise.sample(1.6, u, v, (60, 60), (ox, oy))
        stack.lay(outside, tint(1 + 0.18 * blot, (0.30, 0.29, 0.27)), window=window)


def _under(stack: Stack) -> NDArray[np.float32]:
    """Lays the asphalt below the sill, around the wheels; returns (H, W), 1 where it is."""
    rays, body = stack.rays, stack.panel.car.body
    under = np.zeros(rays.u.shape, np.float32)
    window = rays.where((0, -1, body.sill + rays.metres_per_pixel))
    if window is None:
        return under
    u, v = rays.u[window], rays.v[window]
    here = soft(v - body.sill, stack)
    for axle in body.wheels:
        du, dv = u - axle, v - body.wheel_radius
        here *= 1 - soft(np.sqrt(du * du + dv * dv) - body.wheel_radius, stack)
    if here.any():
        ox, oy = stack.panel.car.clutter.noise_offset
        grain = 1 + 0.15 * noise.sample(0.4, u, v, (250, 900), (ox, oy))
        depth = np.clip((body.sill - v) / 0.14, 0.02, 1) ** 2  # the car's own shadow
        stack.lay(here, tint(0.14 * grain * depth, (1.0, 0.98, 0.95)), window=window)
    under[window] = here
    return under


def _outside_window(stack: Stack) -> PixelWindow | None:
    """The rectangle of the picture that may show what is before, behind and above the car; None where none does."""
    rays, body, soft = stack.rays, stack.panel.car.body, stack.rays.metres_per_pixel
    heights = [float(rays.v[y, x]) for y in (0, -1) for x in (0, -1)]
    nose = 0.35 * max((v - 0.5) ** 2 for v in heights)
    regions = [
        rays.where((-1, 0, 0.02 + nose + soft)),
        rays.where((1, 0, 0.02 + nose + soft - body.length)),
        rays.where((-body.belt_rise, 1, soft - body.belt - 0.05)),
        rays.where((0, 1, soft - body.roof)),
    ]
    parts = [part for part in regions if part is not None]
    if not parts:
        return None
    return (
        slice(min(rows.start for rows, _ in parts), max(rows.stop for rows, _ in parts)),
        slice(min(cols.start for _, cols in parts), max(cols.stop for _, cols in parts)),
    )
