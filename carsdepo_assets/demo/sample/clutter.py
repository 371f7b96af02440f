"""Draws what looks like damage but is none: dirt, stickers and drops of water."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.demo.sample import noise
from carsdepo_assets.demo.sample.camera import Rays
from carsdepo_assets.demo.sample.stack import Stack, strips


def dirt(stack: Stack) -> None:
    """Lays a film of dirt, denser near the ground and behind the wheels, and streaks."""
    car, rays = stack.panel.car, stack.rays
    c, (ox, oy) = car.clutter, car.clutter.noise_offset
    if c.dirt > 0.02:
        behind = np.zeros_like(rays.u)
        for axle in car.body.wheels:
            near = rays.where((1, 0, 1.5 - axle - 0.45), (-1, 0, 1.5 + axle + 0.45))  # further off, it is nothing
            if near is not None:
                behind[near] += np.exp(-((rays.u[near] - axle - 0.45) ** 2) * 9)
        for part in strips(rays):
            at = rays.u[part], rays.v[part]
            film = noise.sample(1.1, *at, (300, 300), (oy, ox)) * 0.5
            grit = noise.sample(0.5, *at, (500, 500), (ox, oy))
            low = np.clip(1.3 - at[1] / (car.body.middle + 0.1), 0, 1)
            amount: NDArray[Any] = c.dirt * np.clip(0.10 + 0.9 * low * (1 + behind[part]) + 0.35 * film, 0, 1.3)
            amount += c.dirt * 0.5 * np.clip(grit - 1.8 + low, 0, 1)
            stack.lay(np.clip(amount, 0, 0.85), c.dirt_colour, window=part)
    for u, top, length, width, opacity in c.streaks:
        t = np.linspace(0, 1, 9)
        points = np.column_stack([u + 0.004 * np.sin(5 * t + 40 * u), top - length * t])
        drawn = stack.line(points, width)
        if drawn is not None:
            fade = np.clip((rays.v[drawn.window] - top + length) / length, 0, 1)
            soft = cv2.GaussianBlur(drawn.mask * np.float32(drawn.unit), (0, 0), 1.2)
            stack.lay(soft * fade, c.dirt_colour, window=drawn.window, share=opacity)


def stickers(stack: Stack) -> None:
    """Lays stickers with bars of print."""
    for u, v, width, height, angle, colour, bars in stack.panel.car.clutter.stickers:
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, s], [-s, c]])
        corner = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (width / 2, height / 2)
        stack.draw(stack.area(corner @ turn + (u, v)), colour)
        ink = np.array([0.03 if x > 0.3 else 0.7 for x in colour], np.float32)
        for i in range(bars):
            at = height * (0.5 - (i + 1) / (bars + 1))
            ends = np.array([(-width * 0.38, at), (width * (0.38 - 0.17 * (i % 3)), at)]) @ turn + (u, v)
            stack.draw(stack.line(ends, height * 0.35 / bars), ink, share=0.9)


def drops(stack: Stack) -> None:
    """Lays drops of water: each is a lens, dark where the light enters, bright on the other side, with a highlight."""
    around, all_drops = stack.panel.around, np.array(stack.panel.car.clutter.drops).reshape(-1, 3)
    t = np.linspace(0, 2 * np.pi, 9, endpoint=False)
    ring = np.column_stack([np.cos(t), 1.15 * np.sin(t)])
    for u, v, radius in all_drops[_near_the_picture(stack.rays, all_drops)].tolist():
        for scale, shift, tone, alpha in ((1.0, 0.25, 0.03, 0.35), (0.8, -0.35, 0.3, 0.4), (0.35, 0.3, 1.2, 0.8)):
            drop = stack.area(ring * (radius * scale) + (u, v + radius * shift))
            stack.draw(drop, stack.panel.car.paint.albedo, tone * around.above, alpha)


def _near_the_picture(rays: Rays, drops: NDArray[Any]) -> NDArray[np.bool_]:
    """(N,) bool: which of (N, 3) u, v, radius may be seen; most of a car's drops lie far outside of a picture."""
    around = [drops[:, :2] + drops[:, 2:] * (2 * a, 2 * b) for a in (-1, 1) for b in (-1, 1)]
    p = rays.project(np.concatenate(around)).reshape(4, -1, 2)
    height, width = rays.u.shape
    return np.asarray(((p.max(axis=0) > -8) & (p.min(axis=0) < (width + 8, height + 8))).all(axis=1))
