"""The training section of the policy, and the changes of a recipe that its `fallbacks` may list."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from carsdepo_assets.families.registry import known_family, known_family_or_auto
from carsdepo_assets.policy_diagnosis import DiagnosisPolicy
from carsdepo_assets.policy_values import Count, NotNegative, PolicySection, Positive, policy_value


class Longer(PolicySection):
    """A change of the recipe: the same training, longer. It multiplies steps, minutes or epochs, as the recipe sets."""

    change: Literal["longer"] = "longer"
    factor: float = policy_value(3.0, "times", "How many times as long as before.", gt=1)

    @property
    def name(self) -> str:
        """The change in one word, unique for what it does."""
        return f"longer-{self.factor:g}"


class OtherStart(PolicySection):
    """A change of the recipe: the same training from other initial weights."""

    change: Literal["start"] = "start"
    init: Literal["afresh", "scratch", "imagenet", "pretrained", "yolov8n"] = policy_value(
        "afresh",
        "",
        "afresh: as a first model of the family starts, not from the model in production. scratch: random weights. "
        "imagenet: the backbone whose weights come in a package. pretrained: the published weights of the family, "
        "where their file lies in weights/. yolov8n: the same, of yolov8n alone.",
    )

    @property
    def name(self) -> str:
        """The change in one word, unique for what it does."""
        return f"start-{self.init}"


class OtherDetector(PolicySection):
    """A change of the recipe: a training of another family of detectors, started as a first model of that family."""

    change: Literal["detector"] = "detector"
    detector: Annotated[str, AfterValidator(known_family)] = Field(description="A family; see detectors.md.")

    @property
    def name(self) -> str:
        """The change in one word, unique for what it does."""
        return f"detector-{self.detector}"


# What is tried after a training whose model is under the floor.
Fallback = Annotated[Longer | OtherStart | OtherDetector, Field(discriminator="change")]


class TrainingPolicy(PolicySection):
    """When a model is trained, for how long, from what start, and what is tried when it turns out too weak.

    `experiments/recipes.py` applies `auto` and `fallbacks`; `training/retraining.py` counts the attempts.
    """

    detector: Annotated[str, AfterValidator(known_family_or_auto)] = policy_value(
        "auto",
        "",
        "auto: the family of the model in production; for a first model faster_rcnn where most training photographs "
        "are real (auto_real_share) and weights/yolov8n.pt is not there, else yolov8n. Or a family's name: "
        "detectors.md lists them.",
    )
    auto_real_share: float = policy_value(
        0.5,
        "share",
        "Training photographs count as mostly real when a larger share of them than this was not drawn by a renderer.",
        ge=0,
        lt=1,
    )
    fallbacks: tuple[Fallback, ...] = policy_value(
        (Longer(), OtherStart(), OtherDetector(detector="faster_rcnn"), OtherDetector(detector="yolov8n")),
        "",
        "Changes of the recipe that are tried, in this order, after a training whose model is under "
        "evaluation.floor_map50, and after one that was stopped as hopeless (diagnosis.stop_hopeless). Each is tried "
        "once for one state of the labels, and those that would change nothing are skipped; then a person is asked.",
    )
    steps: int | None = policy_value(
        None, "optimizer steps", "Length of a training; none: as many steps as fit into `minutes`.", ge=1
    )
    minutes: Positive = policy_value(2.5, "minutes", "Wall time that a training plans for.")
    cap_minutes: Positive = policy_value(
        120.0,
        "minutes",
        "Wall time after which a training that was planned in steps is stopped, where its run sets no other.",
    )
    progress_every_s: Positive = policy_value(
        3.0, "seconds", "Time between two writings of a running training's progress to the lake."
    )
    log_every_s: Positive = policy_value(
        15.0, "seconds", "Time between two progress lines of a training in its run's log, and two points in MLflow."
    )
    silent_after_s: Positive = policy_value(
        60.0, "seconds", "A training that gave no sign of life for this long counts as dead."
    )
    debounce_s: NotNegative = policy_value(10.0, "seconds", "A retraining starts when no new label came for this long.")
    min_new_labels: Count = policy_value(1, "label revisions", "Fewer new ones do not start a retraining.")
    min_photographs: Count = policy_value(
        2, "photographs", "A dataset with fewer of them in split train is not trained on."
    )
    min_class_boxes: int = policy_value(
        1,
        "boxes",
        "A dataset with fewer boxes of a class in split train is not trained on: the model would never predict it. "
        "0: classes may be without boxes.",
        ge=0,
    )
    min_val_boxes: int = policy_value(
        1,
        "boxes",
        "A dataset with fewer boxes in split val is not trained on: a model's threshold is chosen there. 0: it may be "
        "without.",
        ge=0,
    )
    max_attempts: Count = policy_value(
        3,
        "runs",
        "After this many runs that ended without an evaluated model, for one recipe and one state of the labels, the "
        "`retrain` sensor gives that recipe up. A model under the floor does not count: see fallbacks.",
    )
    from_champion: bool = policy_value(
        True,
        "",
        "true: a retraining starts from the weights of the model in production; false: it takes over only that "
        "model's family and input size.",
    )
    retrain_minutes: float | None = policy_value(
        None, "minutes", "Wall time of a training that starts from the model in production; none: as `minutes`.", gt=0
    )
    seed: int = policy_value(
        0,
        "",
        "Seed of the initial weights, of the order of photographs and of their augmentation.",
        ge=0,
        lt=2**32,
    )
    diagnosis: DiagnosisPolicy = DiagnosisPolicy()

    @field_validator("fallbacks")
    @classmethod
    def _each_once(cls, value: tuple[Fallback, ...]) -> tuple[Fallback, ...]:
        names = [change.name for change in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} comes twice: each change is tried once for a state of the labels")
        return value
