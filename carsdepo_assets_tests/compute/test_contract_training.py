"""training/worker.py at every compute target: one dataset, recipe and seed give one model, told apart by place."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.compute.target import ComputeTarget
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import folder
from carsdepo_assets.training.worker import TrainingSpec, spec_json
from carsdepo_assets_tests.compute.contract_targets import LAKE, TARGETS
from carsdepo_assets_tests.compute.sagemaker_cases import materialized
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset

Target = Callable[[], AbstractContextManager[ComputeTarget]]


def trained(make: Target) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the materialization's metadata, the model's lineage)."""
    with make() as target:
        lake = Lake.open(LAKE)
        recipe = Recipe(detector="yolov8n", image_size=64, epochs=2, batch=4, seed=1)
        spec = TrainingSpec(lake=LAKE, dataset_version=tiny_dataset(lake), recipe=recipe)

        @dg.asset
        def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            return target.run(context, "train", spec_json(spec), module="carsdepo_assets.training.worker")

        result = materialized(model)
        assert result.success, result.error
        lineage = json.loads(lake.get(f"{folder(result.metadata['digest'])}/lineage.json"))
    return result.metadata, lineage


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_real_trainer_makes_the_same_model_everywhere() -> None:
    (here, lineage), *others = [trained(make) for make in TARGETS.values()]
    for name, (metadata, other) in zip(list(TARGETS)[1:], others, strict=True):
        assert metadata["digest"] == here["digest"]
        assert metadata["place"] == name
        assert _common(other) == _common(lineage)
        assert other["environment"]["place"] == name


def _common(lineage: dict[str, Any]) -> dict[str, Any]:
    """All but the time, the place, and `git describe`, which a file written meanwhile makes dirty."""
    environment = {k: v for k, v in lineage["environment"].items() if k != "place"}
    code = lineage["code"]["source_digest"]
    return {**{k: v for k, v in lineage.items() if k != "created_at"}, "environment": environment, "code": code}
