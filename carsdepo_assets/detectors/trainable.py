"""Whether a dataset has enough of everything for a training; looked at before a machine is started for one."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from carsdepo_assets.detectors.training_set import EmptyTrainingSet
from carsdepo_assets.policy import Policy


def check_trainable(manifest: pa.Table, version: str, policy: Policy) -> None:
    """Compares a dataset with the least that policy.training asks for.

    Args:
        manifest: The dataset's.
        version: The dataset's version, for messages.
        policy: Gives the classes and the least numbers.

    Raises:
        EmptyTrainingSet: It has too little, or boxes of classes that are gone from the class map; the message says of
            what, and what to do.
    """
    limits = policy.training
    photographs: Counter[str] = Counter(manifest["split"].to_pylist())
    boxes: dict[str, Counter[int]] = {"train": Counter(), "val": Counter()}
    for split, rows in zip(manifest["split"].to_pylist(), manifest["boxes"].to_pylist(), strict=True):
        if split in boxes:
            boxes[split].update(box["class_id"] for box in rows or ())
    n_train, names = photographs["train"], policy.class_map.names
    if n_train < max(1, limits.min_photographs):
        raise EmptyTrainingSet(
            f"dataset {version} has {n_train} {'photograph' if n_train == 1 else 'photographs'} in split train, and a "
            f"training needs {max(1, limits.min_photographs)} (policy.training.min_photographs): import labelled "
            "photographs of more cars."
        )
    strange = sorted((boxes["train"].keys() | boxes["val"].keys()) - set(range(len(names))))
    if strange:
        raise EmptyTrainingSet(
            f"dataset {version} has boxes of class id {strange[0]}, and the class map has {len(names)} "
            f"{'class' if len(names) == 1 else 'classes'}: {', '.join(names)}. It only grows: put the names back that "
            "it had, in their order (policy.class_map.names)."
        )
    if not boxes["train"]:
        raise EmptyTrainingSet(
            f"dataset {version}: the labels of all {n_train} training photographs are empty, and nothing can be "
            "learnt from them. Import photographs with labelled damage."
        )
    few = [f"{name} {boxes['train'][i]}" for i, name in enumerate(names) if boxes["train"][i] < limits.min_class_boxes]
    if few:
        raise EmptyTrainingSet(
            f"dataset {version}: too few boxes in split train of {', '.join(few)}; a training needs "
            f"{limits.min_class_boxes} of each class (policy.training.min_class_boxes), or it never predicts them. "
            "Import labels of these classes, or set the policy's value to 0 to train on the others."
        )
    n_val = boxes["val"].total()
    if n_val < limits.min_val_boxes:
        raise EmptyTrainingSet(
            f"dataset {version} has {n_val} labelled boxes on {photographs['val']} photographs of split val, and a "
            f"model's threshold is chosen on {limits.min_val_boxes} at least (policy.training.min_val_boxes): import "
            "labelled photographs of more cars, or set the policy's value to 0 to train without."
        )
