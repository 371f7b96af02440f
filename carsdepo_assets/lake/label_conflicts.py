"""Labels of one photograph by several annotators: which count for a dataset, as `policy.data.conflicts` says.

An annotator is whom the label file or the import names, else the origin of the labels (yolo, coco and so on). Of one
annotator the latest revision counts, so that who corrects their own labels is in no conflict. What is decided here
looks at photographs of two annotators or more; all others have their latest revision, whatever the policy says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.lake.annotations import labels_only, latest_revisions
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.queues import LABELS
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.agreement import majority_boxes, photograph_agreement
from carsdepo_assets.scoring.boxes import Truth

Row = dict[str, Any]
_DECIMALS = 4  # of a pixel, as label files are read
_EDGES = ("x1", "y1", "x2", "y2")
_ORDER = [
    ("image_id", "ascending"),
    ("sequence", "ascending"),
    ("created_at", "ascending"),
    ("revision_id", "descending"),
]
COLUMNS = ("image_id", "sequence", "created_at", "revision_id", "state", "annotator", "origin", "key", "boxes")
"""The columns of ANNOTATIONS that the functions of this module need."""


@dataclass(frozen=True)
class CountedLabels:
    """The labels that count."""

    rows: pa.Table
    """One row of ANNOTATIONS a photograph, sorted by image_id. Labels that were made of several revisions have their
    ids joined by "+" and everything else but boxes from the latest of them."""
    disputed: Mapping[str, str] = field(default_factory=dict)
    """Why each photograph that is left out is so, by image id; a labelling queue asks for them."""


def labels_that_count(annotations: pa.Table, policy: Policy) -> CountedLabels:
    """Decides which labels count.

    latest: the latest revision of each photograph, whoever made it. majority: a box counts when more than half of the
    photograph's annotators have it. exclude: photographs whose annotators agree by less than policy.data.min_agreement
    are left out. A label that answers a labelling queue settles the dispute that stood before it.

    Args:
        annotations: rows of ANNOTATIONS with COLUMNS; others are kept.
        policy: the sections data (conflicts, min_agreement) and evaluation (iou) are used.
    """
    latest = latest_revisions(annotations)
    if policy.data.conflicts == "latest":
        return CountedLabels(latest)
    several = of_several_annotators(annotations)
    if several.num_rows == 0:
        return CountedLabels(latest)
    rows: list[Row] = []
    disputed: dict[str, str] = {}
    for image_id, revisions in _by_photograph(several):
        row = _decided(revisions, policy)
        if isinstance(row, str):
            disputed[image_id] = row
        else:
            rows.append(row)
    others = latest.filter(pc.invert(pc.is_in(latest["image_id"], value_set=several["image_id"].unique())))
    decided = pa.Table.from_pylist(rows, schema=latest.schema)
    return CountedLabels(pa.concat_tables([others, decided]).sort_by("image_id"), disputed)


def of_several_annotators(annotations: pa.Table) -> pa.Table:
    """The revisions of photographs that two annotators or more have labelled, in order of commit, oldest first.

    Args:
        annotations: rows of ANNOTATIONS with COLUMNS; others are kept.
    """
    annotations = labels_only(annotations)
    pairs = pa.table({"image_id": annotations["image_id"], "annotator": _annotators(annotations)})
    counted = pairs.group_by("image_id").aggregate([("annotator", "count_distinct")])
    ids = counted.filter(pc.greater(counted["annotator_count_distinct"], 1))["image_id"].combine_chunks()
    return annotations.filter(pc.is_in(annotations["image_id"], value_set=ids)).sort_by(_ORDER)


def annotator_of(row: Mapping[str, Any]) -> str:
    """Who made a revision: the annotator that it names, else its origin."""
    return str(row["annotator"] or row["origin"])


def latest_by_annotator(several: pa.Table) -> dict[str, dict[str, Row]]:
    """Each annotator's latest revision, by image id and annotator.

    Args:
        several: what `of_several_annotators` gave.
    """
    return {image_id: {annotator_of(row): row for row in revisions} for image_id, revisions in _by_photograph(several)}


def truth_of(row: Mapping[str, Any]) -> Truth:
    """The boxes of a revision as arrays."""
    boxes = row["boxes"] or []
    xyxy = np.array([[box[edge] for edge in _EDGES] for box in boxes], float).reshape(-1, 4)
    return Truth(xyxy, np.array([box["class_id"] for box in boxes], np.int64))


def disputed_photographs(lake: Lake, policy: Policy) -> dict[str, str]:
    """Why each photograph that conflicts keep out of datasets is disputed, by image id; none under `latest`."""
    if policy.data.conflicts == "latest":
        return {}
    return dict(labels_that_count(lake.read("annotations", columns=COLUMNS), policy).disputed)


def _annotators(annotations: pa.Table) -> pa.ChunkedArray:
    named = pc.not_equal(annotations["annotator"], "")
    return pc.if_else(pc.fill_null(named, False), annotations["annotator"], annotations["origin"])


def _by_photograph(several: pa.Table) -> Iterator[tuple[str, list[Row]]]:
    revisions: list[Row] = []
    for row in several.to_pylist():
        if revisions and row["image_id"] != revisions[0]["image_id"]:
            yield revisions[0]["image_id"], revisions
            revisions = []
        revisions.append(row)
    if revisions:
        yield revisions[0]["image_id"], revisions


def _decided(revisions: list[Row], policy: Policy) -> Row | str:
    """The row that counts, or why none does."""
    standing: dict[str, Row] = {}
    for row in revisions:
        if len(standing) > 1 and row["key"].startswith(f"{LABELS}/") and isinstance(_resolved(standing, policy), str):
            standing = {}  # the queue asked for it, as these disagree
        standing.pop(annotator_of(row), None)
        standing[annotator_of(row)] = row
    return _resolved(standing, policy)


def _resolved(standing: Mapping[str, Row], policy: Policy) -> Row | str:
    """Of the latest revisions by annotator, in order of commit."""
    rows = list(standing.values())
    if len(rows) == 1:
        return rows[0]
    labellings, iou = [truth_of(row) for row in rows], policy.evaluation.iou
    who = " and ".join(sorted(standing))
    if policy.data.conflicts == "exclude":
        agreement = photograph_agreement(labellings, iou)
        if agreement >= policy.data.min_agreement:
            return rows[-1]
        return f"{who} agree by {agreement:.2f}, less than {policy.data.min_agreement:g}"
    counted = majority_boxes(labellings, iou)
    if counted is None:
        return f"no box, and no clean photograph either, has more than half of {who}"
    boxes = [
        {"class_id": class_id, **dict(zip(_EDGES, (round(edge, _DECIMALS) for edge in xyxy), strict=True))}
        for class_id, xyxy in zip(counted.classes.tolist(), counted.xyxy.tolist(), strict=True)
    ]
    return rows[-1] | {"boxes": boxes, "revision_id": "+".join(sorted({row["revision_id"] for row in rows}))}
