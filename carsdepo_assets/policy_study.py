"""The study section of the policy: what a study of recipes tries, how much it may cost, and what follows from it."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from carsdepo_assets.policy_augmentation import AugmentationSettings
from carsdepo_assets.policy_values import Count, NotNegative, PolicySection, Positive, Share, policy_value

# Fields of a recipe that a study may search, with the least value that a recipe takes. Length, seed and device are the
# study's own, and `detector` is `families`.
INTEGERS = {"image_size": 64, "batch": 1, "freeze": 0}
NUMBERS = {"lr": 0.0, "weight_decay": 0.0}
MOST = {"image_size": 4096, "batch": 1024, "freeze": 1000}  # more is a slip, and fills the memory
_MOST_STEPS = 1_000_000  # values of one dimension
_LARGEST = 2**53  # of whole numbers: a float, in which Optuna keeps them, has no larger ones without gaps
POSITIVE = ("lr",)  # 0 is no value of these
EXTRA = "extra."  # begins the name of an argument of the one detector
AUGMENTATION = "augmentation."  # begins the name of a field of the policy's section

Scalar = bool | int | float | str


class Dimension(PolicySection):
    """One field of the recipe that a study varies: between `low` and `high`, or among `choices`."""

    field: str = Field(
        description="image_size, batch, lr, weight_decay or freeze; `augmentation.NAME` is a field of that section, "
        "`extra.NAME` an argument of the one detector.",
        json_schema_extra={"unit": ""},
    )
    low: float | None = policy_value(None, "as the field", "The smallest value; with `high`.")
    high: float | None = policy_value(None, "as the field", "The largest value.")
    step: float | None = policy_value(None, "as the field", "Between two values; none: every value.", gt=0)
    log: bool = policy_value(False, "", "Whether values are spread evenly over orders of magnitude.")
    choices: tuple[Scalar, ...] | None = policy_value(None, "as the field", "The values, in place of `low` and `high`.")
    times_usual: bool = policy_value(
        False, "", "Whether the values are factors of the family's usual value, which lr and weight_decay may be."
    )
    families: tuple[str, ...] = policy_value((), "", "The families for which the field is varied; empty: all.")

    @property
    def name(self) -> str:
        """Names the dimension in a trial's parameters: the field, and for whom, where it is not for all."""
        return f"{self.field} ({', '.join(self.families)})" if self.families else self.field

    @property
    def is_integer(self) -> bool:
        """Whether its values are whole numbers."""
        if self.field in INTEGERS:
            return True
        parts = (self.low, self.high, 1 if self.step is None else self.step)
        return self.field.startswith(EXTRA) and self.step is not None and all(float(p or 0).is_integer() for p in parts)

    @model_validator(mode="after")
    def _makes_sense(self) -> Dimension:
        trouble = self._trouble()
        if trouble is not None:
            raise ValueError(f"{self.field}: {trouble}")
        return self

    def _trouble(self) -> str | None:
        """What of it makes no sense; None: nothing."""
        own = self.field.removeprefix(EXTRA)
        if self.field.startswith(AUGMENTATION):
            varied = self.field.removeprefix(AUGMENTATION)
            if varied not in AugmentationSettings.model_fields:
                return f"there is no such augmentation; there are {', '.join(AugmentationSettings.model_fields)}"
        elif self.field not in {**INTEGERS, **NUMBERS} and (own == self.field or not own):
            there = ", ".join((*INTEGERS, *NUMBERS))
            return f"a study cannot vary this field of a recipe; there are {there}, {AUGMENTATION}NAME and {EXTRA}NAME"
        if self.times_usual and self.field not in NUMBERS:
            return f"times_usual is for {', '.join(NUMBERS)} alone"
        ranged = self.low is not None or self.high is not None
        if ranged and self.choices is not None:
            return "it has both choices and a range: leave out one of them"
        return self._trouble_of_range() if ranged else self._trouble_of_choices()

    def _trouble_of_range(self) -> str | None:
        if self.low is None or self.high is None:
            return f"the range has no {'low' if self.low is None else 'high'}"
        if self.low > self.high:
            return f"low {self.low:g} is above high {self.high:g}"
        if self.low == self.high:
            return f"low and high are both {self.low:g}: there is nothing to search"
        if self.log and self.low <= 0:
            return f"log needs a low above 0, and low is {self.low:g}"
        if self.log and self.step is not None:
            return "log and step exclude each other"
        if not math.isfinite(self.high - self.low):
            return f"the range from {self.low:g} to {self.high:g} is wider than a number can say"
        if self.step is not None and self.step > self.high - self.low:
            return f"the step {self.step:g} is larger than the range"
        if self.step is not None and self.high - self.low > _MOST_STEPS * self.step:
            return f"the step {self.step:g} makes more than {_MOST_STEPS:,} values: leave it out, or take a larger one"
        if self.field in INTEGERS and not all(float(v).is_integer() for v in (self.low, self.high, self.step or 1)):
            return "low, high and step are to be whole numbers"
        return self._trouble_of_value(self.low) or self._trouble_of_value(self.high)

    def _trouble_of_choices(self) -> str | None:
        if self.choices is None:
            return "it has neither choices nor a range from low to high"
        if not self.choices:
            return "choices is empty: there is nothing to try"
        if len({(type(c) is bool, c) for c in self.choices}) < len(self.choices):
            return "a choice comes twice"
        if any(isinstance(c, int) and abs(c) > _LARGEST for c in self.choices):
            return f"a choice is beyond {_LARGEST:,}, which no database keeps exactly"
        if self.log or self.step is not None:
            return "log and step belong to a range, not to choices"
        return next((text for c in self.choices if (text := self._trouble_of_value(c)) is not None), None)

    def _trouble_of_value(self, value: Scalar) -> str | None:
        if self.field.startswith(EXTRA):
            return None
        if self.field.startswith(AUGMENTATION):
            return self._trouble_of_augmentation(value)
        if isinstance(value, bool | str):
            return f"{value!r} is no number"
        if self.field in INTEGERS and not float(value).is_integer():
            return f"{value:g} is no whole number"
        least = {**INTEGERS, **NUMBERS}[self.field]
        if value < least or (value == least and (self.times_usual or self.field in POSITIVE)):
            relation = "above" if value == least else "at least"
            return f"{value:g} is too small: a recipe's {self.field} is {relation} {least:g}"
        if (most := MOST.get(self.field)) is not None and value > most:
            return f"{value:g} is too large: a study varies {self.field} up to {most:,}"
        return None

    def _trouble_of_augmentation(self, value: Scalar) -> str | None:
        if isinstance(value, bool | str):
            return f"{value!r} is no number"
        try:
            AugmentationSettings.model_validate({self.field.removeprefix(AUGMENTATION): value})
        except ValidationError as error:
            return f"{value:g} makes no sense: {error.errors()[0]['msg']}"
        return None


