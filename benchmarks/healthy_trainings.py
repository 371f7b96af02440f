"""Twenty healthy trainings on rendered photographs raise no finding: two families, sizes, seeds and lengths.

It plans about 30 minutes of two cores and says so first. Each training is kept in `healthy_trainings-VERSION.jsonl` of
the folder CARSDEPO_BENCHMARKS (default: the folder of temporary files) as soon as it is done, and not repeated; VERSION
is that of the rules and the detectors. A row's value is the number of findings, whose limit is 0.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.temporary_home import temporary_home
from carsdepo_assets.orchestration.code_version import code_version_of

CODE = ("carsdepo_assets.training.diagnosis.diagnosis", "carsdepo_assets.detectors.catalogue")
PHOTOGRAPHS, SEED, MINUTES, LONGEST_SIDE = 160, 33, 30, 320
# Family, input size, seed, optimizer steps, learning rate.
PLAN = [
    *(("yolov8n", size, seed, steps, 1e-3) for size in (96, 160) for seed in (1, 2, 3) for steps in (150, 300)),
    *(("faster_rcnn", size, seed, steps, 1e-3) for size in (96, 160) for seed in (1, 2) for steps in (60, 120)),
]


def run() -> list[dict[str, Any]]:
    """The trainings that are not done yet, one after another; a row each."""
    print(f"{len(PLAN)} trainings, about {MINUTES} minutes on two cores; those that were done before are not repeated.")
    folder = Path(os.environ.get("CARSDEPO_BENCHMARKS", tempfile.gettempdir()))
    kept = folder / f"healthy_trainings-{code_version_of(*CODE)}.jsonl"
    row_by_plan = (
        {tuple(row["plan"]): row for row in map(json.loads, kept.read_text().splitlines())} if kept.exists() else {}
    )
    with temporary_home() as settings:
        os.environ.update(settings.variables())
        data = None
        for number, plan in enumerate(PLAN, 1):
            if plan in row_by_plan:
                continue
            data = data or _data(settings.home / "sample")
            row = _train(data, plan, settings.home / f"training-{number}")
            row_by_plan[plan] = row
            with kept.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{number}/{len(PLAN)} {_named(plan)}: {', '.join(row['findings']) or 'none'}", flush=True)
    rows = [row_by_plan[plan] for plan in PLAN]
    return [
        {
            "name": f"{_named(plan)}, mAP@.5 on val {row['map50']:.2f}: findings",
            "value": len(row["findings"]),
            "unit": ", ".join(row["findings"]) or "none",
            "against": "at most 0",
            "ratio": None,
            "holds": not row["findings"],
        }
        for plan, row in zip(PLAN, rows, strict=True)
    ]


def _named(plan: tuple[str, int, int, int, float]) -> str:
    detector, size, seed, steps, lr = plan
    return f"{detector} at {size} px, seed {seed}, {steps} steps, lr {lr:g}"


def _data(folder: Path) -> Any:
    """The rendered sample as a training set: every fifth photograph is of val."""
    from benchmarks.rendered_set import rendered_set
    from carsdepo_assets.demo.sample.write import write_sample

    write_sample(folder, PHOTOGRAPHS, SEED)
    return rendered_set(folder, LONGEST_SIDE)


def _train(data: Any, plan: tuple[str, int, int, int, float], out: Path) -> dict[str, Any]:
    from carsdepo_assets.detectors.base import Recipe
    from carsdepo_assets.detectors.catalogue import get_detector
    from carsdepo_assets.policy import Policy
    from carsdepo_assets.training.diagnosis.diagnosis import Diagnosis, starts_fresh

    detector, size, seed, steps, lr = plan
    init = "imagenet" if detector == "faster_rcnn" else "scratch"
    recipe = Recipe(detector=detector, init=init, image_size=size, seed=seed, steps=steps, epochs=1000, lr=lr, batch=8)
    policy = Policy()
    limits = policy.training.diagnosis.model_copy(update={"stop_hopeless": False})
    diagnosis = Diagnosis(limits, fresh=starts_fresh(init), floor=policy.evaluation.floor_map50)
    started = time.process_time()
    trained = get_detector(detector).train(data, recipe, out, lambda row: None, signals=diagnosis)
    diagnosis.ended()
    return {
        "plan": plan,
        "findings": [f.text for f in diagnosis.findings],
        "map50": trained.history[-1].get("val_map50", 0.0),
        "cpu_s": time.process_time() - started,
        "figures": diagnosis.figures(),
        "validations": [
            [v.step, round(v.loss, 3), v.val_loss and round(v.val_loss, 3), v.val_map50]
            for v in diagnosis.record.validations
        ],
    }
