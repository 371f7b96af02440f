"""Tiny real trainings under the eyes of a diagnosis, for tests of seeded faults and of healthy trainings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from carsdepo_assets.detectors.base import Recipe, TrainingImage, TrainingSet
from carsdepo_assets.detectors.catalogue import get_detector
from carsdepo_assets.lake.training_findings import TrainingFinding
from carsdepo_assets.policy_diagnosis import DiagnosisPolicy
from carsdepo_assets.training.diagnosis.diagnosis import Diagnosis, HopelessTraining, starts_fresh
from carsdepo_assets_tests.detectors.scenes import scenes

# As the built-in policy, for trainings of some dozen steps.
SHORT = DiagnosisPolicy(window=20, samples=3, gradients_every=3, loss_patience=40)


@dataclass
class Ending:
    """What came of a training."""

    diagnosis: Diagnosis
    stopped_by: TrainingFinding | None
    steps: int

    @property
    def names(self) -> set[str]:
        return {f.name for f in self.diagnosis.findings}

    def __getitem__(self, name: str) -> TrainingFinding:
        return self.diagnosis.by_name[name]


def recipe(detector: str, steps: int, **changes: object) -> Recipe:
    usual = {
        "detector": detector,
        "init": "imagenet" if detector == "faster_rcnn" else "scratch",
        "image_size": 64,
        "batch": 2,
        "epochs": 1000,
        "steps": steps,
        "extra": {},
    }
    made = Recipe.model_validate(usual | changes)
    return made.model_copy(update={"extra": {"threads": 1, **made.extra}})  # machines that run tests are shared


def train(data: TrainingSet, how: Recipe, out: Path, policy: DiagnosisPolicy = SHORT, *, floor: float = 0.02) -> Ending:
    diagnosis = Diagnosis(policy, fresh=starts_fresh(how.init), floor=floor)
    stopped_by = None
    try:
        get_detector(how.detector).train(data, how, out, lambda row: None, signals=diagnosis)
        diagnosis.ended()
    except HopelessTraining as stop:
        stopped_by = stop.finding
    return Ending(diagnosis, stopped_by, diagnosis.record.step)


def changed(data: TrainingSet, split: str, change: Callable[[TrainingImage], TrainingImage]) -> TrainingSet:
    """The set with every image of a split changed."""
    return replace(data, images=[change(i) if i.split == split else i for i in data.images])


def balanced(folder: Path, n_train: int = 8, n_val: int = 6, **size: int) -> TrainingSet:
    return scenes(folder, n_train, n_val, **size)


def noise(folder: Path, n_train: int, n_val: int) -> TrainingSet:
    """Photographs of noise with boxes anywhere: nothing can be learnt but the photographs themselves."""
    folder.mkdir(parents=True)
    images = []
    for number, split in enumerate(["train"] * n_train + ["val"] * n_val):
        random = np.random.default_rng(number)
        path = folder / f"{number}.png"
        blocks = random.integers(0, 255, (12, 12, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(blocks, (96, 96), interpolation=cv2.INTER_NEAREST))
        corners = random.uniform(0, 60, 2)
        box = np.array([[*corners, *(corners + random.uniform(16, 34, 2))]])
        images.append(TrainingImage(f"noise/{number}", path, 96, 96, split, box, np.array([number % 2])))
    return TrainingSet(("scratch", "dent"), images)


def classes_of(images: Sequence[TrainingImage]) -> list[int]:
    return [int(c) for i in images for c in i.classes]
