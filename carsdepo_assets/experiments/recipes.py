"""Chooses the recipe of the next training, and says why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.recipe_changes import (
    changed,
    epochs_for,
    first_start,
    is_there,
    pretrained_init,
    recipe_key,
)
from carsdepo_assets.experiments.adjustments import Adjustments
from carsdepo_assets.experiments.champion import Champion
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.pointers import RecipePointer
from carsdepo_assets.policy import Fallback, Policy
from carsdepo_assets.policy_augmentation import AugmentationPolicy

RENDERED = {"sample", "annotator"}  # origins of labels that come from the demo's renderer and its annotator


@dataclass(frozen=True)
class Choice:
    """A recipe and the reasons for it."""

    recipe: Recipe
    why: tuple[str, ...]
    """Whole sentences on the family, the start and the length."""
    new_family: str | None = None
    """The champion's family, where the recipe has another; else None."""
    fallback: str | None = None
    """The policy's fallback that made the recipe; None: the usual recipe."""


@dataclass(frozen=True)
class Mix:
    """How many photographs of a dataset are real: of its training split, or of all where that is empty."""

    photographs: int
    real: int
    """Photographs whose labels do not come from the demo's renderer."""

    @property
    def real_share(self) -> float:
        """From 0 to 1."""
        return self.real / self.photographs if self.photographs else 0.0

    def is_real(self, policy: Policy) -> bool:
        """Whether the share is above policy.training.auto_real_share."""
        return self.real_share > policy.training.auto_real_share


def mix_of(manifest: pa.Table) -> Mix:
    """Counts the photographs of a dataset's manifest. A label of unknown origin counts as real."""
    rows = list(zip(manifest["split"].to_pylist(), manifest["origin"].to_pylist(), strict=True))
    chosen = [origin for split, origin in rows if split == "train"] or [origin for _, origin in rows]
    return Mix(len(chosen), sum(origin not in RENDERED for origin in chosen))


def choose_recipe(
    policy: Policy,
    manifest: pa.Table,
    weights: Path,
    *,
    device: str = "cpu",
    detector: str | None = None,
    minutes: float | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    champion: Champion | None = None,
    adjustments: Adjustments | None = None,
) -> Choice:
    """Chooses the usual recipe for a dataset.

    With a champion, the family, the input size and the initial weights are the champion's; another family is only what
    the run or policy.training.detector names. Without one, `auto` decides by the share of real photographs. A run that
    asks for minutes or epochs is not ended by the policy's steps.

    Args:
        manifest: the dataset's.
        weights: the home's folder of published weights.
        device: what the training computes with: `cpu`, `cuda:0` and so on.
        detector: the family that this run asks for; None: as the policy says. Likewise the next three.
        minutes: wall time of the training.
        epochs: epochs after which it ends.
        steps: optimizer steps after which it ends.
        champion: the model in production; None where there is none.
        adjustments: what a study changes of it, where they are for the family that is wanted; None: nothing.

    Raises:
        DetectorError: there is no such detector.
    """
    from carsdepo_assets.detectors.catalogue import default_recipe, retraining_recipe

    training, mix = policy.training, mix_of(manifest)
    wanted, why = _family(policy, mix, weights, detector, champion, adjustments)
    ours = None if adjustments is None else adjustments.of(wanted)
    follows = champion is not None and champion.card.detector == wanted
    own = champion if follows else None
    start = own.start if own is not None and training.from_champion and own.fits(policy.class_map.names) else None
    n_train = manifest["split"].to_pylist().count("train")
    ends = steps if steps is not None else training.steps if epochs is None and minutes is None else None
    usual = (training.retrain_minutes if start is not None else None) or training.minutes
    recipe = default_recipe(
        wanted,
        minutes=minutes or (training.cap_minutes if ends is not None else usual),
        n_train=n_train,
        device=device,
        real=mix.is_real(policy),
        image_size=own.card.image_size if own is not None else None,
    )
    recipe = _varied(recipe, policy)
    changes: dict[str, object] = {"seed": training.seed}
    if start is not None:
        # It never saw a photograph of the golden set: no photograph changes sides, so no dataset ever had one to train.
        recipe = retraining_recipe(recipe, start.digest)
    else:
        changes["init"] = _start_of(own, wanted, policy, weights)
    if ours is not None:
        recipe = ours.applied(recipe)
        if ours.init_model is not None:
            changes |= {"init": "champion", "champion": ours.init_model}
        why = (*why, f"{ours.why} In it {ours.described()}.".lstrip())
    if ends is not None:
        changes |= {"steps": ends, "epochs": epochs_for(ends, n_train, recipe.batch)}
    if epochs is not None:
        changes["epochs"] = epochs
    recipe = recipe.model_copy(update=changes)
    if recipe.augmentation is None and policy.augmentation != AugmentationPolicy():
        why = (*why, f"{wanted} varies photographs by itself: policy.augmentation does not apply.")
    if ours is None or ours.init_model is None:
        why = (*why, _why_start(recipe, own, policy))
    return Choice(recipe, why, champion.card.detector if champion is not None and not follows else None)


