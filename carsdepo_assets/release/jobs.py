"""Jobs of the release step: its three assets, and a person's approval, rejection or rollback."""

import dagster as dg
from pydantic import Field

from carsdepo_assets.orchestration.attempts import ONCE_TAGS
from carsdepo_assets.orchestration.attribution import ACTOR, decider
from carsdepo_assets.orchestration.launchpad import Reason, example
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.resources import LakeResource, NoService, ServicesResource

RELEASE_JOB, PROMOTE_JOB = "release", "promote"
ROLLBACK_WAIT_S = 30.0

release_job = dg.define_asset_job(
    RELEASE_JOB,
    selection=["staging_deployment", "staging_validation", "production_model"],
    description="Serves a candidate at staging, validates it there, runs the promotion gate and promotes it.",
)
promote_job = dg.define_asset_job(
    PROMOTE_JOB,
    selection=["production_model"],
    description="Runs the promotion gate and the approval for a model that staging has validated, and promotes it.",
)


class DecisionConfig(dg.Config):
    """A person's decision about one version."""

    version: str = Field(description="the version's number, its digest (or first digits) or latest")
    reason: Reason = Field(description="the reason, which is kept with the decision")
    actor: str | None = Field(default=None, description=ACTOR)


class RollbackConfig(dg.Config):
    """A person's rollback of production."""

    reason: Reason = Field(description="the reason, which is kept with the decision")
    actor: str | None = Field(default=None, description=ACTOR)
    event_id: str | None = Field(
        default=None, description="a rollback that the ledger has already (`carsdepo rollback` enters it first)"
    )


def _record_decision(
    context: dg.OpExecutionContext, action: str, config: DecisionConfig, lake: LakeResource, tracking: MlflowTracking
) -> None:
    from carsdepo_assets.registry import ledger
    from carsdepo_assets.registry.models import get

    version = get(tracking.tracking(), config.version)
    event = ledger.record(
        lake.open(),
        "production",
        action,  # type: ignore[arg-type]
        digest=version.digest,
        version=version.version,
        actor=decider(context.instance, context.run, config.actor),
        reason=config.reason,
        dagster_run_id=context.run_id,
        event_id=f"{action}:{context.run_id}",
    )
    context.log.info(
        f"Ledger event {event.sequence}: {event.actor} {action}s version {version.version}: {event.reason}"
    )
    context.add_output_metadata({"version": version.version, "digest": version.digest, "sequence": event.sequence})


@dg.op(description="Enters a person's approval in the ledger. It allows one promotion, whatever the gate's verdict is.")
def approve(
    context: dg.OpExecutionContext, config: DecisionConfig, lake: LakeResource, tracking: MlflowTracking
) -> None:
    """Enters a person's approval in the ledger."""
    _record_decision(context, "approve", config, lake, tracking)


@dg.op(
    description="Enters a person's rejection in the ledger: that model is not promoted automatically until a person "
    "approves it."
)
def reject(
    context: dg.OpExecutionContext, config: DecisionConfig, lake: LakeResource, tracking: MlflowTracking
) -> None:
    """Enters a person's rejection in the ledger."""
    _record_decision(context, "reject", config, lake, tracking)


@dg.op(description="Production serves the model before the present one, which is barred from automatic promotion.")
def rollback(
    context: dg.OpExecutionContext,
    config: RollbackConfig,
    lake: LakeResource,
    services: ServicesResource,
    tracking: MlflowTracking,
) -> None:
    """Enters the rollback in the ledger, which counts also while no service runs, and waits for the service.

    Raises:
        dagster.Failure: the service does not serve the model in time.
    """
    from carsdepo_assets.registry.aliases import project
    from carsdepo_assets.release.promotion import roll_back

    opened_lake = lake.open()
    event = roll_back(
        opened_lake,
        actor=decider(context.instance, context.run, config.actor),
        reason=config.reason,
        event_id=config.event_id or f"rollback:{context.run_id}",
        dagster_run_id=context.run_id,
    )
    assert event.digest is not None
    failure: NoService | None = None
    try:
        services.wait_for("production", event.digest, ROLLBACK_WAIT_S)
    except NoService as error:
        failure = error
    project(tracking.tracking(), opened_lake)
    context.log_event(
        dg.AssetMaterialization(
            "production_model",
            description=f"Rolled back by {event.actor}: {event.reason}",
            metadata={
                "action": "rollback",
                "version": dg.MetadataValue.int(event.version) if event.version is not None else "unknown",
                "digest": event.digest,
                "previous": event.previous or "none",
                "decided_by": event.actor,
                "reason": event.reason,
                "ledger_sequence": event.sequence,
                "served": failure is None,
            },
            tags={"dagster/data_version": event.digest},
        )
    )
    if failure is not None:
        raise dg.Failure(
            f"The ledger has production serve model {event.digest} again, and the service has not followed: {failure}"
        )


@dg.job(
    description="A person approves a version: config version, reason. The sensor `release_candidate` promotes it "
    "next, or run `promote`; `carsdepo approve` does both.",
    config=example("approve", version="latest"),
    tags=ONCE_TAGS,
)
def approve_model() -> None:
    """The job in which a person approves a version."""
    approve()


@dg.job(
    description="A person rejects a version: config version, reason.",
    config=example("reject", version="latest"),
    tags=ONCE_TAGS,
)
def reject_model() -> None:
    """The job in which a person rejects a version."""
    reject()


@dg.job(
    description="Production goes back to the model before the present one: config reason.",
    config=example("rollback"),
    tags=ONCE_TAGS,
)
def rollback_production() -> None:
    """The job in which a person rolls production back."""
    rollback()
