"""What lies over the paint: panel gaps, trim, handles, badges, dirt, drops, stickers, windows, wheels, the street."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from carsdepo_assets.sample import noise
from carsdepo_assets.sample.bands import bands
from carsdepo_assets.sample.camera import Rays, Window
from carsdepo_assets.sample.damage import window_around, window_of
from carsdepo_assets.sample.panel import HANDLE, Panel, irradiance
from carsdepo_assets.sample.scene import Car, Point

_ALL: Window = (slice(None), slice(None))
_SMALL = 4_096  # pixels
_FEW = 0.25  # a layer that covers less of a window that is not small is laid on the pixels that it covers
Tone = Sequence[float | np.ndarray] | np.ndarray  # red, green, blue: numbers, or (H, W) of a layer's window


@dataclass(frozen=True)
class Overlay:
    """Premultiplied: picture = paint * (1 - cover) + radiance. clear = 1 - cover: (H, W); radiance: (3, H, W)."""

    clear: np.ndarray
    radiance: np.ndarray

    def over(self, paint: list[np.ndarray], window: Window = _ALL) -> list[np.ndarray]:
        """Three planes of paint in a window -> three planes of what the camera sees."""
        clear = self.clear[window]
        return [plane * clear + over[window] for plane, over in zip(paint, self.radiance, strict=True)]


def tint(plane: np.ndarray, colour: Sequence[float] | np.ndarray) -> list[np.ndarray]:
    """(H, W) in three tones."""
    return [plane * np.float32(c) for c in colour]


@dataclass(frozen=True)
class _Drawn:
    """mask: (H, W) uint8 of the window; times unit it is the coverage, 0..1."""

    mask: np.ndarray
    unit: float
    window: Window


class _Stack:
    def __init__(self, made: Panel) -> None:
        self.made, self.rays = made, made.rays
        self.cover = np.zeros(self.rays.u.shape, np.float32)
        self.radiance = np.zeros((3, *self.rays.u.shape), np.float32)
        self.light = np.empty_like(self.radiance)
        for window in _strips(self.rays):
            self.light[:, *window] = irradiance(made, window, 0.0, 0.05, 1.0)

    def lay(
        self,
        alpha: np.ndarray,
        albedo: Tone,
        gloss: Tone | None = None,
        window: Window = _ALL,
        share: float = 1.0,
    ) -> None:
        """A layer of an albedo (and radiance on top of it, if any) over what is there.

        alpha: (H, W) of the window; times share it is the layer's opacity, 0..1.
        """
        if alpha.size > _SMALL:
            covered = np.flatnonzero(alpha)
            if len(covered) == 0:
                return
            if len(covered) < _FEW * alpha.size:
                self._lay_on(covered, alpha, albedo, gloss, window, share)
                return
        self._mix(self._planes(window), alpha * np.float32(share), albedo, gloss)

    def _lay_on(
        self,
        covered: np.ndarray,
        alpha: np.ndarray,
        albedo: Tone,
        gloss: Tone | None,
        window: Window,
        share: float,
    ) -> None:
        """The same on some of the window's pixels, by their places in it."""
        columns = int(alpha.shape[-1])
        y, x = np.divmod(covered, columns)
        there = (y + (window[0].start or 0)) * self.cover.shape[1] + (x + (window[1].start or 0))
        picked = [plane.reshape(-1)[there] for plane in self._planes(_ALL)]
        there_albedo = [_pick(c, covered) for c in albedo]
        there_gloss = None if gloss is None else [_pick(c, covered) for c in gloss]
        self._mix(picked, alpha.reshape(-1)[covered] * np.float32(share), there_albedo, there_gloss)
        for plane, changed in zip((self.cover, *self.radiance), picked, strict=False):
            plane.reshape(-1)[there] = changed

    def _planes(self, window: Window) -> list[np.ndarray]:
        """Cover, the three of radiance, the three of light."""
        return [plane[window] for plane in (self.cover, *self.radiance, *self.light)]

    @staticmethod
    def _mix(planes: list[np.ndarray], alpha: np.ndarray, albedo: Tone, gloss: Tone | None) -> None:
        """Changes cover and radiance, the first four of planes, in place."""
        cover, *rest = planes
        cover += alpha * (1 - cover)
        for i, (radiance, light) in enumerate(zip(rest[:3], rest[3:], strict=True)):
            colour = light * _plain(albedo[i])
            if gloss is not None:
                colour += _plain(gloss[i])
            colour -= radiance
            colour *= alpha
            radiance += colour

    def draw(self, drawn: _Drawn | None, albedo: Tone, gloss: Tone | None = None, share: float = 1.0) -> None:
        """Lays what line() or area() has drawn, if any of it is in the picture."""
        if drawn is not None:
            self.lay(drawn.mask, albedo, gloss, drawn.window, drawn.unit * share)

    def line(
        self, points: tuple[Point, ...] | np.ndarray, width: float, closed: bool = False, shift: Point = (0.0, 0.0)
    ) -> _Drawn | None:
        """A line of a width in metres, soft over a pixel."""
        p = np.asarray(points, np.float64) + shift
        pixels = self.rays.project(p)
        window = window_around(pixels, self.rays, 6)
        if window is None:
            return None
        rows, cols = window
        mask = np.zeros((rows.stop - rows.start, cols.stop - cols.start), np.uint8)
        pixels -= (cols.start, rows.start)
        breadth = width / self.rays.metres_per_pixel
        cv2.polylines(
            mask, [np.round(pixels * 16).astype(np.int32)], closed, 255, max(1, round(breadth)), cv2.LINE_AA, 4
        )
        return _Drawn(mask, min(breadth, 1.0) / 255, window)

    def area(self, points: np.ndarray) -> _Drawn | None:
        """A polygon, soft over a pixel."""
        pixels = self.rays.project(points)
        window = window_around(pixels, self.rays, 3)
        if window is None:
            return None
        rows, cols = window
        mask = np.zeros((rows.stop - rows.start, cols.stop - cols.start), np.uint8)
        pixels -= (cols.start, rows.start)
        cv2.fillPoly(mask, [np.round(pixels * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return _Drawn(mask, 1 / 255, window)


def _strips(rays: Rays) -> Iterator[Window]:
    """The whole picture, a few rows at a time."""
    height, width = rays.u.shape
    for rows in bands(height, width):
        yield rows, slice(0, width)


def _plain(tone: float | np.ndarray) -> np.float32 | np.ndarray:
    return np.float32(tone) if np.ndim(tone) == 0 else np.asarray(tone)


def _pick(tone: float | np.ndarray, index: np.ndarray) -> float | np.ndarray:
    return np.asarray(tone).reshape(-1)[index] if np.ndim(tone) else tone


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
    return Overlay(1 - stack.cover, stack.radiance)


def _dirt(stack: _Stack) -> None:
    car, rays = stack.made.car, stack.rays
    c, (ox, oy) = car.clutter, car.clutter.noise_offset
    if c.dirt > 0.02:
        behind = np.zeros_like(rays.u)
        for axle in car.body.wheels:
            near = rays.where((1, 0, 1.5 - axle - 0.45), (-1, 0, 1.5 + axle + 0.45))  # further off, it is nothing
            if near is not None:
                behind[near] += np.exp(-((rays.u[near] - axle - 0.45) ** 2) * 9)
        for part in _strips(rays):
            u, v = rays.u[part], rays.v[part]
            film = noise.sample(1.1, u, v, (300, 300), (oy, ox)) * 0.5
            grit = noise.sample(0.5, u, v, (500, 500), (ox, oy))
            low = np.clip(1.3 - v / (car.body.middle + 0.1), 0, 1)
            amount = c.dirt * np.clip(0.10 + 0.9 * low * (1 + behind[part]) + 0.35 * film, 0, 1.3)
            amount += c.dirt * 0.5 * np.clip(grit - 1.8 + low, 0, 1)
            stack.lay(np.clip(amount, 0, 0.85), c.dirt_colour, window=part)
    for at, top, length, width, opacity in c.streaks:
        t = np.linspace(0, 1, 9)
        points = np.column_stack([at + 0.004 * np.sin(5 * t + 40 * at), top - length * t])
        drawn = stack.line(points, width)
        if drawn is not None:
            fade = np.clip((rays.v[drawn.window] - top + length) / length, 0, 1)
            soft = cv2.GaussianBlur(drawn.mask * np.float32(drawn.unit), (0, 0), 1.2)
            stack.lay(soft * fade, c.dirt_colour, window=drawn.window, share=opacity)


def _gaps(stack: _Stack) -> None:
    for gap in stack.made.car.body.gaps:
        closed = gap[0] == gap[-1]
        for width, shift, albedo, alpha in (
            (0.010, (0.0, 0.0), (0.02, 0.02, 0.02), 0.45),
            (0.0045, (0.0, 0.0), (0.004, 0.004, 0.004), 1.0),
        ):
            stack.draw(stack.line(gap, width, closed, shift), albedo, share=alpha)
        edge = stack.line(gap, 0.003, closed, (0.005, -0.003))  # it catches the light
        stack.draw(edge, stack.made.car.paint.albedo, 0.35 * stack.made.around.above, 0.35)


def _fittings(stack: _Stack) -> None:
    made, rays, body = stack.made, stack.rays, stack.made.car.body
    around = made.around
    for height, rise, width, kind in body.trims:
        reach, base = width / 2 + rays.metres_per_pixel, height - rise * body.length / 2
        window = rays.where(
            (-rise, 1, reach - base),
            (rise, -1, reach + base),
            (1, 0, -body.wheels[0] - 0.5),
            (-1, 0, body.wheels[1] - 0.5),
        )
        if window is None:
            continue
        u, v = rays.u[window], rays.v[window]
        d = (v - height - rise * (u - body.length / 2)) / (width / 2)
        alpha = np.clip((1 - np.abs(d)) * (width / 2 / rays.metres_per_pixel) + 0.5, 0, 1)
        alpha *= (u > body.wheels[0] + 0.5) & (u < body.wheels[1] - 0.5)
        if kind == "chrome":
            shine = tint(0.25 + 0.6 * np.clip(d, -1, 1) ** 2, around.above)
            stack.lay(alpha, (0.15, 0.15, 0.15), shine, window)
        else:
            albedo = (0.02, 0.02, 0.022) if kind == "black" else made.car.paint.albedo
            stack.lay(alpha, albedo, tint(0.10 * np.exp(-((d - 0.4) ** 2) * 8), around.above), window)
    for cu, cv in body.handles:
        t = np.linspace(-1, 1, 9)
        bar = np.column_stack([cu + t * HANDLE[0] * 1.15, cv + 0.006 * (1 - t * t)])
        paint = made.car.paint.albedo
        for breadth, shift, colour, glow, share in (
            (0.030, (0.0, -0.012), (0.004, 0.004, 0.004), 0.0, 0.65),
            (0.026, (0.0, 0.0), paint, 0.05, 1.0),
            (0.007, (0.0, 0.006), paint, 0.35, 0.8),
        ):
            stack.draw(stack.line(bar, breadth, shift=shift), colour, glow * around.above, share)
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
    stack.draw(_Drawn(mask, 1 / 255, window), (0.2, 0.2, 0.2), 0.5 * stack.made.around.above)


def _stickers(stack: _Stack) -> None:
    for u, v, width, height, angle, colour, bars in stack.made.car.clutter.stickers:
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, s], [-s, c]])
        corner = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (width / 2, height / 2)
        stack.draw(stack.area(corner @ turn + (u, v)), colour)
        ink = np.array([0.03 if x > 0.3 else 0.7 for x in colour], np.float32)
        for i in range(bars):
            at = height * (0.5 - (i + 1) / (bars + 1))
            ends = np.array([(-width * 0.38, at), (width * (0.38 - 0.17 * (i % 3)), at)]) @ turn + (u, v)
            stack.draw(stack.line(ends, height * 0.35 / bars), ink, share=0.9)