def fallback_recipe(
    change: Fallback, base: Recipe, policy: Policy, manifest: pa.Table, weights: Path, champion: Champion | None
) -> Choice:
    """The recipe `base`, whose model was under the floor, with one change.

    Raises:
        ImpossibleChange: the change changes nothing, or lacks its weights; the message says which.
    """
    recipe = changed(
        change,
        base,
        n_train=manifest["split"].to_pylist().count("train"),
        real=mix_of(manifest).is_real(policy),
        weights=weights,
    )
    if recipe.detector != base.detector:
        recipe = _varied(recipe, policy)
    family = champion.card.detector if champion is not None else base.detector
    why = [
        f"Fallback {change.name} of policy.training.fallbacks: the model of recipe {base.digest()} was under the floor."
    ]
    if recipe.detector != family:
        why.append(f"The family changes from {family} to {recipe.detector}.")
    return Choice(recipe, tuple(why), family if recipe.detector != family else None, change.name)


def _varied(recipe: Recipe, policy: Policy) -> Recipe:
    """A family's first recipe with what policy.augmentation says otherwise; families that vary by themselves do."""
    if recipe.augmentation is None:
        return recipe
    return recipe.model_copy(update={"augmentation": policy.augmentation.over(recipe.augmentation)})


def _family(
    policy: Policy,
    mix: Mix,
    weights: Path,
    asked: str | None,
    champion: Champion | None,
    adjustments: Adjustments | None,
) -> tuple[str, tuple[str, ...]]:
    """The detector, and why."""
    named = policy.training.detector if policy.training.detector != "auto" else None
    studied = adjustments.detector if adjustments is not None else None
    explicit = asked or named or studied
    if explicit is not None:
        source = (
            "this run asks for it"
            if asked
            else "policy.training.detector names it"
            if named
            else "a study of recipes chose it"
        )
        if champion is None or champion.card.detector == explicit:
            return explicit, (f"{explicit}, since {source}.",)
        changes = (
            f"The family changes from {champion.card.detector}, which is the champion's "
            f"({champion.card.digest}), to {explicit}, since {source}."
        )
        return explicit, (changes,)
    if champion is not None:
        card = champion.card
        return card.detector, (f"{card.detector} at {card.image_size} px: the champion {card.digest} is followed.",)
    shares = (
        f"{mix.real} of {mix.photographs} training photographs ({100 * mix.real_share:.1f} %) have labels that no "
        f"renderer gave, {'more than' if mix.is_real(policy) else 'no more than'} the "
        f"{100 * policy.training.auto_real_share:g} % of policy.training.auto_real_share"
    )
    if not mix.is_real(policy):
        return "yolov8n", (f"A first model, detector auto: {shares}, so yolov8n is taken, as for the sample.",)
    pretrained = pretrained_init("yolov8n", weights)
    if pretrained is not None and is_there(pretrained, weights):
        return "yolov8n", (
            f"A first model, detector auto: {shares}, so yolov8n is taken, whose pretrained weights are at hand.",
        )
    return "faster_rcnn", (
        f"A first model, detector auto: {shares}, so faster_rcnn is taken, whose backbone knows real photographs "
        f"({pretrained} is not there).",
    )


def _start_of(own: Champion | None, detector: str, policy: Policy, weights: Path) -> str:
    """`init` without a model to go on from: as the champion's line started on this very dataset, else as a first."""
    init = own.init if own is not None and policy.training.from_champion else None
    usable = init in ("scratch", "imagenet") or (init is not None and (weights.parent / init).is_file())
    return init if init is not None and usable else first_start(detector, weights)


def _why_start(recipe: Recipe, own: Champion | None, policy: Policy) -> str:
    if recipe.champion is not None:
        assert own is not None
        if recipe.champion == own.card.digest:
            return f"Goes on from the weights of the champion {recipe.champion}."
        return (
            f"Goes on from {recipe.champion}, which the champion {own.card.digest} descends from: that one was trained "
            "on this very dataset, or is barred."
        )
    start = f"Starts from {'random weights' if recipe.init == 'scratch' else recipe.init}"
    if own is None:
        return f"{start}."
    if not policy.training.from_champion:
        return f"{start}: policy.training.from_champion is false."
    if not own.fits(policy.class_map.names):
        return f"{start}: the champion's classes {list(own.card.class_names)} are not the first of the class map's."
    return f"{start}: the champion {own.card.digest} passes on no weights here (trained on this dataset, or barred)."


def write_recipe(lake: Lake, choice: Choice, asked_by: str) -> str:
    """Stores recipes/<digest>.json and points recipes/latest.json at it, with the reasons.

    Args:
        asked_by: "retrain" (the sensor) or "person".

    Returns:
        The recipe's digest.
    """
    digest = choice.recipe.digest()
    lake.put(recipe_key(digest), choice.recipe.model_dump_json(indent=1).encode())
    RecipePointer(digest=digest, why=choice.why, fallback=choice.fallback, asked_by=asked_by).write(lake)
    return digest
