"""Shapes of damage, dents as slopes of the surface and scratches as layers, and their place in the picture."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.demo.sample.camera import PixelWindow, Rays
from carsdepo_assets.demo.sample.scene import Dent, Scratch

_FINER = 3  # strokes are drawn on a grid this much finer than the picture
_STEEPEST = 16 / (3 * np.sqrt(3)) / 2  # of (1 - r^2)^2, at r = 1 / sqrt(3)


def dent_slopes(
    dent: Dent, u: NDArray[np.float32], v: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Slopes of a dent: dh/du and dh/dv of the depression h = -k (1 - r^2)^2, zero outside r = 1.

    Args:
        dent: Its radii scale r; its slope is the steepest one.
        u: (H, W), metres from the nose.
        v: (H, W), metres above the ground.

    Returns:
        dh/du and dh/dv, (H, W) float32 each.
    """
    a, b = dent.radii
    c, s = float(np.cos(dent.angle)), float(np.sin(dent.angle))
    du, dv = u - dent.centre[0], v - dent.centre[1]
    p, q = (du * c + dv * s) / a, (dv * c - du * s) / b
    rest = np.maximum(1 - p * p - q * q, 0)
    k = dent.slope * min(a, b) / _STEEPEST
    hp, hq = 4 * k * p * rest, 4 * k * q * rest
    if dent.crease > 0:
        hq = hq + dent.crease * 2.2 * k * np.tanh(q * 9) * rest * rest
    return (hp * (c / a) - hq * (s / b)).astype(np.float32), (hp * (s / a) + hq * (c / b)).astype(np.float32)


def outline(item: Dent | Scratch) -> NDArray[np.float64]:
    """Points that span a dent or scratch, (N, 2), metres on the car."""
    if isinstance(item, Scratch):
        return np.array([p for stroke in item.strokes for p in stroke])
    dent = item
    t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    c, s = np.cos(dent.angle), np.sin(dent.angle)
    p, q = dent.radii[0] * np.cos(t), dent.radii[1] * np.sin(t)
    return np.column_stack([dent.centre[0] + p * c - q * s, dent.centre[1] + p * s + q * c])


def share_in_picture(rays: Rays, points: NDArray[Any]) -> float:
    """Share 0..1 of the bounding box of points (N, 2), in metres on the car, that lies in the picture."""
    p = rays.project(points)
    height, width = rays.u.shape
    low, high = p.min(axis=0), p.max(axis=0)
    inside = np.minimum(high, (width, height)) - np.maximum(low, 0)
    return float(np.prod(np.maximum(inside, 0)) / np.prod(np.maximum(high - low, 1e-6)))


def window_of(rays: Rays, points: NDArray[Any], margin: int) -> PixelWindow | None:
    """The rectangle of the picture that points (N, 2), in metres on the car, span; see `window_around`."""
    return window_around(rays.project(points), rays, margin)


def window_around(p: NDArray[Any], rays: Rays, margin: int) -> PixelWindow | None:
    """The rectangle of the picture that points span.

    Args:
        p: Points (N, 2) in pixels.
        rays: Of the picture.
        margin: Pixels that are added on each side.

    Returns:
        Rows and columns within the picture; None where fewer than three of either are left.
    """
    height, width = rays.u.shape
    (left, top), (right, bottom) = p.min(axis=0).tolist(), p.max(axis=0).tolist()
    x1, y1 = max(math.floor(left) - margin, 0), max(math.floor(top) - margin, 0)
    x2, y2 = min(math.ceil(right) + margin + 1, width), min(math.ceil(bottom) + margin + 1, height)
    return (slice(y1, y2), slice(x1, x2)) if x2 - x1 > 2 and y2 - y1 > 2 else None


def scratch_layer(scratch: Scratch, rays: Rays, window: PixelWindow) -> NDArray[np.float32]:
    """Share 0..1 of the paint that a scratch has taken from each pixel of the window, (H, W) float32."""
    rows, cols = window
    height, width = rows.stop - rows.start, cols.stop - cols.start
    canvas = np.zeros((height * _FINER, width * _FINER), np.float32)
    for stroke, breadth, opacity in zip(scratch.strokes, scratch.widths, scratch.opacity, strict=True):
        pixels = (rays.project(np.array(stroke)) - (cols.start, rows.start) + 0.5) * _FINER - 0.5
        points = np.round(pixels * 16).astype(int).tolist()
        i = np.arange(len(points) - 1)
        taper = np.minimum(1.0, 0.6 + 2.2 * np.sin(np.pi * (i + 0.5) / len(i)))
        wide = breadth / rays.metres_per_pixel * _FINER * taper
        strength = opacity * np.minimum(1.0, wide) * (0.75 + 0.25 * np.cos(7.0 * i + 50 * breadth * 1e3))
        for a, b, thick, strong in zip(points, points[1:], wide.tolist(), strength.tolist(), strict=False):
            cv2.line(canvas, a, b, strong, max(1, round(thick)), cv2.LINE_8, 4)
    layer = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    if scratch.haze > 0:
        layer = np.maximum(layer, np.minimum(cv2.GaussianBlur(layer, (0, 0), 3) * 1.5, 1) * scratch.haze)
    return np.asarray(layer, np.float32)
