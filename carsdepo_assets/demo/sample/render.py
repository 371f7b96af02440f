"""Renders a car's photographs, with the exact boxes of its damage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.demo.sample import camera, damage
from carsdepo_assets.demo.sample.bands import bands
from carsdepo_assets.demo.sample.camera import PixelWindow
from carsdepo_assets.demo.sample.casting import draw_car
from carsdepo_assets.demo.sample.light import Surroundings, surroundings
from carsdepo_assets.demo.sample.overlay import overlay
from carsdepo_assets.demo.sample.panel import Panel, build_panel, shade
from carsdepo_assets.demo.sample.scene import DENT, SCRATCH, Car, Colour, Dent, LightName, Scratch, Shot
from carsdepo_assets.demo.sample.stack import Overlay

Box = tuple[int, float, float, float, float]  # class id, x1, y1, x2, y2: pixels of the upright picture, half-open

VISIBLE = 7.0  # levels of 255: damage that changes no pixel by more is not labelled, as nobody would see it
OVER_NOISE = 1.4  # standard deviations of the noise: damage that changes no pixel by more is not labelled either
EDGE = 0.22  # share of the strongest change: weaker changes are outside the box, unless twice as strong as VISIBLE
SMALLEST = 12  # px: smallest side of a box that is labelled
INSIDE = 0.4  # share: damage of which less is in the picture is not labelled, as nobody could tell what it is


@dataclass(frozen=True)
class RenderedPhoto:
    """One photograph of a rendered car."""

    rgb: NDArray[np.uint8]
    """(H, W, 3) uint8, upright."""
    boxes: list[Box]
    """Of the visible damage."""
    metadata: dict[str, Any]
    """Of the vehicle and the camera, as manifest.csv and EXIF hold it."""
    scene: dict[str, Any]
    """The car's seed, the number of the shot, and the contrast of each damage in view."""


@dataclass(frozen=True)
class _Change:
    """One damage, and how it changes the surface in the picture."""

    class_id: int
    index: int
    window: PixelWindow
    inside: float  # share of it that lies in the picture
    slopes: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    layer: NDArray[np.float32] | None


def render_car(seed: int, light: LightName | None = None, clean: bool | None = None) -> list[RenderedPhoto]:
    """Renders all photographs of the car of a seed; see `draw_car` for the arguments."""
    return list(photographs(draw_car(seed, light, clean)))


def photographs(car: Car) -> Iterator[RenderedPhoto]:
    """Renders the photographs of a car, one after another as they are asked for."""
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


def render_shot(
    car: Car, shot: Shot, around: Surroundings
) -> tuple[NDArray[np.uint8], list[Box], list[dict[str, Any]]]:
    """Renders one photograph.

    Each damage is rendered alone too: its box spans the pixels that it changes visibly.

    Args:
        car: What is photographed.
        shot: How.
        around: The surroundings of the car.

    Returns:
        The picture, (H, W, 3) uint8; the boxes; and for each damage in view its class_id, index, contrast in levels
        and whether it is labelled.
    """
    rays = camera.aim(shot)
    panel = build_panel(car, around, rays, _sunlit(car, rays))
    over = overlay(panel)
    clean = _radiance(panel, over, (slice(0, rays.u.shape[0]), slice(0, rays.u.shape[1])))
    gain = camera.exposure(clean, shot, car.light)
    levels = camera.tone(clean, gain, shot.warmth)
    boxes: list[Box] = []
    seen: list[dict[str, Any]] = []
    changes = list(_changes(car, rays))
    result = [plane.copy() for plane in levels]
    for change in changes:
        alone = camera.tone(_shaded(panel, over, change.window, [change]), gain, shot.warmth)
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
            alone = camera.tone(_shaded(panel, over, change.window, near), gain, shot.warmth)
        for plane, changed in zip(result, alone, strict=True):
            plane[change.window] = changed
    return camera.develop(result, shot, car.light), boxes, seen


def _sunlit(car: Car, rays: camera.Rays) -> NDArray[np.float32]:
    """(H, W) float32: 1 where the sun reaches, 0.15 in a shadow with a soft edge."""
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


def _shaded(panel: Panel, over: Overlay, window: PixelWindow, changes: list[_Change]) -> list[NDArray[np.float32]]:
    """Radiance of a window, three (H, W), with all of the changes that reach into it."""
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
            worn.append((layer, panel.car.scratches[change.index].albedo))
    return _radiance(panel, over, window, hu, hv, worn)


def _radiance(
    panel: Panel,
    over: Overlay,
    window: PixelWindow,
    hu: NDArray[np.float32] | None = None,
    hv: NDArray[np.float32] | None = None,
    worn: Sequence[tuple[NDArray[np.float32], Colour]] = (),
) -> list[NDArray[np.float32]]:
    """What the camera sees in a window, three (H, W) float32; slopes and scratches as `shade` takes them."""
    rows, cols = window
    height, width = rows.stop - rows.start, cols.stop - cols.start
    planes = [np.empty((height, width), np.float32) for _ in range(3)]
    for here in bands(height, width):
        part = (slice(rows.start + here.start, rows.start + here.stop), cols)
        steeper, tilted = (None if slope is None else slope[here] for slope in (hu, hv))
        paint = shade(panel, part, steeper, tilted, [(layer[here], albedo) for layer, albedo in worn])
        for plane, seen in zip(planes, over.over(paint, part), strict=True):
            plane[here] = seen
    return planes


def _measure(
    changed: list[NDArray[np.float32]], clean: list[NDArray[np.float32]], window: PixelWindow, visible: float
) -> tuple[tuple[float, float, float, float] | None, float]:
    """The box around the pixels that a damage changes, None where it is not visible, and its contrast in levels."""
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


def _meet(a: PixelWindow, b: PixelWindow) -> bool:
    return all(p.start < q.stop and q.start < p.stop for p, q in zip(a, b, strict=True))
