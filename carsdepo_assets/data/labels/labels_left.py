"""Finds labels that an earlier version of a label file gave and that the file does not name any more."""

from __future__ import annotations

from collections.abc import Collection

from carsdepo_assets.data.labels.formats import NotReadable
from carsdepo_assets.data.labels.label_classes import LabelClasses
from carsdepo_assets.data.labels.label_reading import photographs_of, read_label_file
from carsdepo_assets.lake.annotations import latest_revisions
from carsdepo_assets.lake.lake import Lake, ObjectMissing
from carsdepo_assets.policy import ClassMap


def labels_left(lake: Lake, keys: Collection[str], class_map: ClassMap) -> dict[str, set[str]]:
    """The photographs whose labels are those of an earlier version of a label file, which does not name them now.

    Their labels count on: a file that says nothing of a photograph may be one that was cut to what is new.

    Args:
        lake: where the files and their labels are.
        keys: of label files that were replaced.
        class_map: the policy's.

    Returns:
        Ids of photographs by key; files without any have no entry.
    """
    own = lake.read("annotations", ["image_id"], [("key", "in", sorted(keys))]) if keys else None
    if own is None or own.num_rows == 0:
        return {}
    columns = ["image_id", "key", "sequence", "created_at", "revision_id", "state"]
    rows = lake.read("annotations", columns, [("image_id", "in", sorted(set(own["image_id"].to_pylist())))])
    counting: dict[str, set[str]] = {}
    for row in latest_revisions(rows).to_pylist():
        if row["key"] in keys:
            counting.setdefault(row["key"], set()).add(row["image_id"])
    classes = LabelClasses(lake, {}, class_map)
    left = {}
    for key, images in counting.items():
        try:
            file = read_label_file(key, None, lake.get(key), classes)
        except (ObjectMissing, NotReadable):
            continue  # it is in quarantine, which says more
        photographs = photographs_of(lake, [file])
        if others := images - {file.photograph(labelled, photographs) for labelled in file.document.photographs}:
            left[key] = others
    return left
