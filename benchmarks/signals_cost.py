"""What the signals and rules of a training's diagnosis cost, as a share of its steps' CPU time; the limit is 2 %.

Every call that a loop makes of its meter is timed where it happens, in CPU seconds of the process, and so is the whole
step: a share within one training does not hang on how busy the machine is. About 3 minutes on two quiet cores.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.temporary_home import temporary_home

PHOTOGRAPHS, SEED, STEPS, LIMIT = 48, 5, 60, 0.02


def run() -> list[dict[str, Any]]:
    """A row for each family: CPU time inside the meter over that of all steps."""
    print("2 trainings of 60 steps, about 3 minutes on two cores.")
    from benchmarks.rendered_set import rendered_set
    from carsdepo_assets.demo.sample.write import write_sample

    with temporary_home() as settings:
        os.environ.update(settings.variables())
        write_sample(settings.home / "sample", PHOTOGRAPHS, SEED)
        data = rendered_set(settings.home / "sample", 320)
        return [_row(data, detector, settings.home / detector) for detector in ("yolov8n", "faster_rcnn")]


def _row(data: Any, detector: str, out: Path) -> dict[str, Any]:
    from carsdepo_assets.detectors.base import Recipe
    from carsdepo_assets.detectors.catalogue import get_detector
    from carsdepo_assets.detectors.signals import Meter
    from carsdepo_assets.policy_diagnosis import DiagnosisPolicy
    from carsdepo_assets.training.diagnosis.diagnosis import Diagnosis

    spent = 0.0

    def timed(method: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any) -> None:
            nonlocal spent
            started = time.process_time()
            method(*args)
            spent += time.process_time() - started

        return call

    names = ("waiting", "computing", "gradients", "stepped", "validated")
    before = {name: getattr(Meter, name) for name in names}
    for name in names:
        setattr(Meter, name, timed(before[name]))
    try:
        init = "imagenet" if detector == "faster_rcnn" else "scratch"
        recipe = Recipe(detector=detector, init=init, image_size=160, steps=STEPS, epochs=1000, seed=1)  # type: ignore[arg-type]
        diagnosis = Diagnosis(DiagnosisPolicy(stop_hopeless=False), fresh=True, floor=0.02)
        started = time.process_time()
        get_detector(detector).train(data, recipe, out, lambda row: None, signals=diagnosis)
        whole = time.process_time() - started
    finally:
        for name, method in before.items():
            setattr(Meter, name, method)
    return {
        "name": f"{detector} at 160 px, {STEPS} steps of 8: diagnosis over the training's CPU time",
        "value": spent / whole,
        "unit": "share",
        "against": f"at most {LIMIT:g}, of {whole:.0f} CPU s of the whole training",
        "ratio": round(spent / whole / LIMIT, 2),
        "holds": spent / whole <= LIMIT,
    }