class StudyPolicy(PolicySection):
    """A study tries recipes: which, how many, for how long, and what its result does.

    Its first trial is today's recipe. All trials are trained on the dataset's split `train` and scored on `val`.
    """

    families: tuple[str, ...] = policy_value(
        ("yolov8n", "faster_rcnn"),
        "",
        "Families of detectors that are tried. Where training.detector names one, it alone is.",
        min_length=1,
    )
    space: tuple[Dimension, ...] = policy_value(
        (
            Dimension(field="lr", low=0.3, high=3.0, log=True, times_usual=True),
            Dimension(field="weight_decay", low=0.1, high=10.0, log=True, times_usual=True),
        ),
        "",
        "What is varied besides the family; what is not named is as usual.",
    )
    trials: int = policy_value(12, "trials", "Most trials of a study, today's recipe among them.", ge=2, le=10_000)
    trial_steps: int | None = policy_value(
        None, "optimizer steps", "Length of a trial; none: as many steps as fit into `trial_minutes`.", ge=1, le=10**9
    )
    trial_minutes: Positive = policy_value(
        2.5, "minutes", "Wall time that a trial plans for; with `trial_steps` what it is stopped after."
    )
    minutes: Positive = policy_value(
        60.0, "minutes of training", "No trial is begun that would take all trials together beyond this."
    )
    money: float | None = policy_value(
        None,
        "of currency",
        "No trial is begun that would cost more than this together, by compute.prices_per_hour; none: no limit.",
        gt=0,
    )
    parallel: Count = policy_value(4, "trials", "Most trials at once, where the place of trainings has slots for them.")
    seed: int = policy_value(0, "", "Of the sampler: the same seed, one trial at a time, gives the same trials.", ge=0)
    startup_trials: Count = policy_value(5, "trials", "So many are drawn by chance before the sampler (TPE) learns.")
    pruner: Literal["median", "hyperband", "none"] = policy_value(
        "median",
        "",
        "Which trials are stopped early. median: those below the median of the earlier ones at the same share of their "
        "length; hyperband: all but the best third at each rung of a bracket.",
    )
    prune_after: Share = policy_value(0.3, "share of a trial's length", "No trial is stopped before.")
    prune_startup: Count = policy_value(3, "trials", "No trial is stopped before so many have ended whole.")
    tolerance_points: float | None = policy_value(
        None,
        "points of mAP@.5",
        "Trials this close to the best are tied with it; none: business.error_tolerance_points.",
        ge=0,
    )
    resamples: int = policy_value(
        400, "resamples", "Bootstrap samples of groups for a trial's interval.", ge=100, le=100_000
    )
    apply: Literal["automatic", "person"] = policy_value(
        "automatic", "", "Whether the winner becomes the recipe by itself, or when a person pins it."
    )
    winner_as_init: bool = policy_value(
        False,
        "",
        "Whether the training that follows on the study's own dataset goes on from the winner's weights.",
    )
    trial_attempts: Count = policy_value(
        3, "attempts", "A trial whose training was ended from outside this often counts as failed."
    )
    device: Literal["auto", "cpu", "gpu"] = policy_value(
        "auto", "", "What trials compute with. gpu: a study is refused where the place of trainings has none."
    )
    after_high_drift: bool = policy_value(
        True,
        "",
        "Whether a study follows when the queue of a drift from monitoring.no_retraining_from on is labelled. A person "
        "must approve the promotion of its model.",
    )
    labelled_share: Share = policy_value(
        0.5, "share of the queue", "So much of that queue has to be labelled before its study begins."
    )

    @field_validator("families")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("each family once")
        return names

    @model_validator(mode="after")
    def _fits_together(self) -> StudyPolicy:
        taken: set[tuple[str, str]] = set()
        for dimension in self.space:
            strange = sorted(set(dimension.families) - set(self.families))
            if strange:
                raise ValueError(f"space: {dimension.field} is for {strange[0]}, which is not among `families`")
            for family in dimension.families or self.families:
                if (family, dimension.field) in taken:
                    raise ValueError(f"space: {dimension.field} is named twice for {family}")
                taken.add((family, dimension.field))
        if self.trial_steps is None and self.minutes < self.trial_minutes:
            raise ValueError(
                f"the budget of {self.minutes:g} minutes is smaller than one trial of {self.trial_minutes:g}"
            )
        return self

    def dimensions(self, family: str) -> list[Dimension]:
        """What is varied for a family, in the order of the policy."""
        return [d for d in self.space if not d.families or family in d.families]


def tolerance_of(study: StudyPolicy, business_points: NotNegative) -> float:
    """How far below the best mAP@.5 a trial is still tied with it, of 1: points are hundredths."""
    points: Any = business_points if study.tolerance_points is None else study.tolerance_points
    return float(points) / 100
