"""Step 1 as assets: the recipe that training follows."""

from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from carsdepo_assets import __version__
from carsdepo_assets.resources import LakeResource, PolicyResource


class RecipeConfig(dg.Config):
    """What to change against the policy; the policy's values where empty. fallback, label_state: the sensor's own."""

    detector: str | None = Field(None, description="another family than the champion's is said in the run's log")
    minutes: float | None = Field(None, description="minutes of wall time")
    epochs: int | None = None
    steps: int | None = Field(None, description="optimizer steps after which the training ends")
    fallback: str | None = Field(None, description="name of one of the policy's fallbacks, such as longer-3")
    label_state: int | None = Field(None, description="the state of the labels for which the fallback is tried")


@dg.asset(group_name="experiments", deps=["dataset"], code_version=__version__, kinds={"json"})
def recipe(
    context: dg.AssetExecutionContext, config: RecipeConfig, lake: LakeResource, policy: PolicyResource
) -> dg.MaterializeResult:
    """How the next model is trained: detector, initial weights, image size, epochs, batch, learning rate; and why.

    With a model in production its family, input size and weights are followed; a first model's family is chosen by the
    policy and the mix of the photographs. Another family is a person's decision. Stored at `recipes/<digest>.json`.
    """
    from carsdepo_assets.experiments.champion import champion_for
    from carsdepo_assets.experiments.fallback_recipe import fallback_choice
    from carsdepo_assets.experiments.recipes import choose_recipe, write_recipe
    from carsdepo_assets.lake.datasets import latest, read_manifest
    from carsdepo_assets.lake.label_state import LABEL_STATE_TAG

    opened, rules, weights = lake.open(), policy.read(), Path(lake.home, "weights")
    version = latest(opened)
    if version is None:
        raise dg.Failure("No dataset yet: materialize `dataset` first (it needs photographs and labels).")
    manifest, champion = read_manifest(opened, version), champion_for(opened, version)
    chosen = None
    if config.fallback is not None:
        chosen = fallback_choice(opened, config.fallback, config.label_state, rules, manifest, weights, champion)
        if chosen is None:
            context.log.warning(f"Newer labels than state {config.label_state} came: the usual recipe instead.")
    chosen = chosen or choose_recipe(
        rules,
        manifest,
        weights,
        detector=config.detector,
        minutes=config.minutes,
        epochs=config.epochs,
        steps=config.steps,
        champion=champion,
    )
    digest = write_recipe(opened, chosen, "retrain" if LABEL_STATE_TAG in context.run.tags else "person")
    for line in chosen.why:
        (context.log.info if chosen.new_family is None else context.log.warning)(line)
    made = chosen.recipe
    rows = [dg.TableRecord({"setting": k, "value": str(v)}) for k, v in made.model_dump().items()]
    metadata: dict[str, Any] = {
        "why": dg.MetadataValue.md("\n".join(f"- {line}" for line in chosen.why)),
        "recipe": dg.MetadataValue.table(rows),
        "digest": digest,
        "detector": made.detector,
        "epochs": made.epochs,
        "starts from": f"champion {made.champion}" if made.champion else made.init,
    }
    if chosen.new_family is not None:
        metadata["family changes"] = f"from {chosen.new_family} to {made.detector}"
    if chosen.fallback is not None:
        metadata["fallback"] = chosen.fallback
    return dg.MaterializeResult(data_version=dg.DataVersion(digest), metadata=metadata)
