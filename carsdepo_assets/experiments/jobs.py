"""Jobs of step 1. The router requests `cut_queue` with the drift report that asks for labels."""

from __future__ import annotations

import dagster as dg

from carsdepo_assets.orchestration.attempts import RETRY_TAGS

CUT_QUEUE_JOB = "cut_queue"
cut_queue_job = dg.define_asset_job(
    CUT_QUEUE_JOB,
    selection=["labelling_queue"],
    tags=RETRY_TAGS,  # a killed cut is finished by its retry, the same
    description="Chooses photographs to label: of a drift report (config report_id), else by the model's uncertainty.",
)
