"""Labelling queues that drift reports ask for: which one still waits for labels, and which are to be cut."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from carsdepo_assets.lake import queues
from carsdepo_assets.lake.annotations import labelled_photographs
from carsdepo_assets.lake.lake import Lake, LakeError

MEASURED_BANDS = ("low", "middle", "high")  # of a drift that was measured, the least first
QUEUE_ASKED_FOR = timedelta(days=7)  # a queue that could not be cut for so long is not asked for any more


def open_queue(lake: Lake, report: Mapping[str, Any], now: datetime) -> tuple[str | None, str | None]:
    """The id of a labelling queue that makes another one for this report needless, None where there is none; and which
    queues for the same drift are damaged, in words, None where none is.

    The queue was cut for the same model, the same feature and a band at least as high, and fewer than half of its
    photographs have labels. A queue that was asked for in the last QUEUE_ASKED_FOR and is not cut yet, or not to its
    end, counts too; one that was asked for earlier is not cut any more (`queues_to_cut`) and does not count. Nor does
    one that is damaged. Queues of another drift are not read, so that a damaged one changes nothing here.
    """
    if report["band"] not in MEASURED_BANDS:
        return None, None
    same = {
        r["report_id"]
        for r in lake.read("drift", columns=["report_id", "digest", "worst_feature", "band"]).to_pylist()
        if r["digest"] == report["digest"]
        and r["worst_feature"] == report["worst_feature"]
        and r["band"] in MEASURED_BANDS
        and MEASURED_BANDS.index(r["band"]) >= MEASURED_BANDS.index(report["band"])
        and r["report_id"] != report["report_id"]
    }
    labelled: set[str] | None = None
    damages: list[str] = []
    for row in lake.read("routes", columns=["report_id", "at", "queue_id"]).sort_by("at").to_pylist():
        queue_id = row["queue_id"]
        if row["report_id"] not in same or queue_id is None:
            continue
        if not lake.exists(queues.queue_key(queue_id)):
            if _asked_lately(row, now):
                return str(queue_id), "; ".join(damages) or None
            continue
        try:
            photographs = queues.read(lake, queue_id).photographs
        except (LakeError, AttributeError, RecursionError) as error:  # the latter two: JSON, but no queue's
            damages.append(str(error) if isinstance(error, LakeError) else f"{queues.queue_key(queue_id)} is damaged.")
            continue
        if labelled is None:
            labelled = labelled_photographs(lake)
        if 2 * sum(p.image_id in labelled for p in photographs) < len(photographs):
            return str(queue_id), "; ".join(damages) or None
    return None, "; ".join(damages) or None


def queues_to_cut(lake: Lake, now: datetime) -> list[str]:
    """Report ids whose routes of the last QUEUE_ASKED_FOR asked for a queue that is not there yet, oldest first."""
    rows = lake.read("routes", columns=["report_id", "at", "actions"]).sort_by("at").to_pylist()
    # A damaged queue is there: cut again it would only fail, for every drift.
    return [
        r["report_id"]
        for r in rows
        if "queue" in (r["actions"] or [])
        and _asked_lately(r, now)
        and not lake.exists(queues.queue_key(queues.queue_id_of(r["report_id"])))
    ]


def _asked_lately(route: Mapping[str, Any], now: datetime) -> bool:
    return route["at"] is not None and now - route["at"] < QUEUE_ASKED_FOR
