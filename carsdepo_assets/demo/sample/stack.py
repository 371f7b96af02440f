"""A stack of layers that cover the paint of a panel, each drawn over those before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.demo.sample.bands import bands
from carsdepo_assets.demo.sample.camera import PixelWindow, Rays
from carsdepo_assets.demo.sample.damage import window_around
from carsdepo_assets.demo.sample.panel import Panel, irradiance
from carsdepo_assets.demo.sample.scene import Point

_ALL: PixelWindow = (slice(None), slice(None))
_SMALL = 4_096  # pixels
_FEW = 0.25  # where a layer covers a smaller share of a window that is not small, only those pixels are computed
# Red, green and blue: numbers, or (H, W) arrays of the layer's window.
Tone = Sequence[float | NDArray[Any]] | Sequence[float] | Sequence[NDArray[Any]] | NDArray[Any]


@dataclass(frozen=True)
class Overlay:
    """All layers together, with premultiplied opacity: picture = paint * clear + radiance."""

    clear: NDArray[np.float32]
    """(H, W): share of the paint that shows."""
    radiance: NDArray[np.float32]
    """(3, H, W): what the layers send to the camera."""

    def over(self, paint: list[NDArray[np.float32]], window: PixelWindow = _ALL) -> list[NDArray[np.float32]]:
        """What the camera sees in a window: three planes (H, W), from three of the paint's radiance."""
        clear = self.clear[window]
        return [plane * clear + over[window] for plane, over in zip(paint, self.radiance, strict=True)]


def tint(plane: NDArray[Any], colour: Sequence[float] | NDArray[Any]) -> list[NDArray[Any]]:
    """Red, green and blue planes of one plane (H, W), by the three factors of colour."""
    return [plane * np.float32(c) for c in colour]


@dataclass(frozen=True)
class Drawn:
    """A drawn line or area."""

    mask: NDArray[np.uint8]
    """(H, W) uint8 of the window: coverage in multiples of unit."""
    unit: float
    """Coverage 0..1 that a 1 in the mask stands for."""
    window: PixelWindow


class Stack:
    """Layers that are drawn over a panel, one after another."""

    def __init__(self, panel: Panel) -> None:
        self.panel, self.rays = panel, panel.rays
        self.cover = np.zeros(self.rays.u.shape, np.float32)
        self.radiance = np.zeros((3, *self.rays.u.shape), np.float32)
        self.light = np.empty_like(self.radiance)
        for window in strips(self.rays):
            self.light[:, *window] = irradiance(panel, window, 0.0, 0.05, 1.0)

    def lay(
        self,
        alpha: NDArray[Any],
        albedo: Tone,
        gloss: Tone | None = None,
        window: PixelWindow = _ALL,
        share: float = 1.0,
    ) -> None:
        """Adds a layer.

        Args:
            alpha: Opacity 0..1 over share, (H, W) of the window.
            albedo: Of the layer, which the scene's light falls on.
            gloss: Radiance that is added to it; None for none.
            window: Where it lies; all of the picture by default.
            share: Factor of the opacity.
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
        covered: NDArray[Any],
        alpha: NDArray[Any],
        albedo: Tone,
        gloss: Tone | None,
        window: PixelWindow,
        share: float,
    ) -> None:
        """Adds a layer on some of the window's pixels, given by their flat indices."""
        y, x = np.divmod(covered, alpha.shape[1])
        there = (y + (window[0].start or 0)) * self.rays.u.shape[1] + (x + (window[1].start or 0))
        picked = [plane.reshape(-1)[there] for plane in self._planes(_ALL)]
        base = [_pick(c, covered) for c in albedo]
        shine = None if gloss is None else [_pick(c, covered) for c in gloss]
        self._mix(picked, alpha.reshape(-1)[covered] * np.float32(share), base, shine)
        for plane, changed in zip((self.cover, *self.radiance), picked, strict=False):
            plane.reshape(-1)[there] = changed

    def _planes(self, window: PixelWindow) -> list[NDArray[np.float32]]:
        """Views on a window: cover, three planes of radiance, three of light."""
        return [plane[window] for plane in (self.cover, *self.radiance, *self.light)]

    @staticmethod
    def _mix(planes: list[NDArray[Any]], alpha: NDArray[Any], albedo: Tone, gloss: Tone | None) -> None:
        """Blends a layer into cover and radiance, the first four of planes, in place."""
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
        """Adds a layer of what `line` or `area` has drawn; nothing where it is None, that is outside of the picture."""
        if drawn is not None:
            self.lay(drawn.mask, albedo, gloss, drawn.window, drawn.unit * share)

    def line(
        self, points: tuple[Point, ...] | NDArray[Any], width: float, closed: bool = False, shift: Point = (0.0, 0.0)
    ) -> Drawn | None:
        """Draws a line with antialiasing.

        Args:
            points: Its corners, (N, 2), metres on the car.
            width: In metres.
            closed: Whether the last point is joined to the first.
            shift: In metres, added to the points.

        Returns:
            The drawing; None where it is outside of the picture.
        """
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

    def area(self, points: NDArray[Any]) -> Drawn | None:
        """Draws a filled polygon, (N, 2) metres on the car, with antialiasing; None outside of the picture."""
        pixels = self.rays.project(points)
        window = window_around(pixels, self.rays, 3)
        if window is None:
            return None
        rows, cols = window
        mask = np.zeros((rows.stop - rows.start, cols.stop - cols.start), np.uint8)
        pixels -= (cols.start, rows.start)
        cv2.fillPoly(mask, [np.round(pixels * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return Drawn(mask, 1 / 255, window)


def strips(rays: Rays) -> Iterator[PixelWindow]:
    """Splits the whole picture into strips of a few rows; see `bands`."""
    height, width = rays.u.shape
    for rows in bands(height, width):
        yield rows, slice(0, width)


def _plain(tone: float | NDArray[Any]) -> np.float32 | NDArray[Any]:
    return np.float32(tone) if np.ndim(tone) == 0 else np.asarray(tone)


def _pick(tone: float | NDArray[Any], index: NDArray[Any]) -> float | NDArray[Any]:
    return np.asarray(tone).reshape(-1)[index] if np.ndim(tone) else tone


def soft(distance: NDArray[Any], stack: Stack) -> NDArray[Any]:
    """An antialiased edge: 1 where distance (metres) is negative, 0 where positive, with a ramp of one pixel."""
    return np.asarray(np.clip(0.5 - distance / stack.rays.metres_per_pixel, 0, 1), np.float32)
