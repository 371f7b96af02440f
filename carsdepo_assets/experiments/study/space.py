"""The search space of a study: what a trial's parameters change of the usual recipe, and whether families know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.experiments.adjustments import Adjustments
from carsdepo_assets.experiments.study.errors import StudyError
from carsdepo_assets.families.registry import family_of, names
from carsdepo_assets.policy import Dimension, Policy, StudyPolicy
from carsdepo_assets.policy_study import AUGMENTATION, EXTRA

FAMILY = "family"  # the parameter that names the family


def families_of(policy: Policy) -> tuple[str, ...]:
    """The families that a study tries.

    Raises:
        StudyError: the policy names one that there is not.
    """
    strange = sorted(set(policy.study.families) - set(names()))
    if strange:
        raise StudyError(f"study.families names {strange[0]!r}, which is no family; there are {', '.join(names())}.")
    named = policy.training.detector
    if named == "auto":
        return policy.study.families
    return (named,)


def changes_of(params: Mapping[str, Any], study: StudyPolicy, why: str) -> Adjustments:
    """What a trial's parameters change of the usual recipe.

    Args:
        params: a value by the name of its dimension, and the family.
        study: the policy by which they were chosen.
        why: where they come from, as a sentence.
    """
    family = str(params[FAMILY])
    values: dict[str, Any] = {}
    factors: dict[str, float] = {}
    for dimension in study.dimensions(family):
        if dimension.name not in params:
            continue
        value = params[dimension.name]
        if dimension.times_usual:
            factors[dimension.field] = float(value)
        else:
            values[dimension.field] = int(value) if dimension.is_integer and not isinstance(value, str) else value
    return Adjustments(detector=family, values=values, factors=factors, why=why)


def check_space(study: StudyPolicy, usual: Mapping[str, Recipe]) -> None:
    """Looks whether every corner of the search space is a recipe that its family takes.

    Args:
        study: the policy.
        usual: the usual recipe of each family that is tried.

    Raises:
        StudyError: a value does not fit; the message names the field, the family and the value.
    """
    if len(usual) == 1 and not any(study.dimensions(family) for family in usual):
        raise StudyError(
            f"study.space varies nothing for {next(iter(usual))}, and no other family is tried: all trials would be "
            "the same. Name a field in study.space, or more families."
        )
    for family, recipe in usual.items():
        for dimension in study.dimensions(family):
            if dimension.field.startswith(AUGMENTATION) and recipe.augmentation is None:
                raise StudyError(
                    f"study.space: {dimension.field} is varied for {family}, which varies photographs by itself: "
                    'restrict it to other families by `families = ["..."]`, or leave it out.'
                )
            multiple = family_of(family).side_multiple
            if dimension.field == "image_size" and any(value % multiple for value in _sides(dimension)):
                raise StudyError(
                    f"study.space: {family} takes multiples of {multiple} as image_size, and the space has others: "
                    f"give `choices`, or a low that is one and `step = {multiple}`."
                )
            for value in _ends(dimension):
                named = {FAMILY: family, dimension.name: value}
                try:
                    changed = changes_of(named, study, "").applied(recipe)
                except ValidationError as error:
                    problem = "; ".join(e["msg"] for e in error.errors())
                    raise StudyError(
                        f"study.space: {dimension.field} = {value!r} is no value of a recipe of {family}: {problem}."
                    ) from error
                if dimension.field.startswith(EXTRA):
                    _check_extra(family, changed, dimension)


def _ends(dimension: Dimension) -> Sequence[Any]:
    return dimension.choices or (dimension.low, dimension.high)


def _sides(dimension: Dimension) -> Sequence[Any]:
    """What has to be a multiple so that all values of `image_size` are."""
    return dimension.choices or (dimension.low, dimension.step or 1)


def _check_extra(family: str, recipe: Recipe, dimension: Dimension) -> None:
    """Whether the detector knows the argument. Slow to import, and so asked only where the space has one."""
    problem = extra_trouble(family, recipe)
    if problem is not None:
        raise StudyError(
            f"study.space: {dimension.field} is varied for {family}, which does not take it: {problem} Restrict it to "
            f'other families by `families = ["..."]`, or leave it out.'
        )


def extra_trouble(family: str, recipe: Recipe) -> str | None:
    """What of recipe.extra the family's detector refuses, in words; None: nothing."""
    from carsdepo_assets.detectors.base import ChecksExtra
    from carsdepo_assets.detectors.catalogue import get_detector
    from carsdepo_assets.detectors.checkpoints import DetectorError

    detector = get_detector(family)
    if not isinstance(detector, ChecksExtra):
        return None
    try:
        detector.check_extra(recipe)
    except DetectorError as error:
        return str(error)
    return None
