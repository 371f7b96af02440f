"""What lies over the paint: panel gaps, trim, handles, badges, dirt, drops, stickers, windows, wheels, the street."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from carsdepo_assets.sample import noise
from carsdepo_assets.sample.damage import Window, window_of
from carsdepo_assets.sample.panel import HANDLE, Panel, irradiance
from carsdepo_assets.sample.scene import Car, Colour, Point

_ALL: Window = (slice(None), slice(None))


@dataclass(frozen=True)
class Overlay:
    """Premultiplied: picture = paint * (1 - cover) + radiance. cover (H, W), radiance (H, W, 3)."""

    cover: np.ndarray
    radiance: np.ndarray

    def over(self, paint: np.ndarray, window: Window = _ALL) -> np.ndarray:
        return np.asarray(paint * spread(1 - self.cover[window]) + self.radiance[window], np.float32)


def spread(plane: np.ndarray) -> np.ndarray:
    """(H, W) -> (H, W, 3): many times faster to multiply with than plane[..., None]."""
    return np.asarray(cv2.merge((plane, plane, plane)), np.float32)


class _Stack:
    def __init__(self, made: Panel) -> None:
        self.made, self.rays = made, made.rays
        self.light = cv2.merge(irradiance(made, _ALL, 0.0, 0.05, 1.0))
        self.cover = np.zeros(self.rays.u.shape, np.float32)
        self.radiance = np.zeros((*self.rays.u.shape, 3), np.float32)

    def lay(
        self, alpha: np.ndarray, albedo: Colour | np.ndarray, gloss: np.ndarray | None = None, window: Window = _ALL
    ) -> None:
        """A layer of an albedo (and radiance on top of it, if any) over what is there."""
        rows, cols = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
        if len(rows) == 0:
            return
        part = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)  # most layers touch little of the picture
        alpha, cover = alpha[part].astype(np.float32), self.cover[window][part]
        radiance, colour = self.radiance[window][part], np.asarray(albedo, np.float32)
        colour = (colour[part] if colour.ndim == 3 and colour.shape[0] > 1 else colour) * self.light[window][part]
        if gloss is not None:
            colour = colour + gloss[part]
        cover += alpha * (1 - cover)
        radiance += spread(alpha) * (colour - radiance)

    def line(
        self, points: tuple[Point, ...] | np.ndarray, width: float, closed: bool = False, shift: Point = (0.0, 0.0)
    ) -> tuple[np.ndarray, Window] | None:
        """Coverage of a line of a width in metres, soft over a pixel."""
        p = np.asarray(points, np.float64) + shift
        window = window_of(self.rays, p, 6)
        if window is None:
            return None
        rows, cols = window
        mask = np.zeros((rows.stop - rows.start, cols.stop - cols.start), np.uint8)
        pixels = self.rays.project(p) - (cols.start, rows.start)
        breadth = width / self.rays.metres_per_pixel
        cv2.polylines(
            mask, [np.round(pixels * 16).astype(np.int32)], closed, 255, max(1, round(breadth)), cv2.LINE_AA, 4
        )
        return mask.astype(np.float32) * (min(breadth, 1.0) / 255), window

    def area(self, points: np.ndarray) -> tuple[np.ndarray, Window] | None:
        window = window_of(self.rays, points, 3)
        if window is None:
            return None
        rows, cols = window
        mask = np.zeros((rows.stop - rows.start, cols.stop - cols.start), np.uint8)
        pixels = self.rays.project(points) - (cols.start, rows.start)
        cv2.fillPoly(mask, [np.round(pixels * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return mask.astype(np.float32) / 255, window


def overlay(made: Panel) -> Overlay:
    stack = _Stack(made)
    _dirt(stack)
    _gaps(stack)
    _fittings(stack)
    _stickers(stack)
    _drops(stack)
    _windows(stack)
    _wheels(stack)
    _street(stack)
    return Overlay(stack.cover, stack.radiance)


def _dirt(stack: _Stack) -> None:
    car, rays = stack.made.car, stack.rays
    c, (ox, oy) = car.clutter, car.clutter.noise_offset
    if c.dirt > 0.02:
        film = noise.sample(1.1, rays.u * 300 + oy, rays.v * 300 + ox) * 0.5
        grit = noise.sample(0.5, rays.u * 500 + ox, rays.v * 500 + oy)
        low = np.clip(1.3 - rays.v / (car.body.middle + 0.1), 0, 1)
        behind = sum(np.exp(-((rays.u - a - 0.45) ** 2) * 9) for a in car.body.wheels)
        amount = c.dirt * np.clip(0.10 + 0.9 * low * (1 + behind) + 0.35 * film, 0, 1.3)
        amount = amount + c.dirt * 0.5 * np.clip(grit - 1.8 + low, 0, 1)
        stack.lay(np.clip(amount, 0, 0.85).astype(np.float32), c.dirt_colour)
    for u, top, length, width, opacity in c.streaks:
        t = np.linspace(0, 1, 9)
        points = np.column_stack([u + 0.004 * np.sin(5 * t + 40 * u), top - length * t])
        drawn = stack.line(points, width)
        if drawn is not None:
            mask, window = drawn
            fade = np.clip((rays.v[window] - top + length) / length, 0, 1)
            stack.lay(cv2.GaussianBlur(mask, (0, 0), 1.2) * fade * opacity, c.dirt_colour, window=window)


def _gaps(stack: _Stack) -> None:
    for gap in stack.made.car.body.gaps:
        closed = gap[0] == gap[-1]
        for width, shift, albedo, alpha in (
            (0.010, (0.0, 0.0), (0.02, 0.02, 0.02), 0.45),
            (0.0045, (0.0, 0.0), (0.004, 0.004, 0.004), 1.0),
        ):
            drawn = stack.line(gap, width, closed, shift)
            if drawn is not None:
                stack.lay(drawn[0] * alpha, albedo, window=drawn[1])
        drawn = stack.line(gap, 0.003, closed, (0.005, -0.003))  # the edge that catches the light
        if drawn is not None:
            edge = 0.35 * stack.made.around.above
            stack.lay(
                drawn[0] * 0.35, stack.made.car.paint.albedo, np.broadcast_to(edge, (*drawn[0].shape, 3)), drawn[1]
            )


def _fittings(stack: _Stack) -> None:
    made, rays, body = stack.made, stack.rays, stack.made.car.body
    around = made.around
    for height, rise, width, kind in body.trims:
        d = (rays.v - height - rise * (rays.u - body.length / 2)) / (width / 2)
        alpha = np.clip((1 - np.abs(d)) * (width / 2 / rays.metres_per_pixel) + 0.5, 0, 1)
        alpha *= (rays.u > body.wheels[0] + 0.5) & (rays.u < body.wheels[1] - 0.5)
        if kind == "chrome":
            shine = (0.25 + 0.6 * np.clip(d, -1, 1) ** 2)[..., None] * around.above
            stack.lay(alpha, (0.15, 0.15, 0.15), shine)
        else:
            albedo = (0.02, 0.02, 0.022) if kind == "black" else made.car.paint.albedo
            shine = (0.10 * np.exp(-((d - 0.4) ** 2) * 8))[..., None] * around.above
            stack.lay(alpha, albedo, shine)
    for cu, cv in body.handles:
        t = np.linspace(-1, 1, 9)
        bar = np.column_stack([cu + t * HANDLE[0] * 1.15, cv + 0.006 * (1 - t * t)])
        paint = made.car.paint.albedo
        for breadth, shift, colour, glow, share in (
            (0.030, (0.0, -0.012), (0.004, 0.004, 0.004), 0.0, 0.65),
            (0.026, (0.0, 0.0), paint, 0.05, 1.0),
            (0.007, (0.0, 0.006), paint, 0.35, 0.8),
        ):
            drawn = stack.line(bar, breadth, shift=shift)
            if drawn is not None:
                glint = np.broadcast_to(glow * around.above, (*drawn[0].shape, 3))
                stack.lay(drawn[0] * share, colour, glint, drawn[1])
    if body.badge is not None:
        _badge(stack, *body.badge)


def _badge(stack: _Stack, text: str, u: float, v: float, height: float) -> None:
    sheet = np.zeros((48, 26 * len(text) + 12), np.uint8)
    cv2.putText(sheet, text, (6, 38), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 255, 3, cv2.LINE_AA)
    h, w = sheet.shape
    width = height * w / 36
    corners = np.array([(u, v + height), (u + width, v + height), (u + width, v - height / 3), (u, v - height / 3)])
    window = window_of(stack.rays, corners, 2)
    if window is None:
        return
    rows, cols = window
    to = (stack.rays.project(corners) - (cols.start, rows.start)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(np.array([(0, 0), (w, 0), (w, h), (0, h)], np.float32), to)
    mask = cv2.warpPerspective(sheet, matrix, (cols.stop - cols.start, rows.stop - rows.start), flags=cv2.INTER_AREA)
    shine = np.broadcast_to(0.5 * stack.made.around.above, (*mask.shape, 3))
    stack.lay(mask.astype(np.float32) / 255, (0.2, 0.2, 0.2), shine, window)


def _stickers(stack: _Stack) -> None:
    for u, v, width, height, angle, colour, bars in stack.made.car.clutter.stickers:
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, s], [-s, c]])
        corner = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (width / 2, height / 2)
        drawn = stack.area(corner @ turn + (u, v))
        if drawn is not None:
            stack.lay(drawn[0], colour, window=drawn[1])
        ink = np.array([0.03 if x > 0.3 else 0.7 for x in colour], np.float32)
        for i in range(bars):
            at = height * (0.5 - (i + 1) / (bars + 1))
            ends = np.array([(-width * 0.38, at), (width * (0.38 - 0.17 * (i % 3)), at)]) @ turn + (u, v)
            line = stack.line(ends, height * 0.35 / bars)
            if line is not None:
                stack.lay(line[0] * 0.9, ink, window=line[1])


def _drops(stack: _Stack) -> None:
    """A drop is a lens: dark where the light enters, bright at the far side, a speck of sky."""
    around = stack.made.around
    for u, v, radius in stack.made.car.clutter.drops:
        t = np.linspace(0, 2 * np.pi, 9, endpoint=False)
        ring = np.column_stack([np.cos(t), 1.15 * np.sin(t)])
        for scale, shift, tone, alpha in ((1.0, 0.25, 0.03, 0.35), (0.8, -0.35, 0.3, 0.4), (0.35, 0.3, 1.2, 0.8)):
            drawn = stack.area(ring * (radius * scale) + (u, v + radius * shift))
            if drawn is not None:
                shine = np.broadcast_to(tone * around.above, (*drawn[0].shape, 3))
                stack.lay(drawn[0] * alpha, stack.made.car.paint.albedo, shine, drawn[1])


def _soft(distance: np.ndarray, stack: _Stack) -> np.ndarray:
    """1 where distance (m) is negative, 0 where positive, over one pixel."""
    return np.clip(0.5 - distance / stack.rays.metres_per_pixel, 0, 1).astype(np.float32)


def belt(car: Car, u: np.ndarray | float) -> np.ndarray | float:
    return car.body.belt + car.body.belt_rise * u


def glass_ends(car: Car) -> Point:
    return car.body.wheels[0] + 0.35, car.body.wheels[1] + 0.25


def _windows(stack: _Stack) -> None:
    made, rays, car = stack.made, stack.rays, stack.made.car
    edge = belt(car, rays.u)
    if float((rays.v - edge).max()) <= -0.02:
        return
    glass = _soft(edge - rays.v, stack)
    u1, u2 = glass_ends(car)
    slant = (rays.v - edge) * 0.9
    glass *= _soft(u1 + slant - rays.u, stack) * _soft(rays.u - u2 + slant, stack)
    vx, vy, vz = rays.view
    ny = np.float32(0.25)
    facing = np.clip((vz + ny * vy) / np.sqrt(1 + ny * ny), 0.05, 1)
    n = 1 / np.sqrt(1 + ny * ny)
    sharp, _ = made.around.reflect(-vx, 2 * facing * ny * n - vy, 2 * facing * n - vz)
    shine = sharp[..., :3] * (0.09 + 0.8 * (1 - facing) ** 5)[..., None]
    stack.lay(glass, (0.018, 0.022, 0.022), shine)
    seal = _soft(np.abs(rays.v - edge) - 0.009, stack) * (rays.u > u1 - 0.02) * (rays.u < u2)
    stack.lay(seal, (0.015, 0.015, 0.015))
    pillar = glass * _soft(np.abs(rays.u - car.body.length * 0.52 + 0.1 * (rays.v - edge)) - 0.035, stack)
    stack.lay(pillar, (0.012, 0.012, 0.013))


def _wheels(stack: _Stack) -> None:
    rays, body = stack.rays, stack.made.car.body
    radius = body.wheel_radius
    for axle in body.wheels:
        if window_of(rays, np.array([(axle - radius * 1.3, 0), (axle + radius * 1.3, radius * 2.3)]), 0) is None:
            continue
        du, dv = rays.u - axle, rays.v - radius
        r = np.sqrt(du * du + dv * dv)
        angle = np.arctan2(dv, du)
        stack.lay(_soft(r - radius * 1.2, stack), (0.006, 0.006, 0.006))
        stack.lay(_soft(r - radius, stack), np.repeat((0.02 + 0.006 * np.cos(r * 700))[..., None], 3, axis=2))
        rim = radius * 0.68
        stack.lay(_soft(r - rim, stack), (0.02, 0.02, 0.02))
        spoke = np.clip((np.cos(angle * body.spokes + axle) - 0.2) * 6, 0, 1) * _soft(r - rim * 0.95, stack)
        ring = _soft(np.abs(r - rim * 0.95) - 0.012, stack)
        metal = np.maximum(np.maximum(spoke, ring), _soft(r - rim * 0.2, stack)).astype(np.float32)
        stack.lay(metal, (0.33, 0.33, 0.34), (0.12 + 0.1 * np.sin(angle + 1))[..., None] * stack.made.around.above)


def _street(stack: _Stack) -> None:
    made, rays, body = stack.made, stack.rays, stack.made.car.body
    ox, oy = made.car.clutter.noise_offset
    under = _soft(rays.v - body.sill, stack)
    for axle in body.wheels:
        wheel = np.hypot(rays.u - axle, rays.v - body.wheel_radius)
        under *= 1 - _soft(wheel - body.wheel_radius, stack)
    if under.any():
        _asphalt(stack, under)
    nose = 0.35 * (rays.v - 0.5) ** 2  # the ends bow outwards
    ends = np.maximum(_soft(rays.u - 0.02 - nose, stack), _soft(body.length - 0.02 - nose - rays.u, stack))
    edge = belt(made.car, rays.u)
    u1, u2 = glass_ends(made.car)
    cabin = np.minimum(rays.u - u1 + 0.09, u2 + 0.09 - rays.u) / 0.9  # bonnet and boot are as high as the belt
    top = np.minimum(edge + 0.05 + np.maximum(cabin, 0), body.roof)
    outside = np.maximum(ends, _soft(top - rays.v, stack)) * (1 - under)
    if not outside.any():
        return
    blot = noise.sample(1.6, rays.u * 60 + ox, rays.v * 60 + oy)
    wall = np.array([0.30, 0.29, 0.27], np.float32) * (1 + 0.18 * blot)[..., None]
    stack.lay(outside, wall)


def _asphalt(stack: _Stack, under: np.ndarray) -> None:
    rays, body = stack.rays, stack.made.car.body
    ox, oy = stack.made.car.clutter.noise_offset
    grain = 1 + 0.15 * noise.sample(0.4, rays.u * 250 + ox, rays.v * 900 + oy)
    depth = np.clip((body.sill - rays.v) / 0.14, 0.02, 1) ** 2  # the car's own shadow
    asphalt = (0.14 * grain * depth)[..., None] * np.array([1.0, 0.98, 0.95], np.float32)
    stack.lay(under, asphalt)
