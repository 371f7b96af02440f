"""Draws misses and false alarms: the part of the photograph around each, with the labels and the model's boxes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.mistakes import FalseAlarm, Miss

if TYPE_CHECKING:
    from PIL.Image import Image

Mistake = Miss | FalseAlarm

LABELLED, DETECTED, MISSED, FALSE = "#22c55e", "#3b82f6", "#f59e0b", "#ef4444"
MAX_PNG_BYTES, MAX_PNG_WIDTH = 100_000, 900
_CONTEXT = 3.0  # a window of this many boxes' sides around the mistake ...
_LEAST_SHARE = 0.4  # ... but of at least this share of the photograph, so that one sees where on the car it is
_KINDS = {
    "background": "nothing labelled there",
    "wrong_class": "labelled as another class",
    "duplicate": "a second box on one damage",
    "loose_box": "the box fits too loosely",
}
# Sizes tried in turn until the PNG is small enough: (width in px, colours).
_STEPS = ((900, 128), (760, 128), (680, 96), (600, 64), (480, 48), (360, 32), (240, 16))


def caption(mistake: Mistake, class_names: Sequence[str]) -> str:
    """One line: the damage that was missed, or the box that is wrong and why."""
    name = class_names[mistake.class_id]
    if isinstance(mistake, Miss):
        if mistake.near_score >= 0.005:
            return f"Missed {name}, suspected at {mistake.near_score:.2f}"
        return f"Missed {name}, not suspected"
    return f"{name.capitalize()} at {mistake.score:.2f}: {_KINDS[mistake.kind]}"


def mistakes_png(
    images: Sequence[NDArray[np.uint8]],
    truths: Sequence[Truth],
    detections: Sequence[Detections],
    *,
    class_names: Sequence[str],
    threshold: float = 0.0,
    mistakes: Sequence[Mistake | None] | None = None,
    columns: int = 3,
) -> bytes:
    """A grid with one picture for each photograph.

    Args:
        images: photographs, HxWx3 RGB.
        truths: the labels of each, in its pixels.
        detections: the model's boxes on each, in its pixels.
        threshold: boxes with a lower score are not drawn.
        mistakes: the box that each picture is about, which is zoomed to and captioned; None: the whole photograph.
        columns: pictures in a row of the grid.

    Returns:
        A PNG of at most 100 kB, at most 900 px wide.

    Raises:
        ValueError: there are no images, the lists differ in length, or the pictures do not fit into 100 kB.
    """
    about = list(mistakes) if mistakes is not None else [None] * len(images)
    if not images or not len(images) == len(truths) == len(detections) == len(about):
        raise ValueError(
            f"{len(images)} images, {len(truths)} truths, {len(detections)} detections, {len(about)} "
            "mistakes: give as many of each, and at least one."
        )
    png = b""
    for width, colours in _STEPS:
        png = _grid_png(images, truths, detections, class_names, threshold, about, columns, width, colours)
        if len(png) <= MAX_PNG_BYTES:
            return png
    raise ValueError(f"{len(images)} pictures do not fit into {MAX_PNG_BYTES} bytes ({len(png)}): give fewer.")


def mistake_jpeg(
    image: NDArray[np.uint8],
    truth: Truth,
    detections: Detections,
    mistake: Mistake,
    *,
    class_names: Sequence[str],
    threshold: float,
    width: int = 480,
) -> bytes:
    """One picture for the HTML page, as JPEG, 4:3.

    Args:
        image: the photograph, HxWx3 RGB.
        width: in pixels; twice the width at which the page shows it.
    """
    out = io.BytesIO()
    size = (width, width * 3 // 4)
    _tile(image, truth, detections, mistake, class_names, threshold, size).save(out, "JPEG", quality=82, optimize=True)
    return out.getvalue()


def _grid_png(
    images: Sequence[NDArray[np.uint8]],
    truths: Sequence[Truth],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    threshold: float,
    about: Sequence[Mistake | None],
    columns: int,
    width: int,
    colours: int,
) -> bytes:
    from PIL import Image, ImageDraw, ImageFont, ImageOps

    gap, columns = 8, min(columns, len(images))
    w = (width - gap * (columns - 1)) // columns
    h = w * 3 // 4
    text = max(9, w // 22)
    strip = text + 8 if any(about) else 0
    rows = -(-len(images) // columns)
    grid = Image.new("RGB", (columns * w + gap * (columns - 1), rows * (h + strip + gap) - gap), "white")
    draw = ImageDraw.Draw(grid)
    font = ImageFont.load_default(size=text)
    for n, mistake in enumerate(about):
        x, y = n % columns * (w + gap), n // columns * (h + strip + gap)
        grid.paste(_tile(images[n], truths[n], detections[n], mistake, class_names, threshold, (w, h)), (x, y))
        if mistake is not None:
            draw.text((x + 2, y + h + 3), caption(mistake, class_names), font=font, fill="#1f2933")
    out = io.BytesIO()
    # 5 bits a channel first: the search for the palette takes seconds over a noisy photograph's every colour. Maximum
    # coverage keeps the few pixels of the drawn boxes in their own colours.
    coarse = ImageOps.posterize(grid, 5)
    coarse.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def _tile(
    rgb: NDArray[np.uint8],
    truth: Truth,
    detections: Detections,
    mistake: Mistake | None,
    class_names: Sequence[str],
    threshold: float,
    size: tuple[int, int],
) -> Image:
    from PIL import Image, ImageDraw, ImageFont

    x0, y0, x1, y1 = _window(rgb.shape[1], rgb.shape[0], mistake, size[0] / size[1])
    scale = min(size[0] / (x1 - x0), size[1] / (y1 - y0))
    inner = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    shift = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
    tile = Image.new("RGB", size, "#eef1f4")
    tile.paste(Image.fromarray(rgb[y0:y1, x0:x1]).resize(inner, Image.Resampling.LANCZOS), shift)
    draw = ImageDraw.Draw(tile)
    font = ImageFont.load_default(size=max(9, size[0] // 30))
    thin, thick = max(1, size[0] // 240), max(2, size[0] // 120)

    def box(xyxy: Sequence[float], colour: str, line: int, text: str) -> None:
        """Draws a box; its text only when it touches the mistake, since more would hide the photograph."""
        left, top = (xyxy[0] - x0) * scale + shift[0], (xyxy[1] - y0) * scale + shift[1]
        right, bottom = (xyxy[2] - x0) * scale + shift[0], (xyxy[3] - y0) * scale + shift[1]
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        if right < 0 or bottom < 0 or left > size[0] or top > size[1]:
            return
        draw.rectangle((left, top, right, bottom), outline=colour, width=line)
        if mistake is not None and not _touch(xyxy, mistake.xyxy):
            return
        _, _, w, h = draw.textbbox((0, 0), text, font=font)
        x = min(max(left, 0), size[0] - w - 6)
        y = top - h - 4 if top - h - 4 >= 0 else min(bottom, size[1] - h - 4)
        draw.rectangle((x, y, x + w + 6, y + h + 4), fill=colour)
        draw.text((x + 3, y + 1), text, font=font, fill="white")

    miss = mistake if isinstance(mistake, Miss) else None
    alarm = mistake if isinstance(mistake, FalseAlarm) else None
    for n, (xyxy, c) in enumerate(zip(truth.xyxy.tolist(), truth.classes.tolist(), strict=True)):
        if miss is None or n != miss.row:
            box(xyxy, LABELLED, thin, class_names[c])
    for n, (xyxy, s, c) in enumerate(
        zip(detections.xyxy.tolist(), detections.scores.tolist(), detections.classes.tolist(), strict=True)
    ):
        if s >= threshold and (alarm is None or n != alarm.row):
            box(xyxy, DETECTED, thin, f"{class_names[c]} {s:.2f}")
    if miss is not None:
        box(miss.xyxy, MISSED, thick, class_names[miss.class_id])
    if alarm is not None:
        box(alarm.xyxy, FALSE, thick, f"{class_names[alarm.class_id]} {alarm.score:.2f}")
    return tile


def _touch(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _window(width: int, height: int, mistake: Mistake | None, aspect: float) -> tuple[int, int, int, int]:
    """The part of the photograph to show, in whole pixels within it."""
    if mistake is None:
        return 0, 0, width, height
    x1, y1, x2, y2 = mistake.xyxy
    w = max(_CONTEXT * (x2 - x1), _CONTEXT * (y2 - y1) * aspect, _LEAST_SHARE * width)
    w, h = min(w, width), min(w / aspect, height)
    left = min(max((x1 + x2 - w) / 2, 0), width - w)
    top = min(max((y1 + y2 - h) / 2, 0), height - h)
    x0, y0 = int(left), int(top)
    return x0, y0, min(width, max(x0 + 1, int(np.ceil(left + w)))), min(height, max(y0 + 1, int(np.ceil(top + h))))
