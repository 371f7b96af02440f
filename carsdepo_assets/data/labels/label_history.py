"""The history of one photograph's labels: who made each revision, what it changed, which counts, and where."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.data.folders.photograph_names import is_stem_of
from carsdepo_assets.lake import datasets
from carsdepo_assets.lake.annotations import UNREVIEWED, WITHDRAWN
from carsdepo_assets.lake.label_conflicts import annotator_of, labels_that_count, truth_of
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.parquet import read_parquet
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.agreement import matching_boxes
from carsdepo_assets.scoring.boxes import Truth, pairwise_iou

Row = dict[str, Any]
_UPLOADS = "raw/uploads/"
_SHORTEST_ID = 6  # digits
_SHOWN = 10  # photographs of a name that is not unique


class NoSuchPhotograph(LookupError):
    """No photograph is called so, or several are; the message lists them."""


def find_photograph(lake: Lake, name: str) -> str:
    """The id of a photograph.

    Args:
        lake: whose tables are read.
        name: its id or the first digits of it, the key under which it was uploaded, the end of that, or its file name.

    Raises:
        NoSuchPhotograph: There is none, or there are several.
    """
    images = lake.read("images", columns=["image_id"])["image_id"]
    if re.fullmatch(f"[0-9a-f]{{{_SHORTEST_ID},64}}", name):
        by_id = images.filter(pc.starts_with(images, name)).to_pylist()
        if len(by_id) == 1:
            return str(by_id[0])
    uploads = lake.read("uploads", columns=["key", "sha256"])
    uploads = uploads.filter(pc.is_in(uploads["sha256"], value_set=images.combine_chunks()))
    key = _UPLOADS + name.removeprefix(_UPLOADS).lstrip("/")
    for chosen in (pc.equal(uploads["key"], key), pc.ends_with(uploads["key"], "/" + name.lstrip("/"))):
        matching = {row["sha256"]: row["key"] for row in uploads.filter(chosen).to_pylist()}
        if len(matching) == 1:
            return str(next(iter(matching)))
        if matching:
            ids = [f"{image_id} ({key})" for image_id, key in sorted(matching.items())]
            more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
            raise NoSuchPhotograph(f"{len(ids)} photographs are called {name}: {', '.join(ids[:_SHOWN])}{more}.")
    stems = sorted(str(one) for one in uploads["key"].to_pylist() if is_stem_of(name, str(one)))
    meant = f" Is it {' or '.join(dict.fromkeys(stems[:5]))}?" if stems else ""
    raise NoSuchPhotograph(
        f"no photograph in {lake.url} has the id, key or file name {name!r}.{meant} Give the first digits of its id, "
        "or its path below raw/uploads."
    )


def label_history(lake: Lake, image_id: str, policy: Policy) -> dict[str, Any]:
    """All revisions of a photograph's labels.

    Args:
        lake: whose tables are read.
        image_id: of the photograph.
        policy: the sections data (conflicts), evaluation (iou) and class_map are used.

    Returns:
        image_id; keys under which it was uploaded; revisions in order of commit, each with what it changed against the
        label before it and whether it counts; disputed: why none counts, or None; datasets that hold the photograph.
    """
    annotations = lake.read("annotations")
    annotations = annotations.filter(pc.equal(annotations["image_id"], image_id))
    counted = labels_that_count(annotations, policy)
    counting = {i for joined in counted.rows["revision_id"].to_pylist() for i in joined.split("+")}
    uploads = lake.read("uploads", columns=["key", "sha256"])
    keys = uploads.filter(pc.equal(uploads["sha256"], image_id))["key"].to_pylist()
    rows = sorted(annotations.to_pylist(), key=lambda r: (r["sequence"], r["created_at"]))
    return {
        "image_id": image_id,
        "keys": sorted(set(keys)),
        "revisions": list(_revisions(rows, counting, policy)),
        "disputed": counted.disputed.get(image_id),
        "datasets": list(_datasets(lake, image_id)),
    }


def _revisions(rows: Sequence[Row], counting: set[str], policy: Policy) -> Iterator[dict[str, Any]]:
    last = {row["revision_id"]: position for position, row in enumerate(rows)}  # the same boxes may come back
    before: Row | None = None
    for position, row in enumerate(rows):
        is_label = row["state"] not in (UNREVIEWED, WITHDRAWN)
        told = {
            "revision_id": row["revision_id"],
            "at": row["created_at"],
            "by": annotator_of(row),
            "annotator": row["annotator"],
            "origin": row["origin"],
            "key": row["key"],
            "batch_id": row["batch_id"],
            "class_map_version": row["class_map_version"],
            "state": row["state"] or "reviewed",
            "boxes": [_told(box, policy) for box in row["boxes"] or []],
            "negatives": row["negatives"] or [],
            "counts": is_label and row["revision_id"] in counting and last[row["revision_id"]] == position,
            "change": None,
        }
        if is_label:
            told["change"] = changes(truth_of(before or {"boxes": []}), truth_of(row), policy)
            before = row
        yield told


def changes(before: Truth, after: Truth, policy: Policy) -> dict[str, list[dict[str, Any]]]:
    """What one labelling changed against another: boxes added and removed, moved (with IoU), and of another class.

    Args:
        before: the boxes of one labelling.
        after: the boxes of the other one.
        policy: the sections evaluation (iou, from which a box is the same one) and class_map are used.
    """
    iou = policy.evaluation.iou
    same = matching_boxes(before, after, iou)
    rest = [_without(before, {row for row, _ in same}), _without(after, {column for _, column in same})]
    renamed = [
        (rest[0][row], rest[1][column])
        for row, column in matching_boxes(_part(before, rest[0]), _part(after, rest[1]), iou, same_class=False)
    ]
    overlaps = pairwise_iou(before.xyxy, after.xyxy)
    return {
        "added": [_box(after, i, policy) for i in rest[1] if i not in {new for _, new in renamed}],
        "removed": [_box(before, i, policy) for i in rest[0] if i not in {old for old, _ in renamed}],
        "moved": [
            _box(after, new, policy) | {"before": before.xyxy[old].tolist(), "iou": round(float(overlaps[old, new]), 4)}
            for old, new in sorted(same)
            if (before.xyxy[old] != after.xyxy[new]).any()
        ],
        "renamed": [
            _box(after, new, policy) | {"before": _name(int(before.classes[old]), policy)} for old, new in renamed
        ],
    }


def _without(truth: Truth, taken: set[int]) -> list[int]:
    return [position for position in range(len(truth)) if position not in taken]


def _part(truth: Truth, positions: Sequence[int]) -> Truth:
    return Truth(truth.xyxy[list(positions)], truth.classes[list(positions)])


def _box(truth: Truth, position: int, policy: Policy) -> dict[str, Any]:
    return {"class": _name(int(truth.classes[position]), policy), "box": truth.xyxy[position].tolist()}


def _told(box: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    return {"class": _name(box["class_id"], policy), "box": [box[edge] for edge in ("x1", "y1", "x2", "y2")]}


def _name(class_id: int, policy: Policy) -> str:
    names = policy.class_map.names
    return names[class_id] if class_id < len(names) else str(class_id)


def _datasets(lake: Lake, image_id: str) -> Iterator[dict[str, Any]]:
    newest = datasets.latest(lake)
    for version in datasets.versions(lake):
        manifest: pa.Table = read_parquet(
            lake.get(datasets.manifest_key(version)), columns=["image_id", "split", "revision_id"]
        )
        for row in manifest.filter(pc.equal(manifest["image_id"], image_id)).to_pylist():
            yield {
                "version": version,
                "split": row["split"],
                "revisions": row["revision_id"].split("+"),
                "newest": version == newest,
            }
