"""A lake with photographs, labels, a dataset and the record of a model that was trained on it."""

from __future__ import annotations

from carsdepo_assets.data.datasets.dataset import Dataset
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, digest_of, write_model
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.lineage import Lineage, build_lineage
from carsdepo_assets_tests.data.small_lake import RULES, car, dataset, label, upload

CARS = 6
BOX = "0 0.5 0.5 0.4 0.4\n"


def photographs_and_labels(lake: Lake, cars: int = CARS) -> Dataset:
    """Photographs car0.jpg ... of a car each, the last one without damage."""
    upload(lake, {f"car{i}.jpg": car(i) for i in range(cars)})
    label(lake, {f"car{i}.txt": BOX if i < cars - 1 else "" for i in range(cars)})
    return dataset(lake)


def lineage_of(lake: Lake, made: Dataset, policy: Policy = RULES, **changes: object) -> Lineage:
    fields = {
        "digest": "d" * 16,
        "dataset_version": made.version,
        "detector": "yolov8n",
        "recipe": {"detector": "yolov8n", "init": "scratch"},
        "recipe_digest": "r",
        "policy_digest": policy.digest(),
        "environment": {"threads": "1"},
        "policy": policy.model_dump(mode="json"),
    }
    return build_lineage(lake, **(fields | changes))  # type: ignore[arg-type]


def stored_model(lake: Lake, made: Dataset, weights: bytes = b"weights", **changes: object) -> Lineage:
    """A whole model of weights that no detector reads."""
    lineage = lineage_of(lake, made, **({"digest": digest_of(weights)} | changes))  # type: ignore[arg-type]
    card = ModelCard(
        digest=lineage.digest,
        weights="weights.pt",
        detector=lineage.detector,
        class_names=("scratch", "dent"),
        image_size=64,
        threshold=0.5,
        threshold_from="test",
        dataset_version=made.version,
        recipe=lineage.recipe,
    )
    result = {"history": [], "steps": 3, "epochs": 1}
    write_model(lake, weights, card, result, lineage.model_dump_json().encode())
    return lineage
