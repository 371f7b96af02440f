"""Which differences between trainings are more than chance: the same photographs, whole groups drawn anew.

`python -m benchmarks.real_photographs.pairs DATA OUT` reads OUT/*.boxes.json and writes OUT/pairs.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.real_photographs.data import CLASSES, Photographs, read_photographs
from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.paired import paired_scores

PAIRS = (
    ("cpu-default", "cpu-anchors"),
    ("cpu-default", "cpu-320"),
    ("cpu-default", "cpu-lite2"),
    ("cpu-default", "cpu-unfrozen"),
    ("gpu-lite2-small-anchors", "gpu-lite2"),
    ("gpu-lite2", "gpu-lite2-512"),
    ("gpu-lite2", "gpu-lite2-varied"),
    ("gpu-lite2-half", "gpu-lite2"),
    ("gpu-lite2-quarter", "gpu-lite2"),
    ("gpu-lite2-varied", "gpu-lite2-varied-alone"),
)


def compare(photographs: Photographs, out: Path, first: str, second: str, split: str) -> dict[str, Any]:
    """mAP@.5 of two trainings on a split, and the interval of the difference."""
    images = photographs.split(split)
    truths = [Truth(image.xyxy, image.classes) for image in images]
    groups = [photographs.group_of[image.image_id] for image in images]
    detections = []
    for name in (first, second):
        boxes = json.loads((out / f"{name}.boxes.json").read_text())[split]
        arrays = [np.array(boxes[image.image_id], float).reshape(-1, 6) for image in images]
        detections.append([Detections(a[:, :4], a[:, 4], a[:, 5].astype(np.int64)) for a in arrays])
    paired = paired_scores(truths, *detections, len(CLASSES), groups, thresholds=(0.5, 0.5)).map50
    figures = {"difference": paired.difference, "low": paired.low, "high": paired.high}
    rounded = {name: None if value is None else round(value, 4) for name, value in figures.items()}
    return {"first": first, "second": second, "split": split, **rounded}


def main(arguments: list[str]) -> int:
    folder, out = map(Path, arguments)
    photographs = read_photographs(folder)
    rows = [compare(photographs, out, *pair, split) for pair in PAIRS for split in ("val", "test")]
    (out / "pairs.json").write_text("[\n" + ",\n".join(f" {json.dumps(row)}" for row in rows) + "\n]\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
