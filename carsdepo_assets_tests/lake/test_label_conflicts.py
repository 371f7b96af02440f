"""lake/label_conflicts.py: which labels of several annotators count, by policy, and what a queue's answer settles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from carsdepo_assets.lake.annotations import latest_revisions
from carsdepo_assets.lake.data_schemas import ANNOTATIONS
from carsdepo_assets.lake.label_conflicts import labels_that_count, of_several_annotators
from carsdepo_assets.policy import DataPolicy, Policy

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LATEST, MAJORITY, EXCLUDE = (Policy(data=DataPolicy(conflicts=c)) for c in ("latest", "majority", "exclude"))  # type: ignore[arg-type]
Box = tuple[int, float, float, float, float]
A: Box = (0, 0, 0, 10, 10)
A_MOVED: Box = (0, 2, 0, 12, 10)
B: Box = (1, 50, 50, 70, 60)


def table(*revisions: tuple[str, str | None, list[Box]], **more: Any) -> pa.Table:
    """Revisions (photograph, annotator, boxes) in order of commit. An annotator "ben@queue" answers a queue."""
    rows = []
    for number, (image_id, annotator, boxes) in enumerate(revisions, 1):
        name, _, queue = (annotator or "").partition("@")
        rows.append(
            {
                "revision_id": f"r{number}",
                "image_id": image_id,
                "key": f"raw/labels/{queue or 'import'}/q/{image_id}.txt",
                "origin": "yolo",
                "annotator": name or None,
                "boxes": [dict(zip(("class_id", "x1", "y1", "x2", "y2"), box, strict=True)) for box in boxes],
                "created_at": NOW + timedelta(seconds=number),
                "sequence": number,
                **more,
            }
        )
    return pa.Table.from_pylist(rows, schema=ANNOTATIONS)


def counted(annotations: pa.Table, policy: Policy) -> dict[str, Any]:
    """Revision and boxes by photograph; the reason where none counts."""
    labels = labels_that_count(annotations, policy)
    rows = {
        row["image_id"]: (row["revision_id"], [tuple(b.values()) for b in row["boxes"]])
        for row in labels.rows.to_pylist()
    }
    assert not rows.keys() & labels.disputed.keys()
    return rows | dict(labels.disputed)


def test_without_a_choice_the_latest_counts_as_ever() -> None:
    annotations = table(("p", "anna", [A]), ("q", "anna", []), ("p", "ben", [B]), ("q", None, [A]))
    assert labels_that_count(annotations, Policy()).rows.equals(latest_revisions(annotations))
    assert Policy().data.conflicts == "latest"


@pytest.mark.parametrize("policy", [LATEST, MAJORITY, EXCLUDE])
def test_one_annotator_is_never_in_conflict(policy: Policy) -> None:
    annotations = table(("p", "anna", [A]), ("p", "anna", [B]), ("q", None, [A]), ("q", "", []))
    assert counted(annotations, policy) == {"p": ("r2", [B]), "q": ("r4", [])}
    assert of_several_annotators(annotations).num_rows == 0


@pytest.mark.parametrize("policy", [LATEST, MAJORITY, EXCLUDE])
def test_an_empty_table(policy: Policy) -> None:
    assert counted(table(), policy) == {}


def test_majority_counts_what_more_than_half_drew() -> None:
    annotations = table(("p", "anna", [A, B]), ("p", "ben", [A_MOVED]), ("p", "carla", []), ("q", "anna", [B]))
    assert counted(annotations, MAJORITY) == {"p": ("r1+r2+r3", [(0, 1.0, 0.0, 11.0, 10.0)]), "q": ("r4", [B])}


def test_no_majority_is_not_clean() -> None:
    result = counted(table(("p", "anna", [A]), ("p", "ben", [B])), MAJORITY)
    assert "anna and ben" in result["p"]


def test_a_later_revision_of_an_annotator_replaces_the_earlier_one() -> None:
    annotations = table(("p", "anna", [B]), ("p", "ben", [A]), ("p", "anna", [A]))
    assert counted(annotations, EXCLUDE) == {"p": ("r3", [A])}
    assert counted(annotations, MAJORITY) == {"p": ("r2+r3", [A])}


def test_exclude_leaves_out_what_agrees_too_little() -> None:
    annotations = table(("p", "anna", [A]), ("p", "ben", [B]), ("q", "anna", [A]), ("q", "ben", [A_MOVED]))
    result = counted(annotations, EXCLUDE)
    assert result["q"] == ("r4", [A_MOVED])
    assert result["p"] == "anna and ben agree by 0.00, less than 0.5"
    lenient = Policy(data=DataPolicy(conflicts="exclude", min_agreement=0.0))
    assert counted(annotations, lenient)["p"] == ("r2", [B])


@pytest.mark.parametrize("policy", [MAJORITY, EXCLUDE])
def test_the_answer_to_a_queue_settles_a_dispute_and_starts_none_anew(policy: Policy) -> None:
    dispute = [("p", "anna", [A]), ("p", "ben", [B])]
    assert isinstance(counted(table(*dispute), policy)["p"], str)
    assert counted(table(*dispute, ("p", "carla@queue", [A_MOVED, B])), policy)["p"] == ("r3", [A_MOVED, B])
    # One of the two may settle it too, and who labels it afterwards is compared with the answer alone.
    settled = table(*dispute, ("p", "ben@queue", [A]), ("p", "dan", [A]))
    assert counted(settled, policy)["p"][1] == [A]


def test_a_photograph_that_a_queue_had_labelled_twice_is_compared() -> None:
    annotations = table(("p", "anna@queue", [A]), ("p", "ben@queue", [B]))
    assert isinstance(counted(annotations, EXCLUDE)["p"], str)


def test_what_nobody_finished_is_no_voice() -> None:
    annotations = pa.concat_tables([table(("p", "anna", [A])), table(("p", "ben", []), state="unreviewed")])
    assert counted(annotations, EXCLUDE) == {"p": ("r1", [A])}


def test_origins_stand_for_annotators_that_are_not_named() -> None:
    annotations = pa.concat_tables([table(("p", None, [A])), table(("p", None, [B]), origin="coco", sequence=2)])
    assert counted(annotations, EXCLUDE)["p"] == "coco and yolo agree by 0.00, less than 0.5"
