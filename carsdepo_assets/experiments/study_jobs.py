"""The jobs of studies: a study with the recipe that follows from it, and a person's pin of another trial."""

import dagster as dg
from pydantic import Field

from carsdepo_assets.orchestration.attempts import ONCE_TAGS, RETRY_TAGS
from carsdepo_assets.orchestration.attribution import ACTOR, decider
from carsdepo_assets.orchestration.launchpad import Reason, example
from carsdepo_assets.orchestration.study_runs import STUDY_JOB
from carsdepo_assets.resources import LakeResource

study_job = dg.define_asset_job(
    STUDY_JOB,
    selection=["dataset", "trials", "recipe"],
    tags=RETRY_TAGS,  # the retry finishes a study that was killed
    description="Tries recipes on the dataset of now and takes the winner as the recipe of the next training.",
)


class PinConfig(dg.Config):
    """A person's choice of a trial."""

    study: str = Field(description="the study's name")
    trial: int = Field(description="the trial's number")
    reason: Reason = Field(description="the reason, which is kept with the study")
    actor: str | None = Field(default=None, description=ACTOR)


@dg.op(description="Records that a person takes a trial of a study: the next recipe follows it.")
def pin(context: dg.OpExecutionContext, config: PinConfig, lake: LakeResource) -> None:
    """Records a person's choice of a trial."""
    from datetime import UTC, datetime

    from carsdepo_assets.experiments.study.pinning import pin_trial

    plan, event = pin_trial(
        lake.open(),
        config.study,
        config.trial,
        reason=config.reason,
        actor=decider(context.instance, context.run, config.actor),
        now=datetime.now(UTC),
        pin_id=context.run_id,
    )
    context.log.info(f"{event.actor} takes trial {event.number} of study {plan.study}: {event.message}")
    context.add_output_metadata({"study": plan.study, "trial": config.trial, "actor": str(event.actor)})


@dg.job(
    description="A person takes a trial of a study, whatever its score: config study, trial, reason. The next recipe "
    "follows it; `carsdepo study pin` does the same.",
    config={"ops": {"pin": {"config": {**example("pin", study="")["ops"]["pin"]["config"], "trial": 0}}}},
    tags=ONCE_TAGS,
)
def pin_recipe() -> None:
    """The job in which a person takes a trial."""
    pin()
