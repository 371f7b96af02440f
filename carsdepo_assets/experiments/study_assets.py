"""The asset `trials` of step 1: a study of recipes, whose winner the asset `recipe` follows."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from carsdepo_assets.compute.target import ComputeTarget
from carsdepo_assets.orchestration.ui_metadata import metadata_table, picture, stored_table
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.resources import LakeResource, PolicyResource, StudyStorage

if TYPE_CHECKING:
    from carsdepo_assets.experiments.study.planning import TrialPlace

_ROWS_SHOWN = 50


def trial_place(compute: ComputeTarget, policy: Policy) -> "TrialPlace":
    """Where trials are trained, how many of them at once, and for what price."""
    from carsdepo_assets.experiments.study.planning import TrialPlace

    place = compute.of_asset("trials")
    hardware = place.hardware("train")
    return TrialPlace(
        name=f"{hardware.name} ({hardware.place})",
        device=hardware.device,
        slots=place.slots("train"),
        per_hour=place.price_per_hour("train", policy.compute),
    )


class TrialsConfig(dg.Config):
    """What this study changes against the policy; empty: the policy's value."""

    report_id: str | None = Field(None, description="the drift report whose labelled queue the study is for")
    trials: int | None = Field(None, description="most trials, today's recipe among them")
    steps: int | None = Field(None, description="optimizer steps of a trial")
    minutes: float | None = Field(None, description="minutes of training that all trials may take together")
    seed: int | None = Field(None, description="of the sampler: another seed is another study")


@dg.asset(group_name="experiments", deps=["dataset"], kinds={"optuna"}, pool="training")
def trials(
    context: dg.AssetExecutionContext,
    config: TrialsConfig,
    lake: LakeResource,
    policy: PolicyResource,
    compute: ComputeTarget,
    tracking: MlflowTracking,
    studies: StudyStorage,
) -> dg.MaterializeResult:
    """A study of recipes: trainings on the dataset's split train, scored on val, of which the best one is recommended.

    Trial 0 is today's recipe; the others are what Optuna suggests within the policy's search space and budgets. Each is
    a job of the compute target and a run in MLflow. Their ledger is the table `trials`: a study that was killed goes on
    where it was. The page on the site has the leaderboard. The golden set is not looked at.
    """
    from carsdepo_assets.experiments.study.carrying_out import StudySite, carry_out
    from carsdepo_assets.experiments.study.policy_changes import with_changes
    from carsdepo_assets.experiments.study.report import leaderboard, pictures
    from carsdepo_assets.experiments.study.running import TrialInterrupted

    def start(spec: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            told = compute.run(context, "train", spec, module="carsdepo_assets.training.worker")
        except dg.Failure as failure:
            raise TrialInterrupted(str(failure.description)) from failure
        return {name: getattr(value, "value", value) for name, value in (told.metadata or {}).items()}

    opened_lake = lake.open()
    current_policy = with_changes(
        policy.read(), trials=config.trials, steps=config.steps, minutes=config.minutes, seed=config.seed
    )
    site = StudySite(
        lake=opened_lake,
        policy=current_policy,
        place=trial_place(compute, current_policy),
        tracking=tracking.tracking(),
        storage=studies.address(),
        home=Path(lake.home),
        start=start,
        say=context.log.info,
        warn=context.log.warning,
        run_id=context.run.run_id,
    )
    outcome = carry_out(site, config.report_id or None, datetime.now(UTC))
    rows = leaderboard(outcome.ledger, outcome.result)
    winner = outcome.result.winner
    metadata: dict[str, Any] = {
        "study": outcome.plan.study,
        "conclusion": outcome.result.text,
        "plan": dg.MetadataValue.md("\n".join(f"- {line}" for line in outcome.lines)),
        "trials": len(outcome.ledger),
        "winner": "none" if winner is None else winner.number,
        "best_val_map50": outcome.result.tied[0].value if outcome.result.tied else "none",
        "tied": len(outcome.result.tied),
        "dataset_version": outcome.plan.dataset,
        "leaderboard": metadata_table(
            [{k: v for k, v in row.items() if k not in ("message", "model")} for row in rows], _ROWS_SHOWN
        ),
        "report": lake.link(outcome.page),
        "mlflow_run_id": outcome.parent,
        "feedback_reads": ["candidate_model", "labelling_queue", "production_model"],
        **stored_table(lake.url, "trials"),
    }
    metadata |= {name: picture(png) for name, png in pictures(outcome.plan, outcome.ledger).items()}
    return dg.MaterializeResult(data_version=dg.DataVersion(outcome.plan.study), metadata=metadata)
