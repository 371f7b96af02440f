"""Which drift reports wait for a study: their route asks for one, and enough of their labelling queue is labelled."""

from __future__ import annotations

from datetime import datetime, timedelta

from carsdepo_assets.lake import queues, trials
from carsdepo_assets.lake.annotations import labelled_photographs
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.policy import StudyPolicy

STUDY = "study"  # the action of a route
ASKED_FOR = timedelta(days=60)  # labels of an older queue are learnt as any other


def studies_due(lake: Lake, policy: StudyPolicy, now: datetime) -> list[str]:
    """The ids of the drift reports whose study is to be made or finished now, oldest first.

    Args:
        lake: the lake.
        policy: says how much of a queue has to be labelled, and whether studies follow drift at all.
        now: the present.
    """
    if not policy.after_high_drift or lake.version("routes") < 0:
        return []
    asking = [
        row
        for row in lake.read("routes", columns=["report_id", "at", "actions", "queue_id"]).sort_by("at").to_pylist()
        if STUDY in (row["actions"] or []) and row["queue_id"] and row["at"] and now - row["at"] < ASKED_FOR
    ]
    if not asking:
        return []
    concluded = {e.report_id for e in trials.events(lake) if e.state == "concluded"}
    waiting = [row for row in asking if row["report_id"] not in concluded]
    if not waiting:
        return []
    labelled = labelled_photographs(lake)
    return [str(row["report_id"]) for row in waiting if _is_labelled(lake, str(row["queue_id"]), labelled, policy)]


def _is_labelled(lake: Lake, queue_id: str, labelled: set[str], policy: StudyPolicy) -> bool:
    if not lake.exists(queues.queue_key(queue_id)):
        return False
    try:
        photographs = queues.read(lake, queue_id).photographs
    except (LakeError, AttributeError, RecursionError):  # damaged: the router says so
        return False
    count = sum(p.image_id in labelled for p in photographs)
    return count > 0 and count >= policy.labelled_share * len(photographs)
