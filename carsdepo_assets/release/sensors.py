"""Sensors of the release step: one releases candidates, one keeps MLflow's aliases as the ledger has them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.orchestration.attempts import attempts
from carsdepo_assets.orchestration.run_states import under_way
from carsdepo_assets.orchestration.ticks import work_was_done
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.release.jobs import PROMOTE_JOB, RELEASE_JOB, promote_job, release_job
from carsdepo_assets.resources import LakeResource, PolicyResource, ServicesResource

STATE_TAG = "carsdepo/release_state"
MAX_ATTEMPTS = 3  # runs for one state
# A run that promotes has written the ledger and sets the alias seconds later: no disagreement yet.
SETTLED = timedelta(minutes=2)
_WHO_DECIDES = (
    "The ledger says what is served, and an alias only shows it: `carsdepo approve VERSION` and `carsdepo rollback` "
    "change what is served."
)
_JOBS = (RELEASE_JOB, PROMOTE_JOB, "rollback_production")


@dg.sensor(
    jobs=[release_job, promote_job],
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Releases the newest candidate through staging and the promotion gate, once for each state of "
    "candidate, golden set, champion, policy and approval. A model that is barred waits for a person.",
)
def release_candidate(
    context: dg.SensorEvaluationContext,
    lake: LakeResource,
    policy: PolicyResource,
    services: ServicesResource,
    tracking: MlflowTracking,
) -> dg.RunRequest | dg.SkipReason:
    """Requests the run that `next_step` decides on, unless a release is under way or its attempts are used up."""

    from carsdepo_assets.release.next_step import next_step

    current_policy = policy.read()
    decision = next_step(lake.open(), tracking.tracking(), current_policy)
    step = decision.action
    if step is None:
        return dg.SkipReason(decision.message)
    for job in _JOBS:
        if under_way(context.instance, job):
            return dg.SkipReason(f"A run of {job} is under way.")
    tags = {STATE_TAG: hashlib.sha256(step.state.encode()).hexdigest()[:16]}
    tried = attempts(context.instance, None, tags)
    counted = tried.counted(current_policy.runs.max_interruptions)
    if counted >= MAX_ATTEMPTS:
        return dg.SkipReason(
            f"{counted} runs for {decision.message} ended without a verdict: see their logs. The next one starts when "
            f"the candidate, golden set, champion, policy or approval changes, or when a person runs {step.job}."
        )
    # A service that is down fails the tick, with what to start, and uses up no attempt.
    for stage in ("production",) if step.job == PROMOTE_JOB else ("staging", "production"):
        services.health(stage)
    config: dict[str, Any] = {"config": {"version": str(step.version)}}
    assets = ("production_model",) if step.job == PROMOTE_JOB else ("staging_deployment", "production_model")
    return dg.RunRequest(
        run_key=f"release:{tags[STATE_TAG]}:{tried.next_number}",
        job_name=step.job,
        run_config={"ops": dict.fromkeys(assets, config)},
        tags=tags,
    )


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sets MLflow's aliases `staging` and `production` as the deployment ledger has them, and sends an "
    "alert when they disagreed.",
)
def ledger_projection(
    context: dg.SensorEvaluationContext,
    lake: LakeResource,
    policy: PolicyResource,
    tracking: MlflowTracking,
    alerts: AlertsResource,
) -> dg.SensorResult | dg.SkipReason:
    """Repairs MLflow's aliases; a repair is an alert unless the ledger changed only just now."""

    from carsdepo_assets.registry.aliases import found_by_hand, project
    from carsdepo_assets.registry.models import read_registry

    opened_lake = lake.open()
    if opened_lake.version("deployments") < 0:
        return dg.SkipReason("The ledger is empty.")
    store = tracking.tracking()
    registry = read_registry(store)
    repairs, by_hand = project(store, opened_lake, registry), found_by_hand(registry)
    for key, message in by_hand.items():
        alerts.send(
            opened_lake,
            policy.read(),
            kind="ledger",
            key=f"ledger:mlflow:{key}",
            severity="warning",
            title="MLflow has something that the ledger does not know",
            body=f"{message}.",
        )
    for repair in repairs:
        if repair.since is not None and datetime.now(UTC) - repair.since < SETTLED:
            continue
        alerts.send(
            opened_lake,
            policy.read(),
            kind="ledger",
            key=f"ledger:{repair.alias}:{repair.was}:{repair.now}",
            severity="warning",
            title=f"MLflow's alias {repair.alias} disagreed with the ledger",
            body=f"{repair.message}. {_WHO_DECIDES}",
        )
    messages = [r.message for r in repairs]
    if any(r.repaired for r in repairs):
        return work_was_done(context, "; ".join(messages))
    messages += by_hand.values()
    return dg.SkipReason("; ".join(messages) or "The aliases are as the ledger has them.")


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Where the services are SageMaker endpoints: makes them follow the ledger, takes over decisions that "
    "were made in SageMaker, alerts what disagrees, and removes what nobody uses. Services of other kinds follow the "
    "ledger by themselves.",
)
def endpoints_follow_ledger(
    context: dg.SensorEvaluationContext,
    lake: LakeResource,
    policy: PolicyResource,
    services: ServicesResource,
    alerts: AlertsResource,
) -> dg.SensorResult | dg.SkipReason:
    """Looks at each endpoint once; what takes time goes on at SageMaker until the next tick."""
    from carsdepo_assets.release.sagemaker_services import as_sagemaker

    endpoints = as_sagemaker(services)
    if endpoints is None:
        return dg.SkipReason("The services follow the ledger by themselves.")
    from carsdepo_assets.release.sagemaker_following import Remembered, follow

    opened_lake, current_policy = lake.open(), policy.read()
    round_of_looks = follow(opened_lake, current_policy, endpoints, Remembered.of(context.cursor))
    for finding in round_of_looks.findings:
        alerts.send(
            opened_lake,
            current_policy,
            kind="endpoint",
            key=finding.key,
            severity=finding.severity,
            title=finding.title,
            body=finding.body,
        )
    context.update_cursor(round_of_looks.remembered.model_dump_json())
    if round_of_looks.errors:
        first, *others = round_of_looks.errors
        for other in others:
            first.add_note(f"And: {other}")
        raise first  # the tick fails and says so; what could be done is done
    text = " ".join(round_of_looks.messages)
    return work_was_done(context, text) if round_of_looks.did_something else dg.SkipReason(text)
