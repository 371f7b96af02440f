"""Layers over the paint: each is laid where it shows over what lies there already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from carsdepo_assets.demo.sample.bands import bands
from carsdepo_assets.demo.sample.camera import Rays, Window
from carsdepo_assets.demo.sample.damage import window_around
from carsdepo_assets.demo.sample.panel import Panel, irradiance
from carsdepo_assets.demo.sample.scene import Point

_ALL: Window = (slice(None), slice(None))
_SMALL = 4_096  # pixels
_FEW = 0.25  # a layer that covers less of a window that is not small is laid on the pixels that it covers
# Red, green and blue: numbers, or (H, W) of the layer's window.
Tone = Sequence[float | np.ndarray] | Sequence[float] | Sequence[np.ndarray] | np.ndarray


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
class Drawn:
    """mask: (H, W) uint8 of the window; times unit it is the coverage, 0..1."""

    mask: np.ndarray
    unit: float
    window: Window


class Stack:
    def __init__(self, made: Panel) -> None:
        self.made, self.rays = made, made.rays
        self.cover = np.zeros(self.rays.u.shape, np.float32)
        self.radiance = np.zeros((3, *self.rays.u.shape), np.float32)
        self.light = np.empty_like(self.radiance)
        for window in strips(self.rays):
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
        y, x = np.divmod(covered, alpha.shape[1])
        there = (y + (window[0].start or 0)) * self.rays.u.shape[1] + (x + (window[1].start or 0))
        picked = [plane.reshape(-1)[there] for plane in self._planes(_ALL)]
        base = [_pick(c, covered) for c in albedo]
        shine = None if gloss is None else [_pick(c, covered) for c in gloss]
        self._mix(picked, alpha.reshape(-1)[covered] * np.float32(share), base, shine)
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

    def draw(self, drawn: Drawn | None, albedo: Tone, gloss: Tone | None = None, share: float = 1.0) -> None:
        """Lays what line() or area() has drawn, if any of it is in the picture."""
        if drawn is not None:
            self.lay(drawn.mask, albedo, gloss, drawn.window, drawn.unit * share)

    def line(
        self, points: tuple[Point, ...] | np.ndarray, width: float, closed: bool = False, shift: Point = (0.0, 0.0)
    ) -> Drawn | None:
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
        return Drawn(mask, min(breadth, 1.0) / 255, window)

    def area(self, points: np.ndarray) -> Drawn | None:
        """A polygon, soft over a pixel."""
        pixels = self.rays.project(points)
        window = window_around(pixels, self.rays, 3)
        if window is None:
            return None
        rows, cols = window
        mask = np.zeros((rows.stop - rows.start, cols.stop - cols.start), np.uint8)
        pixels -= (cols.start, rows.start)
        cv2.fillPoly(mask, [np.round(pixels * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return Drawn(mask, 1 / 255, window)


def strips(rays: Rays) -> Iterator[Window]:
    """The whole picture, a few rows at a time."""
    height, width = rays.u.shape
    for rows in bands(height, width):
        yield rows, slice(0, width)


def _plain(tone: float | np.ndarray) -> np.float32 | np.ndarray:
    return np.float32(tone) if np.ndim(tone) == 0 else np.asarray(tone)


def _pick(tone: float | np.ndarray, index: np.ndarray) -> float | np.ndarray:
    return np.asarray(tone).reshape(-1)[index] if np.ndim(tone) else tone


def soft(distance: np.ndarray, stack: Stack) -> np.ndarray:
    """1 where distance (m) is negative, 0 where positive, over one pixel."""
    return np.clip(0.5 - distance / stack.rays.metres_per_pixel, 0, 1).astype(np.float32)