def _drops(stack: _Stack) -> None:
    """A drop is a lens: dark where the light enters, bright at the far side, a speck of sky."""
    around, drops = stack.made.around, np.array(stack.made.car.clutter.drops).reshape(-1, 3)
    t = np.linspace(0, 2 * np.pi, 9, endpoint=False)
    ring = np.column_stack([np.cos(t), 1.15 * np.sin(t)])
    for u, v, radius in drops[_near_the_picture(stack.rays, drops)].tolist():
        for scale, shift, tone, alpha in ((1.0, 0.25, 0.03, 0.35), (0.8, -0.35, 0.3, 0.4), (0.35, 0.3, 1.2, 0.8)):
            drop = stack.area(ring * (radius * scale) + (u, v + radius * shift))
            stack.draw(drop, stack.made.car.paint.albedo, tone * around.above, alpha)


def _near_the_picture(rays: Rays, drops: np.ndarray) -> np.ndarray:
    """(N,) bool: which of (N, 3) u, v, radius may be seen; most of a car's drops lie far outside of a picture."""
    around = [drops[:, :2] + drops[:, 2:] * (2 * a, 2 * b) for a in (-1, 1) for b in (-1, 1)]
    p = rays.project(np.concatenate(around)).reshape(4, -1, 2)
    height, width = rays.u.shape
    return np.asarray(((p.max(axis=0) > -8) & (p.min(axis=0) < (width + 8, height + 8))).all(axis=1))


