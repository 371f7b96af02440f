"""Photographs a second through imaging.pipeline, against the floor and against the naive pipeline.

The floor is decode + resize + encode alone, by the same codecs, in the same threads.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import simplejpeg

from benchmarks import naive_pipeline
from carsdepo_assets.imaging.pipeline import Processed, process_many
from carsdepo_assets.imaging.resize import fit_longest
from carsdepo_assets.policy import DataPolicy

THREADS = 2
REPETITIONS = 5
PHOTOGRAPHS = 48


def photograph(seed: int, width: int = 1280, height: int = 960) -> bytes:
    """A JPEG of soft colours, texture and sensor noise; 1280 x 960 is about 300 KB, as phones write them."""
    rng = np.random.default_rng(seed)
    soft = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    texture = cv2.resize(rng.normal(0, 14, (480, 640)).astype(np.float32), (width, height))
    noise = rng.normal(0, 4, (height, width, 3)).astype(np.float32)
    rgb = np.clip(soft + texture[..., None] + noise, 0, 255).astype(np.uint8)
    return bytes(simplejpeg.encode_jpeg(rgb, quality=87, colorsubsampling="420"))


def _floor(data: bytes, policy: DataPolicy) -> int:
    """Decode at the smallest scale that suffices, resize, encode: what any pipeline that re-encodes must do."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    n = next((n for n in (1, 2, 3, 4) if n * max(width, height) >= 8 * policy.longest_side_px), 8)
    rgb = simplejpeg.decode_jpeg(data, min_width=-(-n * width // 8), min_height=-(-n * height // 8))
    rgb, _ = fit_longest(rgb, policy.longest_side_px)
    return len(simplejpeg.encode_jpeg(rgb, quality=policy.jpeg_quality, colorsubsampling="420"))


def _ours(photographs: Sequence[bytes], policy: DataPolicy) -> int:
    results = list(process_many(photographs, policy, THREADS))
    return sum(isinstance(r, Processed) for r in results)


def _threaded(work: Callable[[bytes], object], photographs: Sequence[bytes]) -> int:
    with ThreadPoolExecutor(THREADS) as pool:
        return len(list(pool.map(work, photographs)))


def _medians(ways: dict[str, Callable[[], int]], count: int) -> dict[str, float]:
    """Photographs a second of each way: the median of repetitions taken in turns, so that a busy moment hits all."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repetition in range(REPETITIONS + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            processed = way()
            elapsed = time.perf_counter() - start
            if processed != count:
                raise RuntimeError(f"{name}: {processed} of {count} photographs came through")
            if repetition:  # the first turn warms caches
                seconds[name].append(elapsed)
    return {name: count / statistics.median(times) for name, times in seconds.items()}


def _case(label: str, photographs: Sequence[bytes], policy: DataPolicy) -> list[dict[str, Any]]:
    rates = _medians(
        {
            "ours": lambda: _ours(photographs, policy),
            "floor": lambda: _threaded(lambda d: _floor(d, policy), photographs),
            "naive": lambda: _threaded(lambda d: naive_pipeline.process(d, policy.longest_side_px), photographs),
        },
        len(photographs),
    )
    return [
        {
            "name": f"image pipeline, {label}",
            "value": round(rates["ours"], 1),
            "unit": "images/s",
            "against": f"{against}: {rates[key]:.1f}",
            "ratio": round(rates["ours"] / rates[key], 3),
        }
        for key, against in (("floor", "decode + resize + encode alone"), ("naive", "PIL + imagehash"))
    ]


def run() -> list[dict[str, Any]]:
    """Rows {name, value, unit, against, ratio}; a ratio above 1 is faster than what it is held against.

    Three cases: photographs that fit already keep their scan (nothing is encoded, so the floor can be beaten),
    the same reduced to 640, and 12-megapixel ones reduced to 1280.
    """
    ordinary = [photograph(seed) for seed in range(PHOTOGRAPHS)]
    large = [photograph(seed, 4000, 3000) for seed in range(6)]
    return [
        *_case("1280 x 960 kept", ordinary, DataPolicy()),
        *_case("1280 x 960 to 640", ordinary, DataPolicy(longest_side_px=640)),
        *_case("4000 x 3000 to 1280", large, DataPolicy()),
    ]
