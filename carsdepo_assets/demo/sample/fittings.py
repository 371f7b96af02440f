"""Draws what is mounted on the side: gaps between the panels, trim, handles and the badge."""

from __future__ import annotations

import cv2
import numpy as np

from carsdepo_assets.demo.sample.damage import window_of
from carsdepo_assets.demo.sample.panel import HANDLE
from carsdepo_assets.demo.sample.stack import Drawn, Stack, tint


def gaps(stack: Stack) -> None:
    """Lays the gaps between the panels, each with an edge that catches the light."""
    for gap in stack.panel.car.body.gaps:
        closed = gap[0] == gap[-1]
        for width, shift, albedo, alpha in (
            (0.010, (0.0, 0.0), (0.02, 0.02, 0.02), 0.45),
            (0.0045, (0.0, 0.0), (0.004, 0.004, 0.004), 1.0),
        ):
            stack.draw(stack.line(gap, width, closed, shift), albedo, share=alpha)
        edge = stack.line(gap, 0.003, closed, (0.005, -0.003))  # it catches the light
        stack.draw(edge, stack.panel.car.paint.albedo, 0.35 * stack.panel.around.above, 0.35)


def fittings(stack: Stack) -> None:
    """Lays trim strips, door handles and the badge."""
    panel, rays, body = stack.panel, stack.rays, stack.panel.car.body
    around = panel.around
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
            albedo = (0.02, 0.02, 0.022) if kind == "black" else panel.car.paint.albedo
            stack.lay(alpha, albedo, tint(0.10 * np.exp(-((d - 0.4) ** 2) * 8), around.above), window)
    for cu, cv in body.handles:
        t = np.linspace(-1, 1, 9)
        bar = np.column_stack([cu + t * HANDLE[0] * 1.15, cv + 0.006 * (1 - t * t)])
        paint = panel.car.paint.albedo
        for breadth, shift, colour, glow, share in (
            (0.030, (0.0, -0.012), (0.004, 0.004, 0.004), 0.0, 0.65),
            (0.026, (0.0, 0.0), paint, 0.05, 1.0),
            (0.007, (0.0, 0.006), paint, 0.35, 0.8),
        ):
            stack.draw(stack.line(bar, breadth, shift=shift), colour, glow * around.above, share)
    if body.badge is not None:
        _badge(stack, *body.badge)


def _badge(stack: Stack, text: str, u: float, v: float, height: float) -> None:
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
    stack.draw(Drawn(mask, 1 / 255, window), (0.2, 0.2, 0.2), 0.5 * stack.panel.around.above)
