"""Dents as slopes of the surface, scratches as a layer over the paint; and where each lies in the picture."""

from __future__ import annotations

import cv2
import numpy as np

from carsdepo_assets.sample.camera import Rays
from carsdepo_assets.sample.scene import Dent, Scratch

Window = tuple[slice, slice]  # rows, columns
_FINER = 3  # strokes are drawn on a grid this much finer than the picture
_STEEPEST = 16 / (3 * np.sqrt(3)) / 2  # of (1 - r^2)^2, at r = 1 / sqrt(3)


def dent_slopes(dent: Dent, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dh/du and dh/dv of the depression h = -k (1 - r^2)^2, zero outside r = 1."""
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


def outline(item: Dent | Scratch) -> np.ndarray:
    """(N, 2) metres: points that span the damage."""
    if isinstance(item, Scratch):
        return np.array([p for stroke in item.strokes for p in stroke])
    dent = item
    t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    c, s = np.cos(dent.angle), np.sin(dent.angle)
    p, q = dent.radii[0] * np.cos(t), dent.radii[1] * np.sin(t)
    return np.column_stack([dent.centre[0] + p * c - q * s, dent.centre[1] + p * s + q * c])


def share_in_picture(rays: Rays, points: np.ndarray) -> float:
    """How much of the box around (N, 2) points on the car lies in the picture, 0..1."""
    p = rays.project(points)
    height, width = rays.u.shape
    low, high = p.min(axis=0), p.max(axis=0)
    inside = np.minimum(high, (width, height)) - np.maximum(low, 0)
    return float(np.prod(np.maximum(inside, 0)) / np.prod(np.maximum(high - low, 1e-6)))


def window_of(rays: Rays, points: np.ndarray, margin: int) -> Window | None:
    """The part of the picture that (N, 2) points on the car span, with a margin in pixels; None when outside."""
    p = rays.project(points)
    height, width = rays.u.shape
    x1, y1 = np.maximum(np.floor(p.min(axis=0)).astype(int) - margin, 0)
    x2, y2 = np.minimum(np.ceil(p.max(axis=0)).astype(int) + margin + 1, (width, height))
    return (slice(int(y1), int(y2)), slice(int(x1), int(x2))) if x2 - x1 > 2 and y2 - y1 > 2 else None


def scratch_layer(scratch: Scratch, rays: Rays, window: Window) -> np.ndarray:
    """(H, W) float32 0..1: how much of the paint each pixel of the window has lost."""
    rows, cols = window
    height, width = rows.stop - rows.start, cols.stop - cols.start
    canvas = np.zeros((height * _FINER, width * _FINER), np.float32)
    for stroke, breadth, opacity in zip(scratch.strokes, scratch.widths, scratch.opacity, strict=True):
        pixels = (rays.project(np.array(stroke)) - (cols.start, rows.start) + 0.5) * _FINER - 0.5
        fine = breadth / rays.metres_per_pixel * _FINER
        n = len(pixels) - 1
        for i in range(n):
            taper = min(1.0, 0.6 + 2.2 * np.sin(np.pi * (i + 0.5) / n))
            wide = fine * taper
            a, b = (tuple(int(c) for c in np.round(pixels[j] * 16)) for j in (i, i + 1))
            strength = opacity * min(1.0, wide) * (0.75 + 0.25 * np.cos(7.0 * i + 50 * breadth * 1e3))
            cv2.line(canvas, a, b, float(strength), max(1, round(wide)), cv2.LINE_8, 4)
    layer = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    if scratch.haze > 0:
        layer = np.maximum(layer, np.minimum(cv2.GaussianBlur(layer, (0, 0), 3) * 1.5, 1) * scratch.haze)
    return layer
