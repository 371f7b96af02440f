"""Whether a training has to wait for a study: two steps ask, that which studies and that which trains."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from carsdepo_assets.orchestration.attempts import next_run
from carsdepo_assets.orchestration.run_states import under_way

STUDY_JOB = "study"
STUDY_TAG = "carsdepo/study_of_drift"  # of a study's run: the drift report that it is for


def study_to_wait_for(instance: dg.DagsterInstance, due: Sequence[str], max_interruptions: int) -> str | None:
    """Why a training by itself waits for a study, as a sentence; None where it need not.

    A study whose run failed by itself is not waited for: the labels are learnt by the usual recipe then.

    Args:
        instance: whose runs are looked at.
        due: the drift reports whose studies are due, as lake.studies_due gives them.
        max_interruptions: policy.runs.max_interruptions.
    """
    for report_id in due:
        tags = {STUDY_TAG: report_id}
        if under_way(instance, STUDY_JOB, tags):
            return f"The study of drift report {report_id} is under way: it chooses the recipe of these labels."
        if next_run(instance, STUDY_JOB, tags, max_interruptions) is not None:
            return f"The study of drift report {report_id} comes first: it chooses the recipe of these labels."
    return None
