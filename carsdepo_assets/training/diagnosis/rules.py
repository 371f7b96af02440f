"""The rules: each looks at the record of a training and names one fault, or none.

kinds.py says for each of them what it means, when it is raised and where it comes from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from statistics import fmean, median

from carsdepo_assets.detectors.signals import StepSignals, ValidationSignals
from carsdepo_assets.lake.training_findings import TrainingFinding
from carsdepo_assets.policy_diagnosis import DiagnosisPolicy
from carsdepo_assets.training.diagnosis.kinds import BY_NAME
from carsdepo_assets.training.diagnosis.record import SignalRecord

Rule = Callable[[SignalRecord, DiagnosisPolicy], TrainingFinding | None]


def finding(
    name: str, step: int, evidence: str, figures: Mapping[str, float], *, hopeless: bool = False
) -> TrainingFinding:
    """A finding of a kind, with its advice; figures that are no numbers are left out."""
    return TrainingFinding(
        name=name,
        severity="hopeless" if hopeless else "warning",
        since=step,
        figures={k: v for k, v in figures.items() if math.isfinite(v)},
        evidence=evidence,
        advice=BY_NAME[name].advice,
    )


def not_finite(signals: StepSignals) -> TrainingFinding | None:
    """The step whose loss or gradient is not a number any more."""
    if not math.isfinite(signals.loss):
        evidence = f"The loss is {signals.loss} at step {signals.step:,}, with a learning rate of {signals.lr:.3g}."
    elif signals.gradient_norm is not None and not math.isfinite(signals.gradient_norm):
        evidence = f"The gradients' norm is {signals.gradient_norm} at step {signals.step:,}."
    else:
        return None
    return finding("diverged", signals.step, evidence, {"lr": signals.lr}, hopeless=True)


def diverged(record: SignalRecord, policy: DiagnosisPolicy) -> TrainingFinding | None:
    """The newest losses are many times the first ones."""
    if len(record.newest) < record.window or record.step < 2 * record.window or record.newest[-1].loss_may_rise:
        return None
    first, now = median(s.loss for s in record.first), median(s.loss for s in record.newest)
    if first <= 0 or now <= policy.diverged_factor * first or record.of_use or not record.past(policy.after_share):
        return None
    evidence = f"The loss rose from {first:.3g} to {now:.3g}."
    return finding("diverged", record.step, evidence, {"first_loss": first, "loss": now}, hopeless=True)


def loss_not_falling(record: SignalRecord, policy: DiagnosisPolicy) -> TrainingFinding | None:
    """The newest losses are no lower than the first ones, and the model is of no use yet."""
    patience = 0 if record.ended else record.peak[1] + policy.loss_patience
    if record.step < max(patience, 2 * record.window) or len(record.newest) < record.window:
        return None
    if record.first[0].step > record.window:  # signals of its beginning are not there
        return None
    first, now = fmean(s.loss for s in record.first), fmean(s.loss for s in record.newest)
    if not first > 0 or now < first * (1 - policy.loss_fall):
        return None
    rises, rose = record.newest[-1].loss_may_rise, now > first * (1 + policy.loss_rise)
    if (rises or rose) and not record.past(policy.after_share):
        return None
    if rises and (rose or record.moved(policy.loss_moved)):
        return None
    measured = None if record.highest is None else record.highest.value
    if record.of_use:
        return None
    on_val = "" if measured is None else f", and the best mAP@.5 on val is {measured:.3f}"
    evidence = (
        f"The mean loss was {first:.4g} in the first {record.window} steps and is {now:.4g} in the newest{on_val}."
    )
    hopeless = measured is not None or record.fresh
    return finding("loss_not_falling", record.step, evidence, {"first_loss": first, "loss": now}, hopeless=hopeless)


def dead_gradients(record: SignalRecord, policy: DiagnosisPolicy) -> TrainingFinding | None:
    """Most trained tensors get a gradient of zero."""
    newest = list(record.gradients)[-policy.samples :]
    if len(newest) < policy.samples:
        return None
    shares, norms = [s.dead_share or 0.0 for s in newest], [s.gradient_norm or 0.0 for s in newest]
    alive = (
        share <= policy.dead_share and norm >= policy.vanishing_norm for share, norm in zip(shares, norms, strict=True)
    )
    if any(alive):
        return None
    evidence = (
        f"{100 * min(shares):.0f} % of the trained tensors or more have no gradient, and the norm of all gradients is "
        f"{max(norms):.3g}, in {len(newest)} measured steps up to step {record.step:,}."
    )
    figures = {"dead_share": min(shares), "gradient_norm": max(norms)}
    return finding("dead_gradients", record.step, evidence, figures, hopeless=True)


def exploding_gradients(record: SignalRecord, policy: DiagnosisPolicy) -> TrainingFinding | None:
    """The gradients are far larger than usual, or than any healthy ones."""
    norms = [s.gradient_norm for s in record.gradients if s.gradient_norm is not None]
    before, newest = norms[: -policy.samples], norms[-policy.samples :]
    if len(newest) < policy.samples:
        return None
    usual = median(before) if len(before) >= policy.samples else None
    limit = policy.exploding_norm
    if usual:
        limit = min(limit, policy.exploding_factor * usual)
    if min(newest) <= limit:
        return None
    usually = f"; before it was {usual:.3g}" if usual else ""
    evidence = f"The gradients' norm is {min(newest):.3g} or more in {len(newest)} measured steps{usually}."
    return finding("exploding_gradients", record.step, evidence, {"gradient_norm": min(newest), "limit": limit})


def lr_out_of_range(record: SignalRecord, policy: DiagnosisPolicy) -> TrainingFinding | None:
    """The learning rate stays too low, or is too high."""
    newest = [s.lr for s in record.newest]
    if newest and newest[-1] > policy.lr_max:
        evidence = f"The learning rate is {newest[-1]:.3g} at step {record.step:,}, above {policy.lr_max:g}."
    elif len(newest) == record.window and max(newest) < policy.lr_min:
        evidence = f"The learning rate is at most {max(newest):.3g} in {record.window} steps, below {policy.lr_min:g}."
    else:
        return None
    return finding("lr_out_of_range", record.step, evidence, {"lr": max(newest)})


def overfitting(record: SignalRecord, policy: DiagnosisPolicy) -> TrainingFinding | None:
    """It gets better on its photographs and worse on those of val."""
    newest = list(record.validations)[-policy.validations :]
    if len(newest) < policy.validations:
        return None
    last = newest[-1]
    if record.of_use and record.highest is not None and record.highest.step >= newest[0].step:
        return None  # it still gets better
    if last.val_loss is not None:
        low = record.lowest
        if low is None or not all(_gap(v, policy) and _risen(v, low.value, low.loss, policy) for v in newest):
            return None
        evidence = (
            f"The loss is {last.loss:.3g} on training photographs and {last.val_loss:.3g} on val, where it was "
            f"{low.value:.3g} at step {low.step:,}."
        )
        figures = {"loss": last.loss, "val_loss": last.val_loss, "lowest": low.value}
        return finding("overfitting", last.step, evidence, figures)
    high = record.highest
    if high is None or not all(
        v.val_map50 is not None and v.val_map50 < high.value - policy.overfit_map_drop and v.loss < high.loss
        for v in newest
    ):
        return None
    now = last.val_map50 or 0.0
    evidence = (
        f"mAP@.5 on val fell from {high.value:.3f} at step {high.step:,} to {now:.3f}, while the training loss fell."
    )
    return finding("overfitting", last.step, evidence, {"loss": last.loss, "val_map50": now, "highest": high.value})


def class_never_predicted(record: SignalRecord, policy: DiagnosisPolicy) -> TrainingFinding | None:
    """A labelled class is not among the predictions, though another one is."""
    newest = _later(record, policy)
    boxes = [v.boxes for v in newest if v.boxes is not None]
    if not boxes or len(boxes) < policy.validations:
        return None
    if any(max(b.best, default=0.0) < policy.class_other_score for b in boxes):
        return None
    missing = [
        number
        for number, truths in enumerate(boxes[-1].truths)
        if truths >= policy.class_boxes and all(b.best[number] < policy.class_score for b in boxes)
    ]
    if not missing:
        return None
    named = ", ".join(
        f"class {n} ({boxes[-1].truths[n]} labelled boxes, best score {boxes[-1].best[n]:.3f})" for n in missing
    )
    figures = {f"class_{n}": boxes[-1].best[n] for n in missing}
    evidence = f"Not predicted on val in {len(boxes)} validations: {named}."
    return finding("class_never_predicted", newest[-1].step, evidence, figures)


def boxes_collapsed(record: SignalRecord, policy: DiagnosisPolicy) -> TrainingFinding | None:
    """The predicted boxes hardly differ, or have hardly any area."""
    newest = _later(record, policy)
    if len(newest) < policy.validations:
        return None
    ratios = []
    for validation in newest:
        boxes = validation.boxes
        if boxes is None or boxes.predicted < policy.collapse_boxes:
            return None
        spread = boxes.spread / boxes.true_spread if boxes.spread is not None and boxes.true_spread else math.inf
        small = math.inf if boxes.area_ratio is None else boxes.area_ratio
        if spread >= policy.collapse_spread and small >= policy.collapse_area:
            return None
        ratios.append((spread, small))
    spread, small = ratios[-1]
    last = newest[-1].boxes
    evidence = f"{last.predicted if last else 0} photographs of val have a predicted box."
    if math.isfinite(spread):
        evidence += f" The surest boxes differ in place and size by {100 * spread:.1f} % of what labelled boxes do."
    if math.isfinite(small):
        evidence += f" Their median area is {100 * small:.1f} % of the labelled one."
    return finding("boxes_collapsed", newest[-1].step, evidence, {"spread_ratio": spread, "area_ratio": small})


def loader_starves(record: SignalRecord, policy: DiagnosisPolicy) -> TrainingFinding | None:
    """Steps wait for photographs longer than they compute."""
    if len(record.newest) < record.window:
        return None
    waited = sum(s.loader_s for s in record.newest)
    computed = sum(s.compute_s for s in record.newest)
    share = waited / (waited + computed) if waited + computed > 0 else 0.0
    if share <= policy.loader_share or waited < policy.loader_s:
        return None
    evidence = (
        f"The newest {record.window} steps waited {waited:.0f} s for photographs and computed for {computed:.0f} s: "
        f"{100 * share:.0f} % of the time is waiting."
    )
    return finding("loader_starves", record.step, evidence, {"waiting_share": share, "waited_s": waited})


def _gap(v: ValidationSignals, policy: DiagnosisPolicy) -> bool:
    return v.val_loss is not None and v.val_loss > v.loss * (1 + policy.overfit_gap)


def _risen(v: ValidationSignals, lowest: float, loss_then: float, policy: DiagnosisPolicy) -> bool:
    return v.val_loss is not None and v.val_loss > lowest * (1 + policy.overfit_rise) and v.loss < loss_then


def _later(record: SignalRecord, policy: DiagnosisPolicy) -> list[ValidationSignals]:
    """The newest validations that come late enough to expect something of the model."""
    newest = list(record.validations)[-policy.validations :]
    return [v for v in newest if v.step >= policy.after_share * v.planned_steps]


STEP_RULES: tuple[Rule, ...] = (
    diverged,
    loss_not_falling,
    dead_gradients,
    exploding_gradients,
    lr_out_of_range,
    loader_starves,
)
VALIDATION_RULES: tuple[Rule, ...] = (loss_not_falling, overfitting, class_never_predicted, boxes_collapsed)
