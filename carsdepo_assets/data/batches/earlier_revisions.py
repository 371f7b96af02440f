"""What still counts of a file whose present bytes are in quarantine: what an earlier batch read under its key.

A corrected label file that is refused leaves the labels that it should have replaced in force, and a photograph that
was written over by a broken one leaves the earlier photograph in the lake. Nobody would know from the refusal alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from carsdepo_assets.lake.annotations import labels_only
from carsdepo_assets.lake.label_conflicts import annotator_of
from carsdepo_assets.lake.lake import Lake


def still_counting(lake: Lake, refused: Mapping[str, str]) -> dict[str, str]:
    """Of files in quarantine what still counts that they would have replaced, by key, as a sentence without its stop.

    Args:
        lake: whose tables are read.
        refused: by key, the batch that refused the file as it is now.
    """
    labels = {key: batch for key, batch in refused.items() if key.startswith("raw/labels/")}
    photographs = {key: batch for key, batch in refused.items() if key.startswith("raw/uploads/")}
    told = {}
    for key, of_photographs in _labels(lake, labels).items():
        on = "" if len(of_photographs) == 1 else f", on {len(of_photographs)} photographs"
        batch = max(of_photographs.values())
        told[key] = f"the labels of {_date(batch)} (batch {batch}) that this file would have replaced still count{on}"
    for key, batch in _photographs(lake, photographs).items():
        told[key] = f"the photograph of {_date(batch)} (batch {batch}) that this file would have replaced still counts"
    return told


def _labels(lake: Lake, refused: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """By key, then by photograph: the earlier batch whose revision is the last one of its annotator."""
    if not refused:
        return {}
    images = lake.read("annotations", ["image_id"], where=[("key", "in", sorted(refused))])["image_id"].unique()
    if len(images) == 0:
        return {}
    columns = ["image_id", "key", "sequence", "state", "annotator", "origin", "batch_id"]
    rows = lake.read("annotations", columns, where=[("image_id", "in", sorted(images.to_pylist()))])
    last = {}
    for row in labels_only(rows).sort_by("sequence").to_pylist():
        last[row["image_id"], annotator_of(row)] = row
    standing: dict[str, dict[str, str]] = {}
    for row in last.values():
        if row["batch_id"] < refused.get(row["key"], ""):
            standing.setdefault(row["key"], {})[row["image_id"]] = row["batch_id"]
    return standing


def _photographs(lake: Lake, refused: Mapping[str, str]) -> dict[str, str]:
    """By key: the newest earlier batch that had a photograph there that became an image."""
    if not refused:
        return {}
    rows = lake.read("uploads", ["batch_id", "key", "sha256"], [("key", "in", sorted(refused))]).to_pylist()
    earlier = [row for row in rows if row["sha256"] is not None and row["batch_id"] < refused[row["key"]]]
    digests = sorted({row["sha256"] for row in earlier})
    if not digests:
        return {}
    images = set(lake.read("images", ["image_id"], [("image_id", "in", digests)])["image_id"].to_pylist())
    newest: dict[str, str] = {}
    for row in earlier:
        if row["sha256"] in images:
            newest[row["key"]] = max(row["batch_id"], newest.get(row["key"], ""))
    return newest


def _date(batch_id: str) -> str:
    return f"{batch_id[:4]}-{batch_id[4:6]}-{batch_id[6:8]}"
