"""What a corrected group does to photographs that have their split already.

Nothing that stands changes its split, but for this: where photographs turn out to show one car and stand on two sides,
those of one side are excluded, since a model that was trained on a car is not tested by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from carsdepo_assets.data.datasets.grouping import cars
from carsdepo_assets.data.datasets.splitting import EXCLUDED, side

Row = dict[str, Any]
IN_GOLDEN = "its car is in the golden set, as its group says now: models that were trained before have seen it"


def standing_splits(rows: Iterable[Row]) -> dict[str, Row]:
    """The row of SPLITS that counts, by image_id.

    It is the first one, unless a later one excludes the photograph for good or names another group in the same split.
    Without a lock (on S3) two builders may have met and written two first rows: the earlier counts.

    Args:
        rows: all rows of SPLITS.
    """
    standing: dict[str, Row] = {}
    for row in sorted(rows, key=lambda r: (r["assigned_at"], r["split"], r["group_id"])):
        before = standing.setdefault(row["image_id"], row)
        if row["split"] in (EXCLUDED, before["split"]) and before["split"] != EXCLUDED:
            standing[row["image_id"]] = {**row, "declared": before.get("declared")}
    return standing


def regrouped(
    images: Sequence[Mapping[str, Any]], standing: Mapping[str, Row], golden: Collection[str], now: datetime
) -> list[Row]:
    """The rows to add where the groups of today join photographs that stand in two splits, or in two groups of one.

    The golden set keeps its photographs, whatever joins them. Elsewhere train and val win against the test pool, since
    a model may have seen the car by now, and of train and val the one that had a photograph of the car first. What is
    excluded links nothing, now as before.

    Args:
        images: rows with image_id, group_hint, listing and perhaps source (see grouping.cars), as they are now.
        standing: the rows of SPLITS that count, by image_id.
        golden: ids of the photographs of the golden set.
        now: stored as the time of assignment.

    Returns:
        Rows of SPLITS, sorted by image_id; none where every car stands in one group.
    """
    counted = [row for row in images if standing.get(row["image_id"], {"split": EXCLUDED})["split"] != EXCLUDED]
    added: list[Row] = []
    for car in cars(counted):
        rows = [standing[i] for i in car]
        kept = _kept(rows, golden)
        in_golden = kept == "test" and any(_is_golden(row, golden) for row in rows)
        group = min(row["group_id"] for row in rows if side(row["split"]) == kept)
        for row in rows:
            if side(row["split"]) != kept:
                reason = IN_GOLDEN if in_golden else f"its car is in {kept}, as its group says now"
                added.append({**row, "split": EXCLUDED, "reason": reason, "assigned_at": now})
            elif row["group_id"] != group:
                reason = f"one car with {group}, as its group says now"
                added.append({**row, "group_id": group, "reason": reason, "assigned_at": now})
    return sorted(added, key=lambda row: str(row["image_id"]))


def _kept(rows: Sequence[Row], golden: Collection[str]) -> str:
    """The side whose photographs of a car stay."""
    if any(_is_golden(row, golden) for row in rows):
        return "test"
    sides = Counter(side(row["split"]) for row in rows)
    if len(sides) > 1:
        del sides["test"]
    first = {s: min(row["assigned_at"] for row in rows if side(row["split"]) == s) for s in sides}
    return min(sides, key=lambda s: (first[s], -sides[s], s))


def _is_golden(row: Row, golden: Collection[str]) -> bool:
    # `test` is the golden set's own split, also of a build that was killed before it wrote the set.
    return row["image_id"] in golden or row["split"] == "test"
