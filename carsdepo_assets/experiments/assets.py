"""Step 1 as assets: the recipe that training follows."""

from pathlib import Path

import dagster as dg

from carsdepo_assets import __version__
from carsdepo_assets.resources import LakeResource, PolicyResource


class RecipeConfig(dg.Config):
    """What to change against the policy; the policy's values where empty."""

    detector: str | None = None
    minutes: float | None = None
    epochs: int | None = None
    steps: int | None = None


@dg.asset(group_name="experiments", deps=["dataset"], code_version=__version__, kinds={"json"})
def recipe(config: RecipeConfig, lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """How the next model is trained: detector, initial weights, image size, epochs, batch, learning rate.

    Chosen by the policy and the dataset's size until a study finds a better one; starts from the model in production
    where that is of the same detector. Stored at `recipes/<digest>.json`.
    """
    from carsdepo_assets.experiments.recipes import champion_for, choose_recipe, write_recipe
    from carsdepo_assets.lake.datasets import latest, read_manifest

    opened = lake.open()
    version = latest(opened)
    if version is None:
        raise dg.Failure("No dataset yet: materialize `dataset` first (it needs photographs and labels).")
    chosen = choose_recipe(
        policy.read(),
        read_manifest(opened, version),
        Path(lake.home, "weights"),
        detector=config.detector,
        minutes=config.minutes,
        epochs=config.epochs,
        steps=config.steps,
        champion=champion_for(opened, version),
    )
    digest = write_recipe(opened, chosen)
    rows = [dg.TableRecord({"setting": k, "value": str(v)}) for k, v in chosen.model_dump().items()]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(digest),
        metadata={
            "recipe": dg.MetadataValue.table(rows),
            "digest": digest,
            "detector": chosen.detector,
            "epochs": chosen.epochs,
            "starts from": f"champion {chosen.champion}" if chosen.champion else chosen.init,
        },
    )
