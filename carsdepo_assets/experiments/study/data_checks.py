"""Whether a dataset can tell recipes apart: looked at before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from carsdepo_assets.detectors.trainable import check_trainable
from carsdepo_assets.detectors.training_set import EmptyTrainingSet
from carsdepo_assets.experiments.study.errors import StudyError
from carsdepo_assets.lake.class_names import ClassNamesChanged, check_class_names
from carsdepo_assets.lake.dataset_files import LOOKED_AT, check_photographs
from carsdepo_assets.lake.datasets import DatasetErased, read_manifest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.queues import Queue
from carsdepo_assets.policy import Policy


@dataclass(frozen=True)
class StudyData:
    """What a study's dataset holds."""

    train: int
    """Photographs to train on."""
    val: int
    """Photographs to score on."""
    boxes: int
    """Labelled boxes on those of val."""
    groups: int
    """Cars on those of val."""
    warnings: tuple[str, ...] = ()
    """What makes the study's result weak, in whole sentences."""


def dataset_of(lake: Lake, version: str, *, whole: bool = False) -> pa.Table:
    """The manifest of a study's dataset.

    Args:
        lake: the lake.
        version: the dataset's.
        whole: every photograph is looked for, and not a part of them.

    Raises:
        StudyError: the dataset, or a photograph of it, is not in the lake any more.
    """
    try:
        manifest = read_manifest(lake, version)
        check_photographs(lake, version, manifest, None if whole else LOOKED_AT)
    except DatasetErased as error:
        raise StudyError(f"The study cannot go on. {error} Then start the study again.") from error
    return manifest


def check_data(lake: Lake, version: str, manifest: pa.Table, policy: Policy, queue: Queue | None = None) -> StudyData:
    """Looks whether the dataset can be trained on and scored on.

    Args:
        lake: the lake.
        version: the dataset's.
        manifest: the dataset's.
        policy: says which classes there are, and what a training needs.
        queue: the labelling queue whose photographs the study is for; None: it is for no queue.

    Raises:
        StudyError: it cannot; the message says what is missing.
    """
    try:
        check_class_names(lake, policy.class_map)
        check_trainable(manifest, version, policy)
    except (ClassNamesChanged, EmptyTrainingSet) as error:
        raise StudyError(f"No study is possible: {error}") from error
    rows = manifest.select(["image_id", "key", "object_key", "split", "group_id", "boxes"]).to_pylist()
    of_split = {name: [r for r in rows if r["split"] == name] for name in ("train", "val")}
    train, val = of_split["train"], of_split["val"]
    train_classes, val_classes = _classes(train), _classes(val)
    if not val_classes:
        raise StudyError(
            f"Dataset {version} has no box in split val: no recipe could be scored. Label photographs with damage of "
            "more cars."
        )
    groups, names, warnings = len({r["group_id"] for r in val}), policy.class_map.names, []
    if lacking := sorted(train_classes - val_classes):
        warnings.append(
            f"No box of {', '.join(_name(names, c) for c in lacking)} is in val: trials are not scored on that."
        )
    if groups < 2:
        warnings.append("All photographs of val show one car: the trials' figures have no interval.")
    if queue is not None:
        warnings += _holds(queue, of_split, version)
    return StudyData(len(train), len(val), sum(len(r["boxes"] or []) for r in val), groups, tuple(warnings))


def _holds(queue: Queue, of_split: Mapping[str, Sequence[Mapping[str, Any]]], version: str) -> list[str]:
    """Whether the dataset holds photographs of the queue, on which the study is to find a better recipe."""
    wanted = {p.image_id for p in queue.photographs}
    held = {name: sum(r["image_id"] in wanted for r in part) for name, part in of_split.items()}
    if not held["train"]:
        raise StudyError(
            f"Dataset {version} has no photograph of labelling queue {queue.queue_id} in its split train: a study on "
            "it would learn nothing of what drifted. Label the queue, then materialize `dataset`."
        )
    if not held["val"]:
        return [f"No photograph of queue {queue.queue_id} is in val: trials are not scored on what drifted."]
    return []


def _classes(rows: Sequence[Mapping[str, Any]]) -> set[int]:
    return {int(box["class_id"]) for row in rows for box in row["boxes"] or []}


def _name(names: Sequence[str], class_id: int) -> str:
    return names[class_id] if class_id < len(names) else f"class {class_id}"
