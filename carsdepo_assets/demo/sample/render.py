"""A car's photographs with the exact boxes of its damage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import cv2
import numpy as np

from carsdepo_assets.demo.sample import camera, damage
from carsdepo_assets.demo.sample.bands import bands
from carsdepo_assets.demo.sample.camera import Window
from carsdepo_assets.demo.sample.casting import draw_car
from carsdepo_assets.demo.sample.light import Surroundings, surroundings
from carsdepo_assets.demo.sample.overlay import overlay
from carsdepo_assets.demo.sample.panel import Panel, panel, shade
from carsdepo_assets.demo.sample.scene import DENT, SCRATCH, Car, Colour, Dent, LightName, Scratch, Shot
from carsdepo_assets.demo.sample.stack import Overlay

Box = tuple[int, float, float, float, float]  # class id, x1, y1, x2, y2: pixels of the upright picture, half-open

VISIBLE = 7.0  # levels of 255: damage that changes no pixel by more goes unlabelled, as nobody would see it
OVER_NOISE = 1.4  # nor would anybody see what changes less than this many standard deviations of the noise
EDGE = 0.22  # share of the strongest change that is still damage, as is all twice as strong as one can see
SMALLEST = 12  # px: a label's smallest side
INSIDE = 0.4  # a damage of which less lies in the picture goes unlabelled, as nobody could tell what it is


@dataclass(frozen=True)
class RenderedPhoto:
    """rgb: (H, W, 3) uint8, upright. metadata: the vehicle's. scene: parameters, and each damage's contrast."""

    rgb: np.ndarray
    boxes: list[Box]
    metadata: dict[str, Any]
    scene: dict[str, Any]


@dataclass(frozen=True)
class _Change:
    """One damage as the sensor would see it, before noise."""

    class_id: int
    index: int
    window: Window
    inside: float  # share of it that lies in the picture
    slopes: tuple[np.ndarray, np.ndarray] | None
    layer: np.ndarray | None


def render_car(seed: int, light: LightName | None = None, clean: bool | None = None) -> list[RenderedPhoto]:
    """The photographs of the car of a seed; light and damage as drawn, or as told."""
    return list(photographs(draw_car(seed, light, clean)))


def photographs(car: Car) -> Iterator[RenderedPhoto]:
    around = surroundings(car.light)
    for number, shot in enumerate(car.shots):
        rgb, boxes, contrasts = render_shot(car, shot, around)
        at = datetime.fromisoformat(car.captured_at) + timedelta(seconds=11 * number)
        metadata = {
            "group": car.listing,
            "listing": car.listing,
            "make": car.make,
            "year": car.year,
            "camera": " ".join(car.camera),
            "region": car.region,
            "uploader": car.uploader,
            "light": car.light.name,
            "captured_at": at.isoformat(),
            "camera_make": car.camera[0],
            "camera_model": car.camera[1],
            "orientation": shot.orientation,
            "quality": shot.quality,
        }
        yield RenderedPhoto(rgb, boxes, metadata, {"seed": car.seed, "shot": number, "damage": contrasts})


def render_shot(car: Car, shot: Shot, around: Surroundings) -> tuple[np.ndarray, list[Box], list[dict[str, Any]]]:
    """Picture (H, W, 3) uint8, boxes, and {class_id, index, contrast, labelled} of each damage in view."""
    rays = camera.aim(shot)
    made = panel(car, around, rays, _sunlit(car, rays))
    over = overlay(made)
    clean = _radiance(made, over, (slice(0, rays.u.shape[0]), slice(0, rays.u.shape[1])))
    gain = camera.exposure(clean, shot, car.light)
    levels = camera.tone(clean, gain, shot.warmth)
    boxes: list[Box] = []
    seen: list[dict[str, Any]] = []
    changes = list(_changes(car, rays))
    result = [plane.copy() for plane in levels]
    for change in changes:
        alone = camera.tone(_shaded(made, over, change.window, [change]), gain, shot.warmth)
        visible = max(VISIBLE, OVER_NOISE * car.light.noise)
        box, contrast = _measure(alone, [plane[change.window] for plane in levels], change.window, visible)
        if change.inside < INSIDE:
            box = None
        seen.append(
            {
                "class_id": change.class_id,
                "index": change.index,
                "contrast": round(contrast, 1),
                "labelled": box is not None,
            }
        )
        if box is not None:
            boxes.append((change.class_id, *box))
        near = [c for c in changes if _meet(c.window, change.window)]
        if len(near) > 1:
            alone = camera.tone(_shaded(made, over, change.window, near), gain, shot.warmth)
        for plane, changed in zip(result, alone, strict=True):
            plane[change.window] = changed
    return camera.develop(result, shot, car.light), boxes, seen


def _sunlit(car: Car, rays: camera.Rays) -> np.ndarray:
    """1 where the sun reaches, 0.15 in a shadow with a soft edge."""
    lit = np.ones(rays.u.shape, np.float32)
    if car.clutter.shadow is not None and car.light.sun > 0:
        points = rays.project(np.array(car.clutter.shadow))
        cv2.fillPoly(lit, [np.round(np.clip(points, -4000, 4000)).astype(np.int32)], 0.15)
        lit = cv2.GaussianBlur(lit, (0, 0), 2.5)
    return lit


def _changes(car: Car, rays: camera.Rays) -> Iterator[_Change]:
    items: tuple[Dent | Scratch, ...] = (*car.dents, *car.scratches)
    for index, item in enumerate(items):
        points = damage.outline(item)
        window = damage.window_of(rays, points, 2 if isinstance(item, Dent) else 8)
        if window is None:
            continue
        inside = damage.share_in_picture(rays, points)
        if isinstance(item, Dent):
            slopes = damage.dent_slopes(item, rays.u[window], rays.v[window])
            yield _Change(DENT, index, window, inside, slopes, None)
        else:
            layer = damage.scratch_layer(item, rays, window)
            yield _Change(SCRATCH, index - len(car.dents), window, inside, None, layer)


def _shaded(made: Panel, over: Overlay, window: Window, changes: list[_Change]) -> list[np.ndarray]:
    """Radiance, three (H, W), of a window with all of the changes that fall into it."""
    rows, cols = window
    shape = (rows.stop - rows.start, cols.stop - cols.start)
    hu, hv = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    worn = []
    for change in changes:
        r1, r2 = max(rows.start, change.window[0].start), min(rows.stop, change.window[0].stop)
        c1, c2 = max(cols.start, change.window[1].start), min(cols.stop, change.window[1].stop)
        here = (slice(r1 - rows.start, r2 - rows.start), slice(c1 - cols.start, c2 - cols.start))
        there = (
            slice(r1 - change.window[0].start, r2 - change.window[0].start),
            slice(c1 - change.window[1].start, c2 - change.window[1].start),
        )
        if change.slopes is not None:
            hu[here] += change.slopes[0][there]
            hv[here] += change.slopes[1][there]
        if change.layer is not None:
            layer = np.zeros(shape, np.float32)
            layer[here] = change.layer[there]
            worn.append((layer, made.car.scratches[change.index].albedo))
    return _radiance(made, over, window, hu, hv, worn)


def _radiance(
    made: Panel,
    over: Overlay,
    window: Window,
    hu: np.ndarray | None = None,
    hv: np.ndarray | None = None,
    worn: Sequence[tuple[np.ndarray, Colour]] = (),
) -> list[np.ndarray]:
    """What the camera sees in a window, three (H, W) float32; slopes and wear as `shade` takes them."""
    rows, cols = window
    height, width = rows.stop - rows.start, cols.stop - cols.start
    planes = [np.empty((height, width), np.float32) for _ in range(3)]
    for here in bands(height, width):
        part = (slice(rows.start + here.start, rows.start + here.stop), cols)
        steeper, tilted = (None if slope is None else slope[here] for slope in (hu, hv))
        paint = shade(made, part, steeper, tilted, [(layer[here], albedo) for layer, albedo in worn])
        for plane, seen in zip(planes, over.over(paint, part), strict=True):
            plane[here] = seen
    return planes


def _measure(
    changed: list[np.ndarray], clean: list[np.ndarray], window: Window, visible: float
) -> tuple[tuple[float, float, float, float] | None, float]:
    """The box of what the damage changes (None when nobody would see it), and its contrast in levels."""
    red, green, blue = (np.abs(a - b) for a, b in zip(changed, clean, strict=True))
    change = cv2.GaussianBlur(np.maximum(np.maximum(red, green), blue), (0, 0), 1.0)
    strongest = float(np.partition(change.ravel(), -12)[-12]) if change.size > 12 else 0.0
    if strongest < visible:
        return None, strongest
    mask = change > min(max(EDGE * strongest, 3.0), 2 * visible)
    ys, xs = np.flatnonzero(mask.sum(axis=1) > 1), np.flatnonzero(mask.sum(axis=0) > 1)
    if len(ys) < SMALLEST or len(xs) < SMALLEST:
        return None, strongest
    y0, x0 = window[0].start, window[1].start
    return (float(x0 + xs[0]), float(y0 + ys[0]), float(x0 + xs[-1] + 1), float(y0 + ys[-1] + 1)), strongest


def _meet(a: Window, b: Window) -> bool:
    return all(p.start < q.stop and q.start < p.stop for p, q in zip(a, b, strict=True))
