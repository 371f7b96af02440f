"""One photograph through each serving runtime against ultralytics' own `YOLO.predict`, on the same weights.

A 1280 x 960 JPEG file; reading and decoding are in the times. One thread each, which is what ultralytics takes on two
cores by itself, then two; calls interleaved in turning order. Both give the network an image of 4:3.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZES = (160, 320, 640)
THREADS = (1, 2)
ROUNDS = 15
BOXES = 30  # on the photograph: the score that so many reach is asked for on both sides


def run() -> list[dict[str, Any]]:
    """Median milliseconds by input size and runtime; then seconds to the first answer and memory."""
    with tempfile.TemporaryDirectory(prefix="carsdepo-bench-") as name:
        os.environ.setdefault("CARSDEPO_HOME", str(Path(name, "home")))
        photograph = _photograph(Path(name, "car.jpg"))
        rows: list[dict[str, Any]] = []
        for size in SIZES:
            lake, digest = _exported(Path(name, f"lake{size}"), size)
            for threads in THREADS:
                rows += _latencies(lake, digest, size, threads, photograph)
        return rows + _starts(Path(name, f"lake{SIZES[-1]}"), digest, photograph)


def _photograph(path: Path) -> Path:
    import cv2

    from carsdepo_assets.demo.sample.render import render_car

    rgb = cv2.resize(render_car(3, "day", clean=False)[0].rgb, (1280, 960), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(path), rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return path


def _exported(folder: Path, size: int) -> tuple[Any, str]:
    """A YOLOv8n of random weights that finds boxes: what is timed does not depend on what it learned."""
    from carsdepo_assets.detectors.export.export_model import export_model
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.policy import Policy
    from carsdepo_assets_tests.detectors.stored_models import photographs, store_model

    lake = Lake.open(folder)
    digest = store_model(lake, "yolov8n", size)
    export_model(lake, digest, Policy(), photographs()[:1])
    return lake, digest


def _latencies(lake: Any, digest: str, size: int, threads: int, photograph: Path) -> list[dict[str, Any]]:
    from carsdepo_assets.detectors.export.export_card import RUNTIMES
    from carsdepo_assets.detectors.export.runtimes import load_served
    from carsdepo_assets.policy import Policy

    predictors = {
        name: load_served(lake, digest, Policy(), runtime=name, threads=threads).predictor for name in RUNTIMES
    }
    scores = _detections(predictors["torch"], photograph).scores
    score = float(scores[min(BOXES, len(scores)) - 1])

    def ours(predictor: Any) -> Callable[[], int]:
        return lambda: len(_detections(predictor, photograph, score))

    calls = {"ultralytics": _ultralytics(lake, digest, size, threads, photograph, score)}
    calls |= {name: ours(predictor) for name, predictor in predictors.items()}
    times = _interleaved(calls)
    theirs = statistics.median(times.pop("ultralytics"))
    return [
        {
            "name": f"{name}, {threads} {'thread' if threads == 1 else 'threads'}: one photograph at {size} px",
            "value": round(statistics.median(taken), 1),
            "unit": "ms",
            "against": f"YOLO.predict {theirs:.1f} ms",
            "ratio": round(theirs / statistics.median(taken), 2),
        }
        for name, taken in times.items()
    ]


def _detections(predictor: Any, photograph: Path, min_score: float = 0.001) -> Any:
    """As the service answers: it reads, decodes, letterboxes, predicts and suppresses."""
    from carsdepo_assets.detectors.predicting import network_of, predict_image
    from carsdepo_assets.imaging.serving import decode_as_served
    from carsdepo_assets.policy import Policy

    _, image = decode_as_served(photograph.read_bytes(), Policy(), network_of(predictor))
    return predict_image(predictor, image, min_score)


def _ultralytics(lake: Any, digest: str, size: int, threads: int, photograph: Path, score: float) -> Callable[[], int]:
    from ultralytics.utils import torch_utils

    from carsdepo_assets.detectors.checkpoints import read_weights
    from carsdepo_assets.detectors.yolov8.detector import ARCHITECTURE, NMS_IOU, build_model
    from carsdepo_assets.detectors.yolov8.ultralytics_settings import ultralytics
    from carsdepo_assets.lake.models import read_card, weights_path

    card = read_card(lake, digest)
    plain = ultralytics().YOLO(ARCHITECTURE)
    plain.model = build_model(len(card.class_names))
    plain.model.load_state_dict(read_weights(weights_path(lake, card), "yolov8n")["state"])

    def call() -> int:
        torch_utils.NUM_THREADS = threads  # it sets torch's number of threads to this at each call
        results = plain.predict(
            str(photograph), imgsz=size, conf=score, iou=NMS_IOU, max_det=100, device="cpu", verbose=False, save=False
        )
        return len(results[0].boxes)

    return call


def _interleaved(calls: dict[str, Callable[[], int]]) -> dict[str, list[float]]:
    """Milliseconds by name, after two calls of each that are not counted. Raises when one finds no box."""
    for name, call in calls.items():
        if not call() or not call():
            raise RuntimeError(f"{name} finds no box: nothing is suppressed, and the time would be of another work.")
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(ROUNDS):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            started = time.perf_counter()
            calls[name]()
            times[name].append((time.perf_counter() - started) * 1000)
    return times


def _starts(lake: Path, digest: str, photograph: Path) -> list[dict[str, Any]]:
    """A fresh process each: from its start to the first answer, and the most memory it held."""
    from carsdepo_assets.detectors.export.export_card import RUNTIMES

    measured: dict[str, dict[str, float]] = {}
    for name in RUNTIMES:
        arguments = [str(lake), digest, name, str(photograph)]
        started = time.perf_counter()
        process = subprocess.run(
            [sys.executable, "-m", "benchmarks.serving_runtime", *arguments], capture_output=True, text=True, check=True
        )
        seconds = time.perf_counter() - started
        measured[name] = {"seconds": seconds, "mb": json.loads(process.stdout.splitlines()[-1])}
    rows = []
    for key, label, unit in (("seconds", "a process's first answer", "s"), ("mb", "its peak memory", "MB")):
        torch = measured["torch"][key]
        rows += [
            {
                "name": f"{name}: {label} at {SIZES[-1]} px",
                "value": round(figures[key], 2 if key == "seconds" else 0),
                "unit": unit,
                "against": f"torch {torch:.3g} {unit}",
                "ratio": round(torch / figures[key], 2),
            }
            for name, figures in measured.items()
            if name != "torch"
        ]
    return rows


def _answer(lake: str, digest: str, runtime: Any, photograph: str) -> int:
    """Runs in the fresh process: answers one photograph, and prints the most memory it held, in megabytes."""
    from carsdepo_assets.detectors.export.runtimes import load_served
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.policy import Policy

    _detections(load_served(Lake.open(lake), digest, Policy(), runtime=runtime).predictor, Path(photograph), 0.5)
    # not ru_maxrss, which a process inherits from the one that started it
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(status["VmHWM"].split()[0]) / 1024)
    return 0


if __name__ == "__main__":
    sys.exit(_answer(*sys.argv[1:5]))
