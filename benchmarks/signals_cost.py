"""What the signals and rules of a training's diagnosis cost, as a share of the training's CPU time; the limit is 2 %.

Every call that a loop makes for them is timed where it happens, in CPU seconds of the process, and so is the whole
training: a share within one training does not hang on how busy the machine is. Faster R-CNN's validation loss, which is
reported as a figure too, has a row of its own and no limit. About 3 minutes on two quiet cores.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.temporary_home import temporary_home

PHOTOGRAPHS, SEED, STEPS, LIMIT = 48, 5, 60, 0.02


def run() -> list[dict[str, Any]]:
    """Rows for each family: CPU time of the diagnosis, and of the validation loss, over that of the training."""
    print("2 trainings of 60 steps, about 3 minutes on two cores.")
    from benchmarks.rendered_set import rendered_set
    from carsdepo_assets.demo.sample.write import write_sample

    with temporary_home() as settings:
        os.environ.update(settings.variables())
        write_sample(settings.home / "sample", PHOTOGRAPHS, SEED)
        data = rendered_set(settings.home / "sample", 320)
        return [row for name in ("yolov8n", "faster_rcnn") for row in _rows(data, name, settings.home / name)]


@contextmanager
def _timed(*places: tuple[type, str]) -> Iterator[list[float]]:
    """The CPU seconds of every call of some methods."""
    spent: list[float] = []

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            started = time.process_time()
            try:
                return method(*args)
            finally:
                spent.append(time.process_time() - started)

        return call

    before = [(owner, name, getattr(owner, name)) for owner, name in places]
    for owner, name, method in before:
        setattr(owner, name, timed(method))
    try:
        yield spent
    finally:
        for owner, name, method in before:
            setattr(owner, name, method)


def _rows(data: Any, detector: str, out: Path) -> list[dict[str, Any]]:
    from carsdepo_assets.detectors.base import Recipe
    from carsdepo_assets.detectors.catalogue import get_detector
    from carsdepo_assets.detectors.signals import BoxMeter, Meter
    from carsdepo_assets.detectors.training_loop import TrainingLoop
    from carsdepo_assets.policy_diagnosis import DiagnosisPolicy
    from carsdepo_assets.training.diagnosis.diagnosis import Diagnosis

    init = "imagenet" if detector == "faster_rcnn" else "scratch"
    recipe = Recipe(detector=detector, init=init, image_size=160, steps=STEPS, epochs=1000, seed=1)
    diagnosis = Diagnosis(DiagnosisPolicy(stop_hopeless=False), fresh=True, floor=0.02)
    calls = [(Meter, name) for name in ("waiting", "computing", "gradients", "stepped", "validated")]
    boxes = [(BoxMeter, name) for name in ("add", "signals")]
    with _timed(*calls, *boxes) as signals, _timed((TrainingLoop, "_measured_val_loss")) as losses:
        started = time.process_time()
        trained = get_detector(detector).train(data, recipe, out, lambda row: None, signals=diagnosis)
        whole = time.process_time() - started
    name, share = f"{detector} at 160 px, {STEPS} steps of 8", sum(signals) / whole
    rows: list[dict[str, Any]] = [
        {
            "name": f"{name}: diagnosis over the training's CPU time",
            "value": share,
            "unit": "share",
            "against": f"at most {LIMIT:g}, of {whole:.0f} CPU s of the whole training",
            "ratio": round(share / LIMIT, 2),
            "holds": share <= LIMIT,
        }
    ]
    if losses:
        n_train, n_val = (len(data.split(split)) for split in ("train", "val"))
        rows.append(
            {
                "name": f"{name}: validation loss over the training's CPU time",
                "value": sum(losses) / whole,
                "unit": "share",
                "against": f"no limit; {len(losses)} epochs of {n_train} photographs, {n_val} of val: "
                f"{sum(losses) / len(losses):.2f} CPU s an epoch",
                "ratio": None,
                "holds": trained.steps == STEPS,
            }
        )
    return rows
