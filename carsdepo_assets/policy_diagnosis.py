"""The section training.diagnosis of the policy: from when on a fault of a training is named."""

from __future__ import annotations

from pydantic import model_validator

from carsdepo_assets.policy_values import Count, NotNegative, PolicySection, Positive, policy_value


class DiagnosisPolicy(PolicySection):
    """From when on a fault of a running training is named; docs/how-to/training-findings.md lists the findings.

    `training/diagnosis/rules.py` applies the thresholds.
    """

    stop_hopeless: bool = policy_value(
        True,
        "",
        "true: a training that diverged, whose gradients are dead or whose loss does not fall is stopped, and the next "
        "of training.fallbacks is tried. false: it is only told.",
    )
    gradients_every: Count = policy_value(10, "steps", "The gradients of one step in so many are measured.")
    window: int = policy_value(
        50, "steps", "The newest steps whose losses, learning rates and waiting times are looked at together.", ge=10
    )
    samples: int = policy_value(5, "measured steps", "So many measured gradients in a row must show a fault.", ge=2)
    loss_patience: Count = policy_value(
        200, "steps", "So long after the learning rate's warm-up nothing is said about a loss that does not fall."
    )
    loss_fall: float = policy_value(
        0.01,
        "share of the first losses",
        "The mean loss of the newest steps must lie below that of the first ones by at least this.",
        gt=0,
        lt=1,
    )
    loss_rise: float = policy_value(
        0.2,
        "share of the first losses",
        "A loss that rose by more than this gets until after_share of the plan before the training is judged by it; "
        "YOLOv8's is not, since it rises in healthy trainings, too, where few boxes are labelled.",
        gt=0,
    )
    loss_moved: float = policy_value(
        2.0,
        "times",
        "The loss of YOLOv8 stands still where its highest mean of `window` steps is at most so many times the lowest.",
        gt=1,
    )
    diverged_factor: float = policy_value(
        10.0,
        "times the first losses",
        "A training whose newest losses are so much higher diverged.",
        gt=1,
    )
    exploding_norm: Positive = policy_value(
        10_000.0, "norm of the gradients", "Larger gradients, before they are clipped, explode."
    )
    exploding_factor: float = policy_value(
        100.0, "times the median", "So do gradients that are so many times the median of those before.", gt=1
    )
    dead_share: float = policy_value(
        0.5, "share of the trained tensors", "Gradients are dead where more of them are zero everywhere.", gt=0, lt=1
    )
    vanishing_norm: NotNegative = policy_value(
        1e-7, "norm of the gradients", "Gradients are dead, too, where their norm is smaller."
    )
    lr_min: Positive = policy_value(
        1e-7, "learning rate", "A training whose learning rate stays below this through `window` steps hardly moves."
    )
    lr_max: Positive = policy_value(0.1, "learning rate", "A learning rate above this is out of range.")
    overfit_gap: Positive = policy_value(
        0.5,
        "share of the training loss",
        "Over-fitting: the validation loss exceeds the training loss by more than this, and rises by overfit_rise.",
    )
    overfit_rise: Positive = policy_value(
        0.2, "share of the lowest", "Over-fitting: the validation loss lies above its lowest by more than this."
    )
    overfit_map_drop: float = policy_value(
        0.15,
        "mAP@.5",
        "Over-fitting, where a family measures no validation loss: mAP@.5 on val lies below its best by more than this "
        "while the training loss falls.",
        gt=0,
        lt=1,
    )
    validations: int = policy_value(
        3,
        "validations",
        "So many in a row must show over-fitting, a missing class or boxes that collapse.",
        ge=2,
    )
    after_share: float = policy_value(
        0.5,
        "share of the planned steps",
        "Before so much of the training is done nothing is said about a missing class, boxes that collapse, or a loss "
        "that rose.",
        ge=0,
        le=1,
    )
    class_boxes: Count = policy_value(
        3, "labelled boxes on val", "A class with fewer is not expected among the predictions."
    )
    class_score: float = policy_value(
        0.01, "score", "A class whose highest score on val is below this is never predicted.", gt=0, lt=1
    )
    class_other_score: float = policy_value(
        0.25,
        "score",
        "A class counts as never predicted only where another one reaches this: else the model is still untrained.",
        gt=0,
        lt=1,
    )
    collapse_boxes: Count = policy_value(
        5, "photographs of val", "Fewer that have a predicted box are not looked at for boxes that collapse."
    )
    collapse_spread: float = policy_value(
        0.2,
        "share of the labelled boxes' spread",
        "Boxes collapse where the surest ones of the photographs differ in place and size by less than this.",
        gt=0,
        lt=1,
    )
    collapse_area: float = policy_value(
        0.01, "share of the labelled boxes' area", "Boxes collapse, too, where the median one is smaller.", gt=0, lt=1
    )
    loader_share: float = policy_value(
        0.5,
        "share of a step's time",
        "The loader starves the device where steps wait longer.",
        gt=0,
        lt=1,
    )
    loader_s: NotNegative = policy_value(
        30.0, "seconds", "Nothing is said about the loader before the newest steps waited for it so long altogether."
    )

    @model_validator(mode="after")
    def _in_order(self) -> DiagnosisPolicy:
        if self.lr_min >= self.lr_max:
            raise ValueError("lr_min must lie below lr_max")
        if self.class_score >= self.class_other_score:
            raise ValueError("class_score must lie below class_other_score")
        return self
