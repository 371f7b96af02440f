"""The job of step 1 that makes a labelling queue; a drift report that asks for labels requests it."""

from __future__ import annotations

import dagster as dg

from carsdepo_assets.orchestration.attempts import RETRY_TAGS

CUT_QUEUE_JOB = "cut_queue"
cut_queue_job = dg.define_asset_job(
    CUT_QUEUE_JOB,
    selection=["labelling_queue"],
    tags=RETRY_TAGS,  # the retry finishes a queue whose making was killed
    description="Makes a labelling queue: of a drift report (config report_id), else by the model's uncertainty.",
)
