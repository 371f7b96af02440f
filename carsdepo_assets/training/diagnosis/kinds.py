"""The kinds of findings: their names, what they mean, what to do, and where each rule comes from.

docs/how-to/training-findings.md is written from this table. The rules named after SageMaker Debugger are those of its
"List of Debugger built-in rules" (docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of finding."""

    name: str
    check: str
    """The asset check that says it."""
    meaning: str
    """What is wrong, for people who do not know the term."""
    advice: str
    """What to do."""
    rule: str
    """When it is raised, with the policy's keys below training.diagnosis."""
    source: str
    """Where the rule comes from."""
    hopeless: bool = False
    """Whether a training that has it can be given up."""
    passes: bool = False
    """Whether it is withdrawn where a later validation shows it no more."""


KINDS: tuple[Kind, ...] = (
    Kind(
        "diverged",
        "loss_is_finite",
        "The loss is not a number any more, or many times as high as at the start: the weights are lost.",
        "Lower the recipe's lr by a factor of ten, and look for labels with absurd boxes.",
        "At once where a loss or a gradient is NaN or infinite; else where the median loss of the newest `window` "
        "steps is above `diverged_factor` times that of the first `window`, after the share `after_share` of the plan, "
        "and no validation shows a model above evaluation.floor_map50. Of YOLOv8 only the former: its loss rises in "
        "healthy trainings, too, where few boxes are labelled.",
        "SageMaker Debugger, ExplodingTensor (non-finite values)",
        True,
    ),
    Kind(
        "loss_not_falling",
        "loss_falls",
        "The training loss is no lower than when the training began: the model learns nothing.",
        "Raise or lower the recipe's lr, unfreeze layers (freeze), and look whether labels fit their photographs.",
        "`loss_patience` steps after the learning rate's warm-up, where the mean loss of the newest `window` "
        "steps is not below that of the first `window` by the share `loss_fall`; where it rose by more than "
        "`loss_rise`, after the share `after_share` of the plan. Of YOLOv8, whose loss rises and falls again in "
        "healthy trainings where few boxes are labelled, after that share, too, and only where it stands still: "
        "it did not rise by `loss_rise`, and no mean of `window` steps is above `loss_moved` times another. Not "
        "where val shows a model above evaluation.floor_map50 (and, from random or ImageNet weights, one that is "
        "better by as much than at the first validation): a training that goes on from a good model has little "
        "left to learn. Hopeless where a validation shows no such model, or the training started from random or "
        "ImageNet weights.",
        "SageMaker Debugger, LossNotDecreasing (its num_steps 10 and diff_percent 0.1 are for losses without noise; "
        "ours are larger)",
        True,
    ),
    Kind(
        "dead_gradients",
        "gradients_are_alive",
        "Most layers get no gradient at all: whatever the photographs are, their weights do not change.",
        "Unfreeze the head, start from other weights (init), or lower the lr: units that a large step has silenced do "
        "not come back.",
        "Where in `samples` measured steps in a row more than `dead_share` of the trained tensors have a gradient of "
        "zero, or the norm of all is below `vanishing_norm`.",
        "SageMaker Debugger, VanishingGradient (threshold 1e-7) and DeadRelu (threshold_layer 50 %)",
        True,
    ),
    Kind(
        "exploding_gradients",
        "gradients_are_bounded",
        "The gradients are so large that a single step can ruin the weights; clipping hides it.",
        "Lower the lr, keep the clipping of gradients, and look for a loss that is scaled wrongly.",
        "Where in `samples` measured steps in a row the norm before clipping is above `exploding_norm`, or above "
        "`exploding_factor` times the median of those before them.",
        "SageMaker Debugger, ExplodingTensor on gradients; Pascanu et al. 2013 (norms against their usual size)",
    ),
    Kind(
        "lr_out_of_range",
        "lr_is_in_range",
        "The learning rate is so small that weights stand still, or so large that they jump about.",
        "Set the recipe's lr near the usual one of its family: 0.001 for YOLOv8, 0.0001 to 0.0005 for the others.",
        "Where the largest learning rate of `window` steps is below `lr_min`, or a step's is above `lr_max`.",
        "Smith 2017 (learning-rate range test): beyond these bounds no detector of ours trains",
    ),
    Kind(
        "overfitting",
        "no_overfitting",
        "The model learns its photographs by heart: it gets better on them and worse on others.",
        "Label more photographs, train for fewer steps, start from pretrained weights, or freeze more layers.",
        "Where in `validations` validations in a row the validation loss exceeds the training loss by more than "
        "`overfit_gap`, lies above its lowest by more than `overfit_rise`, and the training loss is lower than at that "
        "lowest, which counts from the first predicted boxes on. Not while mAP@.5 on val is still the highest so far. "
        "Of families that measure no validation loss, as D-FINE: mAP@.5 on val below its best by more than "
        "`overfit_map_drop` while the training loss has fallen since; it says nothing of a model whose mAP@.5 never "
        "rose.",
        "SageMaker Debugger, Overfit (the ratio (val - train) / train) and Overtraining (val no longer improves)",
    ),
    Kind(
        "class_never_predicted",
        "every_class_is_predicted",
        "A class that is labelled on validation photographs is never among the predictions.",
        "Label more photographs of the class, or take it out of the class map; look what its labels mean.",
        "After the share `after_share` of the planned steps, where in `validations` validations in a row a class with "
        "at least `class_boxes` labelled boxes on val has no prediction of the score `class_score`, though another "
        "class reaches `class_other_score`.",
        "SageMaker Debugger, ClassImbalance (predictions by class)",
        passes=True,
    ),
    Kind(
        "boxes_collapsed",
        "boxes_differ",
        "The predicted boxes are nearly the same on every photograph, or have hardly any area.",
        "Look at the labels on a few photographs (boxes that all lie in one place, or in other pixels than the "
        "photograph's), and at the crops of the augmentation.",
        "After the share `after_share` of the planned steps, where in `validations` validations in a row the surest "
        "boxes of at least `collapse_boxes` photographs differ in place and size by less than `collapse_spread` of "
        "what labelled boxes do, or their median area is below `collapse_area` of the labelled one.",
        "SageMaker Debugger, TensorVariance (very low variance), on boxes",
    ),
    Kind(
        "loader_starves",
        "loader_keeps_up",
        "The training waits for photographs longer than it computes: the device, and its price, stand idle.",
        "Give the job more CPU cores, put photographs on a faster disk, use smaller ones (data.longest_side_px), or "
        "let ultralytics cache them (extra.cache).",
        "Where the newest `window` steps spent more than the share `loader_share` waiting for photographs, and at "
        "least `loader_s` seconds.",
        "SageMaker Debugger, CPUBottleneck and IOBottleneck (threshold 50 %)",
    ),
)  # fmt: skip

BY_NAME = {kind.name: kind for kind in KINDS}
