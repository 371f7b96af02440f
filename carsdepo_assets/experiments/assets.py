"""The asset `recipe` of step 1: how the next model is trained."""

from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from carsdepo_assets.compute.target import ComputeTarget
from carsdepo_assets.resources import LakeResource, PolicyResource


class RecipeConfig(dg.Config):
    """What this run changes against the policy; empty: the policy's value. The sensor sets fallback and label_state."""

    detector: str | None = Field(None, description="detector family; another than the champion's: a warning in the log")
    minutes: float | None = Field(None, description="minutes of wall time")
    epochs: int | None = Field(None, description="epochs after which the training ends")
    steps: int | None = Field(None, description="optimizer steps after which the training ends")
    fallback: str | None = Field(None, description="name of one of the policy's fallbacks, such as longer-3")
    label_state: int | None = Field(None, description="the state of the labels for which the fallback is tried")


@dg.asset(group_name="experiments", deps=["dataset", "trials"], kinds={"json"})
def recipe(
    context: dg.AssetExecutionContext,
    config: RecipeConfig,
    lake: LakeResource,
    policy: PolicyResource,
    compute: ComputeTarget,
) -> dg.MaterializeResult:
    """How the next model is trained: detector, initial weights, image size, epochs, batch, learning rate; and why.

    With a model in production the recipe follows its family, its input size and its weights. A first model's family is
    chosen by the policy and by the share of real photographs. It is made for the hardware that the compute target
    names. The newest study's winner, or the trial that a person pinned, is followed in what it changes. Only a person
    or a study changes the family. Stored at `recipes/<digest>.json`.
    """
    from carsdepo_assets.detectors.recipe_changes import recipe_key
    from carsdepo_assets.experiments.champion import champion_for
    from carsdepo_assets.experiments.fallback_recipe import fallback_choice
    from carsdepo_assets.experiments.recipes import choose_recipe, write_recipe
    from carsdepo_assets.experiments.study.chosen import current_adjustments
    from carsdepo_assets.lake.datasets import latest, read_manifest
    from carsdepo_assets.lake.label_state import LABEL_STATE_TAG

    opened_lake, current_policy, weights = lake.open(), policy.read(), Path(lake.home, "weights")
    version = latest(opened_lake)
    if version is None:
        raise dg.Failure("No dataset yet: materialize `dataset` first (it needs photographs and labels).")
    manifest, champion = read_manifest(opened_lake, version), champion_for(opened_lake, version)
    chosen = None
    if config.fallback is not None:
        chosen = fallback_choice(
            opened_lake, config.fallback, config.label_state, current_policy, manifest, weights, champion
        )
        if chosen is None:
            context.log.warning(
                f"Labels came after state {config.label_state}: the usual recipe is used instead of the fallback."
            )
    hardware = compute.hardware("train")
    chosen = chosen or choose_recipe(
        current_policy,
        manifest,
        weights,
        device=hardware.device,
        detector=config.detector,
        minutes=config.minutes,
        epochs=config.epochs,
        steps=config.steps,
        champion=champion,
        adjustments=current_adjustments(opened_lake, current_policy, champion),
    )
    digest = write_recipe(opened_lake, chosen, "retrain" if LABEL_STATE_TAG in context.run.tags else "person")
    for line in chosen.why:
        (context.log.info if chosen.new_family is None else context.log.warning)(line)
    settings = chosen.recipe
    shown = settings.model_dump(exclude={"augmentation"})
    if settings.augmentation is not None:
        shown["augmentation"] = f"{settings.augmentation.version}: {settings.augmentation.described()}"
    rows = [dg.TableRecord({"setting": k, "value": str(v)}) for k, v in shown.items()]
    metadata: dict[str, Any] = {
        "why": dg.MetadataValue.md("\n".join(f"- {line}" for line in chosen.why)),
        "recipe": dg.MetadataValue.table(rows),
        "digest": digest,
        "dagster/uri": f"{lake.url}/{recipe_key(digest)}",
        "detector": settings.detector,
        "epochs": settings.epochs,
        "hardware": f"{hardware.name} ({hardware.place})",
        "initial_weights": f"champion {settings.champion}" if settings.champion else settings.init,
        "feedback_reads": ["candidate_model", "production_model"],
    }
    if chosen.new_family is not None:
        metadata["detector_change"] = f"from {chosen.new_family} to {settings.detector}"
    if chosen.fallback is not None:
        metadata["fallback"] = chosen.fallback
    return dg.MaterializeResult(data_version=dg.DataVersion(digest), metadata=metadata)
