"""The camera: which point of the car each pixel shows, and how the sensor turns light into levels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.demo.sample.bands import bands
from carsdepo_assets.demo.sample.scene import Light, Shot

LONG, SHORT = 640, 480  # sides of a picture, px
PixelWindow = tuple[slice, slice]  # a rectangle of a picture: rows, columns
HalfPlane = tuple[float, float, float]  # a, b, c: the points of the car with a u + b v + c >= 0, u and v in metres
_GRAIN = 1024


@dataclass(frozen=True)
class Rays:
    """Where the pixels of one picture look on the car's side."""

    u: NDArray[np.float32]
    """(H, W) float32: metres from the nose to the point that the pixel shows."""
    v: NDArray[np.float32]
    """(H, W) float32: metres of that point above the ground."""
    view: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
    """Unit vector from that point to the camera: x, y and z, (H, W) float32 each."""
    matrix: NDArray[np.float64]
    """3 x 3: (u, v, 1) -> pixel, in homogeneous coordinates."""
    metres_per_pixel: float
    """At the point in the middle of the picture."""
    to_plane: NDArray[np.float64]
    """3 x 3: pixel -> multiple of (u, v, 1), positive for points before the camera."""

    def project(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Pixels (N, 2) that show points (N, 2), in metres on the car; pixel centres lie at whole numbers."""
        q = np.asarray(points, np.float64) @ self.matrix[:, :2].T + self.matrix[:, 2]
        depth = np.maximum(q[:, 2:], 0.05)  # points behind the camera are moved far outside of the picture
        return np.asarray(np.minimum(np.maximum(q[:, :2] / depth, -20_000), 20_000), np.float64)

    def where(self, *half_planes: HalfPlane) -> PixelWindow | None:
        """The smallest rectangle of the picture with all pixels that show points within all of the half planes.

        It is two pixels larger on each side, since drawings fade out over a pixel. None where no pixel shows such a
        point.
        """
        height, width = self.u.shape
        to_plane = self.to_plane
        corners = [(0.0, 0.0), (width - 1.0, 0.0), (width - 1.0, height - 1.0), (0.0, height - 1.0)]
        if min(float(to_plane[2] @ (x, y, 1.0)) for x, y in corners) <= 0:
            return slice(0, height), slice(0, width)  # a corner looks past the horizon, where the clipping below fails
        for half_plane in half_planes:
            a, b, c = (float(q) for q in np.asarray(half_plane) @ to_plane)
            corners = _clip(corners, a, b, c)
            if not corners:
                return None
        x1, x2 = min(x for x, _ in corners), max(x for x, _ in corners)
        y1, y2 = min(y for _, y in corners), max(y for _, y in corners)
        return (
            slice(max(int(np.floor(y1)) - 2, 0), min(int(np.ceil(y2)) + 3, height)),
            slice(max(int(np.floor(x1)) - 2, 0), min(int(np.ceil(x2)) + 3, width)),
        )


def _clip(polygon: list[tuple[float, float]], a: float, b: float, c: float) -> list[tuple[float, float]]:
    """The part of a convex polygon where a x + b y + c >= 0 (Sutherland and Hodgman, 1974)."""
    kept = []
    for (x1, y1), (x2, y2) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        d1, d2 = a * x1 + b * y1 + c, a * x2 + b * y2 + c
        if d1 >= 0:
            kept.append((x1, y1))
        if (d1 >= 0) != (d2 >= 0):
            t = d1 / (d1 - d2)
            kept.append((x1 + t * (x2 - x1), y1 + t * (y2 - y1)))
    return kept


def size(shot: Shot) -> tuple[int, int]:
    """Height and width of the upright picture."""
    return (LONG, SHORT) if shot.portrait else (SHORT, LONG)


def aim(shot: Shot) -> Rays:
    """The rays of a shot's pixels, by a pinhole camera that looks at the plane of the car's side."""
    height, width = size(shot)
    focal = shot.focal * LONG
    distance = shot.width_m * shot.focal
    cy, sy, cp, sp, cr, sr = (f(a) for a in (shot.yaw, shot.pitch, shot.roll) for f in (np.cos, np.sin))
    # the camera's right, up and forward in the car's frame
    forward = np.array([-sy * cp, -sp, -cy * cp])
    right = np.array([cy, 0.0, -sy])
    up = np.cross(right, forward)
    right, up = cr * right + sr * up, cr * up - sr * right
    eye = np.array([*shot.look, 0.0]) - forward * distance
    # pixel (x, y, 1) -> direction; intersect with z = 0
    to_ray = np.column_stack(
        [right / focal, -up / focal, forward - right * (width - 1) / 2 / focal + up * (height - 1) / 2 / focal]
    )
    to_plane = np.vstack([eye[0] * to_ray[2] - eye[2] * to_ray[0], eye[1] * to_ray[2] - eye[2] * to_ray[1], to_ray[2]])
    x, y = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
    m = to_plane.astype(np.float32)
    w = m[2, 0] * x + m[2, 1] * y + m[2, 2]
    u = (m[0, 0] * x + m[0, 1] * y + m[0, 2]) / w
    v = (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / w
    dx, dy, dz = (eye[i].astype(np.float32) - p for i, p in enumerate((u, v, np.float32(0))))
    length = np.sqrt(dx * dx + dy * dy + dz * dz)
    matrix = np.linalg.inv(to_plane)
    scale = matrix[2] @ (*shot.look, 1.0)  # the third coordinate becomes 1 where the camera looks
    view = (dx / length, dy / length, dz / length)
    return Rays(u, v, view, matrix / scale, shot.width_m / LONG, to_plane * scale)


def exposure(linear: list[NDArray[np.float32]], shot: Shot, light: Light) -> float:
    """Gain of an automatic exposure that follows the scene's brightness only in part, as telephones do.

    Args:
        linear: Radiance of the picture: red, green and blue, (H, W) each.
        shot: Its `exposure` is added, in stops.
        light: Its `target` is the mean that the exposure aims at.
    """
    thinned = np.stack([plane[::8, ::8] for plane in linear], axis=-1)
    mean = float(np.minimum(thinned, 3.0).mean()) + 1e-4
    wanted: float = light.target * (mean / 0.25) ** 0.35
    return float(wanted / mean * 2.0**shot.exposure)


@lru_cache(maxsize=1)
def _curve() -> NDArray[np.float32]:
    """Level 0..255 (float32) for 4096 steps of sqrt(radiance / 8): Narkowicz's ACES fit (2015), then gamma 2.2."""
    x = (np.arange(4096) / 4095) ** 2 * 8 * 0.6
    y = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return (np.clip(y, 0, 1) ** (1 / 2.2) * 255).astype(np.float32)


def tone(linear: list[NDArray[np.float32]], gain: float, warmth: float) -> list[NDArray[np.float32]]:
    """Turns radiance into levels.

    Args:
        linear: Red, green and blue radiance, (H, W) float32 each.
        gain: Of the exposure.
        warmth: Error of the white balance: share by which red is amplified and blue weakened.

    Returns:
        Red, green and blue levels 0..255, (H, W) float32 each.
    """
    balance = np.array([gain * (1 + warmth), gain, gain * (1 - warmth)], np.float32) / 8
    levels = [np.empty_like(plane) for plane in linear]
    for rows in bands(*linear[0].shape):
        for plane, factor, level in zip(linear, balance, levels, strict=True):
            balanced = plane[rows] * factor
            np.clip(balanced, 0, 1, out=balanced)
            np.sqrt(balanced, out=balanced)
            balanced *= 4095
            np.take(_curve(), balanced.astype(np.uint16), out=level[rows], mode="clip")
    return levels


def develop(planes: list[NDArray[np.float32]], shot: Shot, light: Light) -> NDArray[np.uint8]:
    """Adds blur, vignette and noise to levels (red, green and blue, (H, W) each); returns (H, W, 3) uint8."""
    rng = np.random.default_rng(shot.seed)
    levels = cv2.merge(planes)
    if shot.blur > 0.25:
        levels = cv2.GaussianBlur(levels, (0, 0), shot.blur)
    if shot.motion > 1:
        levels = cv2.filter2D(levels, -1, _streak(shot.motion, shot.motion_angle))
    height, width = levels.shape[:2]
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)[None]
    top, left = int(rng.integers(0, _GRAIN - height)), int(rng.integers(0, _GRAIN - width))
    grain = _grain()[top : top + height, left : left + width]
    grain = cv2.flip(grain, 1) if rng.random() < 0.5 else grain
    rgb = np.empty(levels.shape, np.uint8)
    for rows in bands(height, 3 * width):
        shade = 1 - shot.vignette * (x * x + y[rows] * y[rows]) / 2
        lit = levels[rows] * cv2.merge((shade, shade, shade))
        strength = np.sqrt(lit * (1 / 128))
        strength *= 0.45
        strength += 0.55
        strength *= light.noise
        strength *= grain[rows]
        lit += strength
        lit += 0.5
        rgb[rows] = np.clip(lit, 0, 255, out=lit)
    return rgb


@lru_cache(maxsize=1)
def _grain() -> NDArray[np.float32]:
    """(1024, 1024, 3) float32 noise of a sensor, standard deviation about 1; each picture takes a piece."""
    white = np.random.default_rng(11).standard_normal((_GRAIN, _GRAIN, 3), np.float32)
    # demosaicing spreads a photosite's noise over its neighbours
    return np.asarray(cv2.GaussianBlur(white, (0, 0), 0.7) * 1.4, np.float32)


def _streak(length: float, angle: float) -> NDArray[np.float32]:
    side = int(np.ceil(length)) | 1
    kernel = np.zeros((side, side), np.float32)
    c, d = side // 2, np.array([np.cos(angle), np.sin(angle)]) * length / 2
    a, b = (tuple(round(float(v) * 16) for v in (c + s * d[0], c + s * d[1])) for s in (-1, 1))
    cv2.line(kernel, a, b, 1.0, 1, cv2.LINE_AA, 4)
    return np.asarray(kernel / kernel.sum(), np.float32)