def _soft(distance: np.ndarray, stack: _Stack) -> np.ndarray:
    """1 where distance (m) is negative, 0 where positive, over one pixel."""
    return np.clip(0.5 - distance / stack.rays.metres_per_pixel, 0, 1).astype(np.float32)


def belt(car: Car, u: np.ndarray | float) -> np.ndarray | float:
    return car.body.belt + car.body.belt_rise * u


def glass_ends(car: Car) -> Point:
    return car.body.wheels[0] + 0.35, car.body.wheels[1] + 0.25


def _windows(stack: _Stack) -> None:
    made, rays, car = stack.made, stack.rays, stack.made.car
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
    glass = _soft(edge - v, stack)
    slant = (v - edge) * 0.9
    glass *= _soft(u1 + slant - u, stack) * _soft(u - u2 + slant, stack)
    vx, vy, vz = (c[window] for c in rays.view)
    ny = np.float32(0.25)
    facing = np.clip((vz + ny * vy) / np.sqrt(1 + ny * ny), 0.05, 1)
    n = 1 / np.sqrt(1 + ny * ny)
    sharp, _ = made.around.reflect(-vx, 2 * facing * ny * n - vy, 2 * facing * n - vz)
    away = 1 - facing
    mirrored = 0.09 + 0.8 * (away * away * away * away * away)
    stack.lay(glass, (0.018, 0.022, 0.022), [sharp[..., i] * mirrored for i in range(3)], window)
    seal = _soft(np.abs(v - edge) - 0.009, stack) * (u > u1 - 0.02) * (u < u2)
    stack.lay(seal, (0.015, 0.015, 0.015), window=window)
    pillar = glass * _soft(np.abs(u - car.body.length * 0.52 + 0.1 * (v - edge)) - 0.035, stack)
    stack.lay(pillar, (0.012, 0.012, 0.013), window=window)


