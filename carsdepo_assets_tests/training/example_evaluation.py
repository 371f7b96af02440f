"""Trainings that take no time: what a recipe would make of the photographs is decided by the test.

They stand at the two seams that exist: the compute target, which runs the worker, and `catalogue.load_model`, which
gives the predictor of stored weights. All between is the product's own: dataset, recipe, evaluation, registry, ledger.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from carsdepo_assets.compute.here import run_here
from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.compute.target import Verb
from carsdepo_assets.detectors import catalogue
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.signals import StepSignals
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import folder
from carsdepo_assets.lake.models import ModelCard, digest_of, read_card, write_model
from carsdepo_assets.lake.training_findings import write_diagnosis
from carsdepo_assets.scoring.boxes import Detections
from carsdepo_assets.training.diagnosis.diagnosis import Diagnosis, HopelessTraining
from carsdepo_assets.training.worker import TrainingSpec
from carsdepo_assets_tests.detectors.rectangles import DarkestRectangle

Becomes = Literal["good", "blind", "hopeless", "crash"]


class Blind(DarkestRectangle):
    """Finds nothing: mAP@.5 is 0."""

    def _one(self, image: np.ndarray) -> Detections:
        return Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))


class MadeUpTrainings:
    """trained: the recipes of the trainings that began, in order. becomes: what a training by a recipe comes to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, becomes: Callable[[Recipe], Becomes]) -> None:
        self.trained: list[Recipe] = []
        self.becomes = becomes
        trainings = self

        def run(
            target: LocalCompute,
            context: dg.AssetExecutionContext,
            verb: Verb,
            spec: Mapping[str, Any],
            *,
            module: str,
        ) -> dg.MaterializeResult[Any]:
            if verb != "train":  # in this process, where the models are made up
                return run_here(context, module, spec)
            assert module == "carsdepo_assets.training.worker"
            return trainings._train(TrainingSpec.model_validate(spec))

        def load_model(lake: Lake, digest: str, device: str = "cpu") -> tuple[DarkestRectangle, ModelCard]:
            weights = lake.get(f"{folder(digest)}/weights.pt")
            return (Blind() if weights.startswith(b"blind") else DarkestRectangle()), read_card(lake, digest)

        monkeypatch.setattr(LocalCompute, "run", run)
        monkeypatch.setattr(catalogue, "load_model", load_model)

    def _train(self, spec: TrainingSpec) -> dg.MaterializeResult[Any]:
        self.trained.append(spec.recipe)
        what = self.becomes(spec.recipe)
        if what == "hopeless":
            self._diverge(spec)
        if what == "crash":
            raise RuntimeError("the loss is nan")
        weights = f"{what} {spec.recipe.digest()} {spec.dataset_version}".encode()
        card = ModelCard(
            digest=digest_of(weights),
            weights="weights.pt",
            detector=spec.recipe.detector,
            class_names=("scratch", "dent"),
            image_size=spec.recipe.image_size,
            threshold=0.5,
            threshold_from="test",
            dataset_version=spec.dataset_version,
            recipe=spec.recipe.model_dump(mode="json"),
        )
        write_model(Lake.open(spec.lake), weights, card, {"history": []}, b"{}")
        return dg.MaterializeResult(metadata={"digest": card.digest, "epochs": 1})

    def _diverge(self, spec: TrainingSpec) -> None:
        """As a worker whose loss is no number: it leaves its diagnosis, and fails."""
        diagnosis = Diagnosis(spec.policy.training.diagnosis, fresh=True, floor=0.02)
        try:
            diagnosis.stepped(StepSignals(7, math.nan, 0.1, None, None, 0.0, 0.0))
        except HopelessTraining as error:
            write_diagnosis(Lake.open(spec.lake), diagnosis.stored(spec.key(), spec.dagster_run_id))
            raise dg.Failure(f"the worker ended with code 1: {error}") from error


def panel(seed: int) -> tuple[bytes, str]:
    """A PNG of a bright ground with a dark rectangle, and its YOLO label: red is a scratch, black a dent."""
    random = np.random.default_rng(seed)
    width, height = 200, 120
    ground = Image.fromarray(random.integers(140, 256, (6, 8, 3), dtype=np.uint8))
    rgb = np.array(ground.resize((width, height), Image.Resampling.BICUBIC)).clip(120, 255)
    x, y = int(random.integers(5, 130)), int(random.integers(5, 75))
    rgb[y : y + 40, x : x + 60] = (200, 20, 20) if seed % 2 else (20, 20, 20)
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG")
    middle = ((x + 30) / width, (y + 20) / height)
    return (
        out.getvalue(),
        f"{0 if seed % 2 else 1} {middle[0]:.6f} {middle[1]:.6f} {60 / width:.6f} {40 / height:.6f}\n",
    )
