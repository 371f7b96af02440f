"""What ingestion has made of the files of an import, by their keys; see the table `objects`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from carsdepo_assets.data.batches.earlier_revisions import still_counting
from carsdepo_assets.data.datasets.grouping import cars
from carsdepo_assets.data.folders.augmented_copies import source_of
from carsdepo_assets.data.imports.account import ImportState
from carsdepo_assets.data.objects.take_over import taken_over_index
from carsdepo_assets.lake.annotations import latest_revisions
from carsdepo_assets.lake.image_metadata import read_images
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.object_index import ObjectState

_BECAME = {
    "image": ImportState.ACCEPTED,
    "duplicate": ImportState.DUPLICATE,
    "read": ImportState.ACCEPTED,
    "quarantined": ImportState.QUARANTINED,
}


@dataclass(frozen=True)
class KeyState:
    """What became of the file at a key."""

    state: ImportState
    reason: str = ""
    detail: str = ""
    still_counts: str = ""
    """Of a file in quarantine: what still counts that it would have replaced."""


def key_states(lake: Lake, keys: Collection[str]) -> dict[str, KeyState]:
    """What became of photographs and label files, by their keys; of what no batch lists yet nothing is known."""
    objects = _states(lake, keys)
    refused = {key: state.batch_id for key, state in objects.items() if state.state == "quarantined"}
    details = _details(lake, refused)
    earlier = still_counting(lake, refused)
    # Of a file of many photographs some may be read while others are not.
    rows = lake.read("annotations", ["key"], where=[("key", "in", sorted(refused))]) if refused else None
    read = set() if rows is None else set(rows["key"].to_pylist())
    states: dict[str, KeyState] = {}
    for key, state in objects.items():
        became = _BECAME.get(state.state, ImportState.WAITING)
        if became is ImportState.QUARANTINED and key in read and not key.endswith(".txt"):
            became = ImportState.PARTLY
        detail = details.get(key) if key in refused else None
        reason = state.reason or (detail or {}).get("reason")
        states[key] = KeyState(became, reason or "", _text(detail), earlier.get(key, ""))
    return states


def label_figures(lake: Lake, keys: Collection[str]) -> dict[str, int]:
    """Of photographs by their keys: how many are with_damage, clean, unreviewed and unlabelled; boxes; groups.

    A group is what a manifest.csv or a sidecar says of a car; see data/datasets/grouping.py.
    """
    states = _states(lake, keys).values()
    images = {one.sha256 for one in states if one.state in ("image", "duplicate") and one.sha256 is not None}
    columns = ["image_id", "key", "sequence", "created_at", "revision_id", "state", "boxes"]
    rows = lake.read("annotations", columns, where=[("image_id", "in", sorted(images))])
    boxes = [len(row["boxes"] or ()) for row in latest_revisions(rows).to_pylist()]
    with_rows = len(set(rows["image_id"].to_pylist()))
    return {
        "with_damage": sum(n > 0 for n in boxes),
        "clean": sum(n == 0 for n in boxes),
        "unreviewed": with_rows - len(boxes),
        "unlabelled": len(images) - with_rows,
        "boxes": sum(boxes),
        **_groups(lake, images),
    }


def unlabelled_images(lake: Lake, keys: Collection[str]) -> dict[str, str]:
    """The image ids of photographs of which no label is in the lake, finished or not, by their keys."""
    states = _states(lake, keys)
    images = {k: one.sha256 for k, one in states.items() if one.state in ("image", "duplicate") and one.sha256}
    rows = lake.read("annotations", ["image_id"], where=[("image_id", "in", sorted(set(images.values())))])
    labelled = set(rows["image_id"].to_pylist())
    return {key: image_id for key, image_id in images.items() if image_id not in labelled}


def _groups(lake: Lake, image_ids: Collection[str]) -> dict[str, int]:
    """How many of some photographs have a group, and how many groups these are."""
    rows = read_images(lake, ["image_id", "key", "group_hint", "listing"], image_ids).to_pylist()
    for row in rows:
        if row["group_hint"] == source_of(row["key"]):  # by the name of an augmented copy, which tells no cars apart
            row["group_hint"] = None
    with_a_group = [row for row in rows if row["group_hint"] or row["listing"]]
    return {"with_a_group": len(with_a_group), "groups": len(cars(with_a_group))}


def accepted_keys(lake: Lake, keys: Collection[str]) -> set[str]:
    """Which of some keys of photographs hold what became an image."""
    return {key for key, state in _states(lake, keys).items() if state.state in ("image", "duplicate")}


def _states(lake: Lake, keys: Collection[str]) -> dict[str, ObjectState]:
    with taken_over_index(lake) as index:
        return index.states_of(sorted(keys))


def _details(lake: Lake, refused: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The first row of QUARANTINE of each key in its batch."""
    if not refused:
        return {}
    columns = ["batch_id", "key", "reason", "detail", "line"]
    rows: Iterable[dict[str, Any]] = lake.read(
        "quarantine", columns, where=[("batch_id", "in", sorted(set(refused.values())))]
    ).to_pylist()
    first: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["line"] or 0):
        if refused.get(row["key"]) == row["batch_id"]:
            first.setdefault(row["key"], row)
    return first


def _text(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    line = f"line {row['line']}: " if row["line"] is not None else ""
    return f"{line}{row['detail'] or ''}"