def _wheels(stack: _Stack) -> None:
    rays, body = stack.rays, stack.made.car.body
    radius = body.wheel_radius
    for axle in body.wheels:
        around = _disc(rays, (axle, radius), radius * 1.2)
        if around is None:
            continue
        window, r, _ = around
        stack.lay(_soft(r - radius * 1.2, stack), (0.006, 0.006, 0.006), window=window)
        stack.lay(_soft(r - radius, stack), [0.02 + 0.006 * np.cos(r * 700)] * 3, window=window)
        rim = radius * 0.68
        around = _disc(rays, (axle, radius), rim + 0.012)
        if around is None:
            continue
        window, r, (du, dv) = around
        stack.lay(_soft(r - rim, stack), (0.02, 0.02, 0.02), window=window)
        angle = np.arctan2(dv, du)
        spoke = np.clip((np.cos(angle * body.spokes + axle) - 0.2) * 6, 0, 1) * _soft(r - rim * 0.95, stack)
        ring = _soft(np.abs(r - rim * 0.95) - 0.012, stack)
        metal = np.maximum(np.maximum(spoke, ring), _soft(r - rim * 0.2, stack)).astype(np.float32)
        shine = tint(0.12 + 0.1 * np.sin(angle + 1), stack.made.around.above)
        stack.lay(metal, (0.33, 0.33, 0.34), shine, window)


