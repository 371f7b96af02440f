"""One training on the photographs: `python -m benchmarks.real_photographs.train NAME DATA OUT [MINUTES]`.

It writes OUT/NAME.json after each epoch and once more, with the figures of val and test, when it is done, and the
boxes on the photographs of val and test into OUT/NAME.boxes.json. A training that was killed goes on from the
checkpoint in OUT/NAME; one that is done is not repeated. It needs no lake, and runs where only torch, torchvision or
ultralytics, pydantic, opencv, hotcoco and the packages of the backbones are.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.real_photographs.data import CLASSES, Photographs, read_photographs
from benchmarks.real_photographs.plan import PLAN, Planned

if TYPE_CHECKING:
    from carsdepo_assets.detectors.base import Predictor, TrainingImage
    from carsdepo_assets.scoring.boxes import Detections, Truth

COMPLETE = "complete"


def train(planned: Planned, photographs: Photographs, out: Path) -> dict[str, Any]:
    """Trains as planned and returns the result; that of an earlier call if it was completed."""
    target = out / f"{planned.name}.json"
    earlier = read_result(target)
    if earlier is not None:
        return earlier
    import torch

    from carsdepo_assets.detectors.numerics import numerics

    recipe = planned.recipe()
    data = photographs.training_set(planned.one_group_of)
    result = {
        "name": planned.name,
        "says": planned.says,
        "state": "training",
        "recipe": recipe.model_dump(),
        "data": {
            "train": photographs.counts(data.split("train")),
            **{s: photographs.counts(photographs.split(s)) for s in ("val", "test")},
        },
        "hardware": {"cpu": _cpu_name(), "cores": len(os.sched_getaffinity(0)), "of_cores": os.cpu_count()},
        "python": platform.python_version(),
        "history": [],
    }

    def report(row: dict[str, float]) -> None:
        result["history"].append(_short(row))
        write_result(target, result)

    detector = _detector(recipe.detector)
    started = time.monotonic()
    trained = detector.train(data, recipe, out / planned.name, report)
    result |= {
        "seconds": round(trained.history[-1]["seconds"], 1),
        "steps": trained.steps,
        "epochs": trained.history[-1]["epoch"],
        "environment": trained.environment,
        "numerics": numerics(recipe.device),
        "history": [_short(row) for row in trained.history],
    }
    write_result(target, result)
    predictor = detector.load(trained.weights, CLASSES, recipe.image_size, recipe.device)
    result |= _figures(predictor, photographs, out / f"{planned.name}.boxes.json")
    if recipe.device != "cpu":
        result["gpu_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 1)
    result |= {"state": COMPLETE, "seconds_with_tests": round(time.monotonic() - started, 1)}
    write_result(target, result)
    return result


def _detector(family: str) -> Any:
    """The family's detector; not by the catalogue, which imports the lake."""
    if family.startswith("yolov8"):
        from carsdepo_assets.detectors.yolov8.detector import YoloV8

        return YoloV8(family)
    from carsdepo_assets.detectors.faster_rcnn.detector import FasterRcnn

    return FasterRcnn(family)


def _figures(predictor: Predictor, photographs: Photographs, boxes: Path) -> dict[str, Any]:
    """mAP and its interval by groups on val and test; precision and recall on test at val's threshold."""
    from carsdepo_assets.scoring.bootstrap import bootstrap_map50
    from carsdepo_assets.scoring.evaluation import evaluate
    from carsdepo_assets.scoring.thresholds import WITHOUT_A_MATCH, best_threshold

    figures: dict[str, Any] = {}
    boxes_of: dict[str, Any] = {}
    threshold = None
    for split in ("val", "test"):
        images = photographs.split(split)
        truths, detections = _predict(predictor, images)
        if threshold is None:
            threshold = best_threshold(truths, detections, len(CLASSES))
            threshold = WITHOUT_A_MATCH if threshold is None else threshold
        sizes = [(image.width, image.height) for image in images]
        scored = evaluate(truths, detections, CLASSES, sizes, threshold=threshold)
        groups = [photographs.group_of[image.image_id] for image in images]
        interval = bootstrap_map50(truths, detections, len(CLASSES), groups)
        figures[split] = {
            "map50": scored.map50,
            "map50_low": interval.low,
            "map50_high": interval.high,
            "map50_95": scored.map50_95,
            "ap50": {name: score.ap50 for name, score in scored.per_class.items()},
            "precision": scored.precision,
            "recall": scored.recall,
            "threshold": threshold,
        }
        boxes_of[split] = {
            image.image_id: [
                [*(round(float(v), 3) for v in box), round(float(score), 7), int(c)]
                for box, score, c in zip(d.xyxy, d.scores, d.classes, strict=True)
            ]
            for image, d in zip(images, detections, strict=True)
        }
    boxes.write_text(json.dumps(boxes_of))
    return figures


def _predict(predictor: Predictor, images: Sequence[TrainingImage]) -> tuple[list[Truth], list[Detections]]:
    from carsdepo_assets.detectors.training_samples import read_rgb
    from carsdepo_assets.scoring.boxes import Truth

    truths = [Truth(image.xyxy, image.classes) for image in images]
    return truths, [predictor.predict([read_rgb(image)])[0] for image in images]


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def read_result(target: Path) -> dict[str, Any] | None:
    """The result in this file; None where there is none, or that of a training that is not complete."""
    if not target.exists():
        return None
    result: dict[str, Any] = json.loads(target.read_text())
    return result if result["state"] == COMPLETE else None


def write_result(target: Path, result: dict[str, Any]) -> None:
    """Writes a result, a line for each of its values and each epoch of its history."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in result["history"])
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in result.items() if name != "history"]
    part = target.with_suffix(".part")
    part.write_text("{\n" + ",\n".join([*lines, f' "history": [\n{rows}\n ]']) + "\n}\n")
    os.replace(part, target)


def _short(row: dict[str, float]) -> dict[str, float]:
    names = ("epoch", "steps", "seconds", "loss", "val_loss", "val_map50")
    return {name: round(row[name], 4) for name in names if name in row}


def main(arguments: list[str]) -> int:
    name, folder, out, *minutes = arguments
    planned = next(p for p in PLAN if p.name == name)
    if minutes:
        planned = dataclasses.replace(planned, minutes=float(minutes[0]))
    Path(out).mkdir(parents=True, exist_ok=True)
    result = train(planned, read_photographs(Path(folder)), Path(out))
    print(name, result["steps"], "steps,", result["seconds"], "s, test", result["test"]["map50"], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
