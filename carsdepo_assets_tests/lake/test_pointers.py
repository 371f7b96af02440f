"""lake/pointers.py: the objects that name the newest of their kind, those of older lakes included."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.pointers import (
    CandidatePointer,
    DatasetPointer,
    EvaluationPointer,
    LearntPointer,
    Pointer,
    RecipePointer,
)

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
POINTERS: list[Pointer] = [
    DatasetPointer(version="d", label_state=7, at=AT),
    RecipePointer(digest="r", why=("Because.",), fallback="longer-3", asked_by="retrain"),
    CandidatePointer(digest="m", dataset="d", recipe={"epochs": 3}, label_state=7, seen_at=AT),
    EvaluationPointer(digest="m", trained_on="d", evaluation_id="e"),
    LearntPointer(digest="m", dataset="d", recipe="r", label_state=7, seen_at=AT),
]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path)


@pytest.mark.parametrize("pointer", POINTERS, ids=lambda p: p.KEY)
def test_what_is_written_is_read_and_the_next_replaces_it(lake: Lake, pointer: Pointer) -> None:
    assert type(pointer).read(lake) is None
    pointer.write(lake)
    assert type(pointer).read(lake) == pointer
    changed = pointer.model_copy(update={"label_state": 8} if "label_state" in type(pointer).model_fields else {})
    changed.write(lake)
    assert type(pointer).read(lake) == changed
    assert [o.key for o in lake.list()] == [pointer.KEY]


@pytest.mark.parametrize(
    ("stored", "pointer"),
    [
        ({"version": "d"}, DatasetPointer(version="d")),
        ({"version": "d", "label_state": 7, "at": AT.isoformat()}, POINTERS[0]),
        ({"digest": "r"}, RecipePointer(digest="r")),
        (
            {"digest": "m", "trained_on": "d", "figures_key": "reports/evaluation/m.json"},
            EvaluationPointer(digest="m", trained_on="d", figures_key="reports/evaluation/m.json"),
        ),
        ({"label_state": 2}, LearntPointer(label_state=2)),
        ({"digest": "m", "dataset": "d", "recipe": "r", "label_state": 7, "seen_at": None, "of_another": 1},
         LearntPointer(digest="m", dataset="d", recipe="r", label_state=7)),
    ],
)  # fmt: skip
def test_pointers_of_other_versions_are_read(lake: Lake, stored: dict[str, object], pointer: Pointer) -> None:
    lake.put(pointer.KEY, json.dumps(stored).encode())
    assert type(pointer).read(lake) == pointer


@pytest.mark.parametrize("standing", ["a folder", "a link to nothing"])
def test_a_pointer_that_is_lost_is_not_one_that_was_never_written(lake: Lake, standing: str) -> None:
    assert lake.root is not None
    for kind in {type(p) for p in POINTERS}:
        path = lake.root / kind.KEY
        path.parent.mkdir(exist_ok=True)
        if standing == "a folder":
            path.mkdir()
        else:
            path.symlink_to(lake.root / "gone.json")
        with pytest.raises(LakeError, match=f"{kind.KEY} in .* is damaged"):
            kind.read(lake)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"label_state": "many"}', b'{"digest": '])
def test_a_damaged_pointer_is_named(lake: Lake, data: bytes) -> None:
    for kind in {type(p) for p in POINTERS}:
        lake.put(kind.KEY, data)
        with pytest.raises(LakeError, match=f"{kind.KEY} in .* is damaged"):
            kind.read(lake)