def _disc(rays: Rays, centre: Point, radius: float) -> tuple[Window, np.ndarray, tuple[np.ndarray, np.ndarray]] | None:
    """The part of the picture with a disc on the car; in it, metres from the centre, and along u and v. None: none."""
    (u, v), reach = centre, radius + rays.metres_per_pixel
    window = rays.where((1, 0, reach - u), (-1, 0, reach + u), (0, 1, reach - v), (0, -1, reach + v))
    if window is None:
        return None
    du, dv = rays.u[window] - u, rays.v[window] - v
    return window, np.sqrt(du * du + dv * dv), (du, dv)


def _street(stack: _Stack) -> None:
    under = _under(stack)
    window = _outside_window(stack)
    if window is None:
        return
    rays, body, car = stack.rays, stack.made.car.body, stack.made.car
    ox, oy = car.clutter.noise_offset
    u, v = rays.u[window], rays.v[window]
    nose = 0.35 * (v - 0.5) ** 2  # the ends bow outwards
    ends = np.maximum(_soft(u - 0.02 - nose, stack), _soft(body.length - 0.02 - nose - u, stack))
    u1, u2 = glass_ends(car)
    cabin = np.minimum(u - u1 + 0.09, u2 + 0.09 - u) / 0.9  # bonnet and boot are as high as the belt
    top = np.minimum(belt(car, u) + 0.05 + np.maximum(cabin, 0), body.roof)
    outside = np.maximum(ends, _soft(top - v, stack)) * (1 - under[window])
    if outside.any():
        blot = noise.sample(1.6, u, v, (60, 60), (ox, oy))
        stack.lay(outside, tint(1 + 0.18 * blot, (0.30, 0.29, 0.27)), window=window)


def _under(stack: _Stack) -> np.ndarray:
    """Lays the asphalt below the sill, around the wheels. (H, W): 1 where it lies."""
    rays, body = stack.rays, stack.made.car.body
    under = np.zeros(rays.u.shape, np.float32)
    window = rays.where((0, -1, body.sill + rays.metres_per_pixel))
    if window is None:
        return under
    u, v = rays.u[window], rays.v[window]
    here = _soft(v - body.sill, stack)
    for axle in body.wheels:
        du, dv = u - axle, v - body.wheel_radius
        here *= 1 - _soft(np.sqrt(du * du + dv * dv) - body.wheel_radius, stack)
    if here.any():
        ox, oy = stack.made.car.clutter.noise_offset
        grain = 1 + 0.15 * noise.sample(0.4, u, v, (250, 900), (ox, oy))
        depth = np.clip((body.sill - v) / 0.14, 0.02, 1) ** 2  # the car's own shadow
        stack.lay(here, tint(0.14 * grain * depth, (1.0, 0.98, 0.95)), window=window)
    under[window] = here
    return under


def _outside_window(stack: _Stack) -> Window | None:
    """The part of the picture that may show what lies before, behind and above the car."""
    rays, body, soft = stack.rays, stack.made.car.body, stack.rays.metres_per_pixel
    heights = [float(rays.v[y, x]) for y in (0, -1) for x in (0, -1)]
    nose = 0.35 * max((v - 0.5) ** 2 for v in heights)
    found = [
        rays.where((-1, 0, 0.02 + nose + soft)),
        rays.where((1, 0, 0.02 + nose + soft - body.length)),
        rays.where((-body.belt_rise, 1, soft - body.belt - 0.05)),
        rays.where((0, 1, soft - body.roof)),
    ]
    parts = [part for part in found if part is not None]
    if not parts:
        return None
    return (
        slice(min(rows.start for rows, _ in parts), max(rows.stop for rows, _ in parts)),
        slice(min(cols.start for _, cols in parts), max(cols.stop for _, cols in parts)),
    )
