"""CPU time of the sample's photographs, encoded, against the floor; and of its noise against OpenCV's own wrapping.

The floor is what every picture of this size needs that looks as if a camera had taken it: a blur, sensor noise, JPEG.
CPU time of this process, with one thread, taken in turns: other work on the machine matters less than to a clock. And
the seconds of a sample by two threads and by two processes, on a quiet machine.

The implementation before this one (commit db9a517) took 2.3 times the CPU time: 210 against 90 ms a photograph,
medians of three runs over 60 photographs, car by car in turns.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from carsdepo_assets.demo.sample import noise, write
from carsdepo_assets.demo.sample.camera import LONG, SHORT
from carsdepo_assets.demo.sample.casting import CLEAN_SHARE, INTAKE_MIX
from carsdepo_assets.demo.sample.render import photographs
from carsdepo_assets.demo.sample.scene import Car
from carsdepo_assets.demo.sample.write import encode, plan

PHOTOGRAPHS, SEED, TURNS, SAMPLE = 60, 5, 5, 200


def _render(cars: list[tuple[Car, int]]) -> int:
    return sum(
        len(encode(photo)) > 0 for car, count in cars for photo, _ in zip(photographs(car), range(count), strict=False)
    )


def _floor(shown: list[NDArray[np.uint8]]) -> int:
    """Blur, sensor noise of a new draw and JPEG of pictures that are there already."""
    rng = np.random.default_rng(SEED)
    for rgb in shown:
        soft = cv2.GaussianBlur(rgb, (0, 0), 0.7).astype(np.float32)
        noisy = soft + rng.standard_normal(rgb.shape, np.float32) * np.float32(3)
        simplejpeg.encode_jpeg(np.clip(noisy, 0, 255).astype(np.uint8), quality=85, colorsubsampling="420")
    return len(shown)


def _cpu_milliseconds(ways: dict[str, Callable[[], int]]) -> dict[str, float]:
    """Of one picture: the median of turns, after one that warms caches."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(TURNS + 1):
        for name, way in ways.items():
            start = time.process_time()
            pictures = way()
            if turn:
                spent[name].append(1000 * (time.process_time() - start) / pictures)
    return {name: statistics.median(each) for name, each in spent.items()}


def _wall_seconds() -> dict[str, list[float]]:
    """Of write_sample with two workers, as threads and as processes, three times in turns."""
    spent: dict[str, list[float]] = {"threads": [], "processes": []}
    for _ in range(3):
        for name, each in spent.items():
            many = SAMPLE if name == "processes" else SAMPLE + 1
            with tempfile.TemporaryDirectory() as folder, mock.patch.object(write, "MANY", many):
                start = time.perf_counter()
                write.write_sample(Path(folder), SAMPLE, SEED)
                each.append(time.perf_counter() - start)
    return spent


def _noise(wrap: bool) -> int:
    """One look-up for each pixel of a picture, across two tiles as flakes of paint are."""
    u, v = np.meshgrid(np.linspace(0.3, 1.0, LONG, dtype=np.float32), np.linspace(0.3, 0.8, SHORT, dtype=np.float32))
    if wrap:
        cv2.remap(noise.tile(0.0), u * 900, v * 900, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    else:
        noise.sample(0.0, u, v, (900, 900))
    return 1


def run() -> list[dict[str, Any]]:
    """Rows {name, value, unit, against, ratio}; a ratio above 1 is less time than what it is held against."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        cars = list(plan(PHOTOGRAPHS, SEED, INTAKE_MIX, CLEAN_SHARE))
        shown = [p.rgb for car, count in cars for p, _ in zip(photographs(car), range(count), strict=False)]
        pictures = _cpu_milliseconds({"ours": lambda: _render(cars), "floor": lambda: _floor(shown)})
        lookups = _cpu_milliseconds({"ours": lambda: _noise(wrap=False), "wrap": lambda: _noise(wrap=True)})
    finally:
        cv2.setNumThreads(threads)
    wall = {name: statistics.median(each) for name, each in _wall_seconds().items()}
    return [
        _row("rendering: a photograph of 640 x 480", pictures["ours"], "blur + noise + JPEG alone", pictures["floor"]),
        _row("rendering: noise for a picture's pixels", lookups["ours"], "cv2.BORDER_WRAP", lookups["wrap"]),
        {
            "name": f"rendering: {SAMPLE} photographs by two processes, start included",
            "value": round(wall["processes"], 2),
            "unit": "s",
            "against": f"two threads: {wall['threads']:.2f} s",
            "ratio": round(wall["threads"] / wall["processes"], 3),
        },
    ]


def _row(name: str, ours: float, against: str, other: float) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(ours, 2),
        "unit": "ms of CPU",
        "against": f"{against}: {other:.2f}",
        "ratio": round(other / ours, 3),
    }


if __name__ == "__main__":
    for row in run():
        print(row)
