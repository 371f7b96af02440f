"""The rules that release a candidate, and that keep MLflow's aliases as the ledger has them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.orchestration.run_states import attempts, under_way
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.release.jobs import PROMOTE_JOB, RELEASE_JOB, promote_job, release_job
from carsdepo_assets.resources import LakeResource, PolicyResource, ServicesResource

STATE_TAG = "carsdepo/release_state"
MAX_ATTEMPTS = 3  # runs for one state
# A run that promotes has written the ledger and sets the alias seconds later: no disagreement yet.
SETTLED = timedelta(minutes=2)
_JOBS = (RELEASE_JOB, PROMOTE_JOB, "rollback_production")


@dg.sensor(
    jobs=[release_job, promote_job],
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="The newest candidate goes through staging and the gate, once for each state of candidate, golden set, "
    "champion, policy and approval. Barred models wait for a person.",
)
def release_candidate(
    context: dg.SensorEvaluationContext,
    lake: LakeResource,
    policy: PolicyResource,
    services: ServicesResource,
    tracking: MlflowTracking,
) -> dg.RunRequest | dg.SkipReason:
    from carsdepo_assets.release.next_step import next_step

    rules = policy.read()
    wanted = next_step(lake.open(), tracking.tracking(), rules)
    if wanted.job is None:
        return dg.SkipReason(wanted.said)
    for job in _JOBS:
        if under_way(context.instance, job):
            return dg.SkipReason(f"A run of {job} is under way.")
    tags = {STATE_TAG: hashlib.sha256(wanted.state.encode()).hexdigest()[:16]}
    tried = attempts(context.instance, None, tags)
    counted = tried.counted(rules.runs.max_interruptions)
    if counted >= MAX_ATTEMPTS:
        return dg.SkipReason(
            f"{counted} runs for {wanted.said} did not come to a verdict: see them; a manual run of "
            f"{wanted.job} or a change of the state starts the next."
        )
    # A service that is down fails the tick, with what to start, and uses up no attempt.
    for stage in ("production",) if wanted.job == PROMOTE_JOB else ("staging", "production"):
        services.health(stage)
    config: dict[str, Any] = {"config": {"version": str(wanted.version)}}
    assets = ("production_model",) if wanted.job == PROMOTE_JOB else ("staging_deployment", "production_model")
    return dg.RunRequest(
        run_key=f"release:{tags[STATE_TAG]}:{tried.runs + 1}",
        job_name=wanted.job,
        run_config={"ops": dict.fromkeys(assets, config)},
        tags=tags,
    )


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="MLflow's aliases staging and production follow the deployment ledger; a disagreement is an alert.",
)
def ledger_projection(
    context: dg.SensorEvaluationContext,
    lake: LakeResource,
    policy: PolicyResource,
    tracking: MlflowTracking,
    alerts: AlertsResource,
) -> dg.SkipReason:
    from carsdepo_assets.registry.aliases import project

    opened = lake.open()
    if opened.version("deployments") < 0:
        return dg.SkipReason("The ledger is empty.")
    repairs = project(tracking.tracking(), opened)
    for repair in repairs:
        if repair.since is not None and datetime.now(UTC) - repair.since < SETTLED:
            continue
        alerts.send(
            opened,
            policy.read(),
            kind="ledger",
            key=f"ledger:{repair.alias}:{repair.was}:{repair.now}",
            severity="warning",
            title=f"MLflow's alias {repair.alias} disagreed with the ledger",
            body=f"{repair.said}.",
        )
    return dg.SkipReason("; ".join(r.said for r in repairs) or "The aliases are as the ledger has them.")
