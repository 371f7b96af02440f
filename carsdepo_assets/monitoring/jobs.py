"""Jobs of the monitoring step, which its sensors start."""

import dagster as dg

from carsdepo_assets.orchestration.attempts import RETRY_TAGS

DRIFT_JOB, ROUTE_JOB, PROFILE_JOB, QUALITY_JOB = "drift", "route_drift", "profile_answers", "score_answers"
drift_job = dg.define_asset_job(
    DRIFT_JOB,
    selection=["reference_profile", "drift_report"],
    description="The reference of the model that serves, where it is missing, and a drift report.",
)
route_job = dg.define_asset_job(
    ROUTE_JOB,
    selection=["drift_route"],
    tags={"dagster/priority": "10"},  # it may hold promotions: it starts before any other run that waits for its turn
    description="Decides what follows from each new drift report, and does it.",
)
profile_job = dg.define_asset_job(
    PROFILE_JOB,
    selection=["inference_profile"],
    tags=RETRY_TAGS,
    description="The whylogs profile of a day's answers.",
)
quality_job = dg.define_asset_job(
    QUALITY_JOB,
    selection=["live_quality"],
    tags=RETRY_TAGS,
    description="A day's answers against the labels that have come since.",
)
