"""The contract of a family, from the training to the service; families of other packages can run it too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carsdepo_assets.detectors.base import Interrupted, Progress, Recipe
from carsdepo_assets.detectors.catalogue import get_detector
from carsdepo_assets.detectors.checkpoints import DetectorError, read_weights, write_weights
from carsdepo_assets.detectors.export.export_card import ExportCard
from carsdepo_assets.detectors.export.export_model import export_model
from carsdepo_assets.detectors.export.runtimes import load_served
from carsdepo_assets.families.registry import family_of
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import read_card, weights_path
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.lineage import read_lineage
from carsdepo_assets.training.checkpoint_store import CheckpointStore
from carsdepo_assets.training.train_detector import fit
from carsdepo_assets.training.worker import TrainingSpec, train
from carsdepo_assets_tests.detectors.detector_contract import check_predictions
from carsdepo_assets_tests.detectors.stored_models import photographs
from carsdepo_assets_tests.lake.stored_model import stored_model
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset

NAMES, SIDE, STEPS = ("scratch", "dent"), 64, 2


class Heard:
    """What a worker reports."""

    def __init__(self) -> None:
        self.results: list[Mapping[str, Any]] = []

    def log(self, line: str) -> None: ...

    def report(self, result: Mapping[str, Any], data_version: str) -> None:
        self.results.append(result)


@dataclass
class Model:
    """A model that the contract trained, and where."""

    lake: Lake
    digest: str


def recipe_of(family: str, **changes: Any) -> Recipe:
    base = {"detector": family, "image_size": SIDE, "batch": 4, "epochs": 9, "steps": STEPS, "seed": 1}
    return Recipe.model_validate({**base, "extra": {"threads": 1}, **changes})


def check_training(family: str, folder: Path, **changes: Any) -> Model:
    """A worker's training that was interrupted after its first step is gone on from, and leaves a whole model."""
    lake = Lake.open(folder / "lake")
    recipe = recipe_of(family, **changes)
    spec = TrainingSpec(lake=lake.url, dataset_version=tiny_dataset(lake), recipe=recipe)
    work = folder / "work"

    def interrupt(progress: Progress) -> None:
        assert progress.steps == 1
        raise Interrupted(1)

    with pytest.raises(Interrupted):
        fit(lake, spec.dataset_version, recipe, spec.policy, work, lambda row: None, watch=interrupt)
    assert not (work / "weights.pt").exists()
    heard = Heard()
    train(spec, work, CheckpointStore(lake, spec.key(), work, heard.log), heard)
    [result] = heard.results
    assert (result["detector"], result["steps"], result["planned_steps"]) == (family, STEPS, STEPS)
    [row] = result["history"]
    assert np.isfinite(row["loss"])
    assert "val_map50" in row
    assert np.isfinite(row["lr"])
    digest = str(result["digest"])
    card, lineage = read_card(lake, digest), read_lineage(lake, digest)
    assert (card.detector, card.class_names, card.image_size) == (family, NAMES, SIDE)
    assert Recipe.model_validate(card.recipe) == recipe
    assert (lineage.detector, lineage.recipe_digest) == (family, recipe.digest())
    assert set(family_of(family).libraries) <= lineage.environment.keys()
    check_predictions(get_detector(family).load(weights_path(lake, card), NAMES, SIDE))
    return Model(lake, digest)


def check_champion(family: str, model: Model, folder: Path, side: int, classes: tuple[str, ...]) -> dict[str, Any]:
    """A training from the model's weights at another input size and with a class map that grew; its state before a
    step. In another order of the classes it is refused."""
    weights = str(weights_path(model.lake, read_card(model.lake, model.digest)))
    recipe = recipe_of(family, init=weights, image_size=side)
    state = initial_state(family, recipe, classes)
    given = read_weights(Path(weights), family)["state"]
    heads = get_detector(family).heads  # type: ignore[attr-defined]
    fresh = []
    for name, tensor in state.items():
        rows = next((h for h in heads if re.fullmatch(h.names, name)), None)
        first = tensor.shape[0] if rows is None and tensor.ndim else None
        if rows is not None:
            first = (rows.before + len(NAMES)) * rows.each
            fresh.append(name)
        known, before = (tensor, given[name]) if first is None else (tensor[:first], given[name][:first])
        assert bool((known == before).all()), name
    assert fresh
    with pytest.raises(DetectorError, match="not the first of"):
        initial_state(family, recipe, classes[::-1])
    return state


def initial_state(family: str, recipe: Recipe, classes: tuple[str, ...]) -> dict[str, Any]:
    """The tensors of a model before its first step."""
    return dict(get_detector(family).initial_model(recipe, classes).state_dict())  # type: ignore[attr-defined]


def check_export(family: str, model: Model, folder: Path) -> ExportCard:
    """Both runtimes give torch's boxes, and what is served gives them too."""
    digest = louder(family, model)
    card = export_model(model.lake, digest, Policy(), photographs())
    for name in ("onnxruntime", "openvino"):
        figures = card.runtimes[name]
        assert figures.available, figures.reason
        assert figures.parity is not None
        assert figures.parity.reference_boxes > 0
        assert figures.parity.share is not None
        assert figures.parity.share >= 0.98, figures.parity
    served = load_served(model.lake, digest, Policy(), runtime="onnxruntime")
    check_predictions(served.predictor)
    assert served.card.detector == family
    return card


def louder(family: str, model: Model) -> str:
    """The model with the biases of its classes turned up, so that a training of two steps finds boxes to compare."""
    lake, detector = model.lake, get_detector(family)
    state = read_weights(weights_path(lake, read_card(lake, model.digest)), family)["state"]
    path = Path(str(lake.root), "louder.pt")
    for shift in (4.0, 7.0, 10.0, 15.0, 20.0, 30.0):
        turned_up = dict(state)
        for rows in detector.heads:  # type: ignore[attr-defined]
            for name in state:
                if name.endswith("bias") and rows.each == 1 and re.fullmatch(rows.names, name):
                    turned_up[name] = state[name].clone()
                    turned_up[name][rows.before :] += shift
        write_weights(path, family, turned_up, NAMES, SIDE)
        predictor = detector.load(path, NAMES, SIDE)
        if all(len(found) for found in predictor.predict(list(photographs()), min_score=0.1)):
            break
    return stored_model(
        lake, path.read_bytes(), weights="weights.pt", detector=family, class_names=NAMES, image_size=SIDE
    )
