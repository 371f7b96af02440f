"""Writes rendered photographs with labels, metadata and scene parameters, as a folder for `carsdepo import`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from carsdepo_assets.demo.sample.casting import CLEAN_SHARE, LIGHT_MIX, draw_car
from carsdepo_assets.demo.sample.render import RenderedPhoto, photographs
from carsdepo_assets.demo.sample.scene import LIGHTS, Car, LightName
from carsdepo_assets.demo.sample.workers import pool_of

Progress = Callable[[int, int], None]  # photographs rendered so far, and in all
MANY = 100  # photographs: from here on processes save more than the two seconds that they take to start

COLUMNS = ("file", "group", "listing", "make", "year", "camera", "region", "uploader", "light", "captured_at")
_TURN_BACK = {1: 0, 3: 2, 6: 1, 8: 3}  # EXIF orientation -> quarter turns to the left that it undoes
_MAKE, _MODEL, _ORIENTATION, _DATETIME, _EXIF_IFD = 0x010F, 0x0110, 0x0112, 0x0132, 0x8769
_DATETIME_ORIGINAL, _OFFSET_ORIGINAL = 0x9003, 0x9011


@dataclass(frozen=True)
class WrittenSample:
    """What `write_sample` wrote."""

    folder: Path
    files: tuple[str, ...]
    """Names below images/, in the order of the manifest."""
    cars: int
    boxes: int
    """Labelled boxes on all photographs."""
    clean_photographs: int
    """Photographs without a box."""


def plan(
    n_images: int, seed: int, lights: Mapping[str, float] | LightName | None, clean_share: float
) -> Iterator[tuple[Car, int]]:
    """Draws cars until they have n_images photographs in all; the last car may lose some.

    Args:
        n_images: Number of photographs.
        seed: Of the random numbers.
        lights: One light, or shares by name; None for the usual mix.
        clean_share: Share of the cars without damage.

    Yields:
        A car, and how many of its photographs to render.
    """
    mix = _mix(lights)
    rng = np.random.default_rng([0x91A, seed])
    left = n_images
    while left > 0:
        light = str(rng.choice(list(mix), p=list(mix.values())))
        clean = bool(rng.random() < clean_share)
        car = draw_car(int(rng.integers(2**40)), next(name for name in LIGHTS if name == light), clean)
        count = min(left, len(car.shots))
        left -= count
        yield car, count


def write_sample(
    folder: Path,
    n_images: int,
    seed: int,
    lights: Mapping[str, float] | LightName | None = None,
    clean_share: float = CLEAN_SHARE,
    workers: int = 2,
    day: date | None = None,
    progress: Progress | None = None,
) -> WrittenSample:
    """Renders photographs and writes images/*.jpg, labels/*.txt, classes.txt, manifest.csv and scenes.json.

    Labels are in YOLO's format; an empty file stands for no damage. The same arguments give the same bytes, whatever
    the number of workers. An error that progress raises, or a keyboard interrupt, ends the rendering: cars that are not
    begun are not rendered, and manifest.csv is not written.

    Args:
        folder: To write.
        n_images: Number of photographs.
        seed: Of the random numbers.
        lights: One light, or shares by name; None for the usual mix.
        clean_share: Share of the cars without damage.
        workers: How many cars are rendered at the same time: by processes from MANY photographs on, else by threads.
        day: On which the photographs were taken, at a time that fits the light; None for another day for each car.
        progress: Called in the caller's thread before the first photograph and after each car.

    Returns:
        What was written.

    Raises:
        ValueError: For numbers or shares that make no sense.
        OSError: Where a worker process was killed.
    """
    if n_images < 1 or not 0 <= clean_share <= 1:
        raise ValueError(f"n_images {n_images} must be 1 or more, clean_share {clean_share} within 0..1")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    scenes: list[dict[str, Any]] = []
    boxes = clean = 0
    tell: Progress = progress or _silent
    tell(0, n_images)
    with pool_of(workers, processes=n_images >= MANY) as pool:
        planned = [(_on(day, car), count) for car, count in plan(n_images, seed, lights, clean_share)]
        cars, counts = zip(*planned, strict=True)
        for car, written in zip(cars, pool.map(partial(_write_car, folder), cars, counts), strict=True):
            scenes.append({"car": car.parameters(), "photographs": [scene for _, scene, _ in written]})
            for row, _, count in written:
                rows.append(row)
                boxes += count
                clean += count == 0
            tell(len(rows), n_images)
    sheet = io.StringIO(newline="")
    writer = csv.DictWriter(sheet, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    (folder / "manifest.csv").write_text(sheet.getvalue())
    write_class_names(folder)
    (folder / "scenes.json").write_text(json.dumps({"seed": seed, "cars": scenes}) + "\n")
    return WrittenSample(folder, tuple(r["file"] for r in rows), len(planned), boxes, clean)


def write_class_names(folder: Path) -> None:
    """Writes classes.txt, which says what the class ids of the labels mean."""
    (folder / "classes.txt").write_text("scratch\ndent\n")


def _on(day: date | None, car: Car) -> Car:
    """The car, photographed on that day at the same time of day; unchanged where day is None."""
    if day is None:
        return car
    at = datetime.combine(day, datetime.fromisoformat(car.captured_at).timetz())
    return replace(car, captured_at=at.isoformat())


def _silent(_rendered: int, _total: int) -> None:
    """A progress callback that does nothing."""


def _mix(lights: Mapping[str, float] | LightName | None) -> dict[str, float]:
    shares = LIGHT_MIX if lights is None else {lights: 1.0} if isinstance(lights, str) else lights
    total = sum(shares.values())
    if not total > 0 or min(shares.values()) < 0 or not set(shares) <= set(LIGHTS):
        raise ValueError(f"lights {dict(shares)}: shares of {', '.join(LIGHTS)}, none negative, not all zero")
    return {name: share / total for name, share in shares.items()}


def _write_car(folder: Path, car: Car, count: int) -> list[tuple[dict[str, Any], dict[str, Any], int]]:
    written = []
    for number, photo in zip(range(count), photographs(car), strict=False):
        name = f"{car.listing}_{number + 1}"
        (folder / "images" / f"{name}.jpg").write_bytes(encode(photo))
        (folder / "labels" / f"{name}.txt").write_text(yolo_lines(photo))
        row = {"file": f"{name}.jpg", **{c: photo.metadata[c] for c in COLUMNS[1:]}}
        scene = {"file": f"{name}.jpg", "boxes": [list(b) for b in photo.boxes], **photo.scene}
        written.append((row, scene, len(photo.boxes)))
    return written


def yolo_lines(photo: RenderedPhoto) -> str:
    """A photograph's labels in YOLO's format: a line a box; class, centre, width and height, as shares of the sides."""
    height, width = photo.rgb.shape[:2]
    return "".join(
        f"{c} {(x1 + x2) / 2 / width:.6f} {(y1 + y2) / 2 / height:.6f} {(x2 - x1) / width:.6f} "
        f"{(y2 - y1) / height:.6f}\n"
        for c, x1, y1, x2, y2 in photo.boxes
    )


def encode(photo: RenderedPhoto) -> bytes:
    """A photograph as JPEG with EXIF; the pixels are stored turned, as cameras do, where EXIF has an orientation."""
    metadata = photo.metadata
    exif = Image.Exif()
    exif[_MAKE], exif[_MODEL], exif[_ORIENTATION] = (
        metadata["camera_make"],
        metadata["camera_model"],
        metadata["orientation"],
    )
    at = datetime.fromisoformat(metadata["captured_at"])
    exif[_DATETIME] = at.strftime("%Y:%m:%d %H:%M:%S")
    exif.get_ifd(_EXIF_IFD).update({_DATETIME_ORIGINAL: exif[_DATETIME], _OFFSET_ORIGINAL: "+00:00"})
    stored = np.ascontiguousarray(np.rot90(photo.rgb, _TURN_BACK[metadata["orientation"]]))
    buffer = io.BytesIO()
    Image.fromarray(stored).save(buffer, "JPEG", quality=metadata["quality"], exif=exif.tobytes())
    return buffer.getvalue()
