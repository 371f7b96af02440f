"""The jobs of step 1: one makes a labelling queue, which a drift report may ask for; one looks at the data."""

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
EXPLORE_JOB = "explore"
explore_job = dg.define_asset_job(
    EXPLORE_JOB,
    selection=["exploration"],
    description="Explores the newest dataset, or the dataset, upload batch or window of traffic that the config names.",
)
