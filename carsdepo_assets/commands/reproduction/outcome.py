"""Compares a model with the one that was made again: its training, its weights and its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carsdepo_assets.commands.reproduction.fields import ComparedField, compared
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.evaluations import FIGURES, EvaluationRecord, evaluations
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import read_card, read_result, weights_path
from carsdepo_assets.policy import Policy

_OF_EPOCHS = ("loss", "lr", "val_map50")
_OF_CLASSES = ("ap50", "precision", "recall")
_LOSS_ROUNDING = 1e-5  # of its value; measured after three interruptions: 6e-8


@dataclass(frozen=True)
class WeightsDifference:
    """How far two models' weights lie apart."""

    tensors: int
    """Tensors with another value somewhere."""
    of: int
    """Tensors of the model."""
    largest: float
    """Largest difference of one value."""
    relative: float
    """Euclidean norm of the difference over that of the model's weights."""


def weights_difference(expected: Path, got: Path) -> WeightsDifference | None:
    """Compares two files of weights of one detector; None where they do not hold the same tensors."""
    import torch

    from carsdepo_assets.detectors.checkpoints import WEIGHTS_FORMAT, read_torch

    first, second = (read_torch(path, WEIGHTS_FORMAT)["state"] for path in (expected, got))
    if {k: v.shape for k, v in first.items()} != {k: v.shape for k, v in second.items()}:
        return None
    other, largest, apart, size = 0, 0.0, 0.0, 0.0
    for name, tensor in first.items():
        a, b = tensor.double(), second[name].double()
        other += not torch.equal(a, b)
        largest = max(largest, float((a - b).abs().max()) if a.numel() else 0.0)
        apart, size = apart + float(((a - b) ** 2).sum()), size + float((a**2).sum())
    return WeightsDifference(other, len(first), largest, (apart / size) ** 0.5 if size else 0.0)


def training_fields(source: Lake, expected: str, clean: Lake, got: str) -> list[ComparedField]:
    """Compares steps, epochs, losses by epoch, threshold and weights of two models, given by their digests."""
    before, now = read_result(source, expected), read_result(clean, got)
    fields = [compared("training", name, before.get(name), now.get(name)) for name in ("steps", "epochs")]
    fields += [_history(name, before["history"], now["history"]) for name in _OF_EPOCHS]
    cards = read_card(source, expected), read_card(clean, got)
    fields.append(compared("training", "threshold", cards[0].threshold, cards[1].threshold, cards[1].threshold_from))
    note = ""
    if expected != got:
        apart = weights_difference(weights_path(source, cards[0]), weights_path(clean, cards[1]))
        note = "they do not have the same tensors"
        if apart is not None:
            note = (
                f"{apart.tensors} of {apart.of} tensors differ, by {apart.largest:.2g} at most; all weights together "
                f"by {100 * apart.relative:.2g} %"
            )
    return [*fields, compared("weights", "digest of the weights", expected, got, note)]


def _history(name: str, before: list[Mapping[str, Any]], now: list[Mapping[str, Any]]) -> ComparedField:
    first, second = ([row.get(name) for row in rows] for rows in (before, now))
    if not any(value is not None for value in first):
        return ComparedField("training", f"{name} by epoch", "not recorded")
    for epoch, (a, b) in enumerate(zip(first, second, strict=False), 1):
        if not _same(name, a, b):
            return ComparedField("training", f"{name} by epoch", "differs", str(a), str(b), f"from epoch {epoch} on")
    return compared("training", f"{name} by epoch", len(first), len(second), "epochs")


def _same(name: str, a: float | None, b: float | None) -> bool:
    """Equal; a loss up to rounding: of an epoch that was interrupted its mean is put together of two parts."""
    if name == "loss" and a is not None and b is not None:
        return math.isclose(a, b, rel_tol=_LOSS_ROUNDING)
    return a == b


def first_evaluation(lake: Lake, digest: str) -> EvaluationRecord | None:
    """The evaluation that a model was registered with; None where it was never evaluated."""
    records = evaluations(lake, digest)
    return records[0] if records else None


def figure_fields(clean: Lake, got: str, record: EvaluationRecord, policy: Policy) -> list[ComparedField]:
    """Scores the model that was made again as the first one was scored, and compares every figure.

    Args:
        clean: the lake with the model, the photographs and the golden set.
        got: the model's digest.
        record: the evaluation of the first one.
        policy: how boxes are matched.
    """
    from carsdepo_assets.evaluation.comparison import figures_of
    from carsdepo_assets.evaluation.golden import evaluate_on_golden
    from carsdepo_assets.scoring.bootstrap import bootstrap_map50

    chosen = golden.read(clean, record.golden) if record.golden else None
    if chosen is None:
        chosen = golden.Golden(0, _test_photographs(clean, record.dataset))
    scores = evaluate_on_golden(clean, got, record.dataset, policy, of=chosen)
    result, scored = scores.evaluation, scores.scored
    interval = bootstrap_map50(
        scored.truths,
        scored.detections,
        len(result.class_names),
        [row["group_id"] for row in scored.rows],
        iou=result.iou,
        max_detections=result.max_detections,
    )
    now = figures_of(result) | {"map50_low": interval.low, "map50_high": interval.high}
    fields = [compared("figures", "photographs", record.photographs, result.n_images)]
    fields += [compared("figures", name, getattr(record, name), now.get(name)) for name in FIGURES]
    for one in record.classes:
        score = result.per_class[one.name]
        values = {"ap50": score.ap50, "precision": score.counts.precision, "recall": score.counts.recall}
        fields += [compared("figures", f"{n} of {one.name}", getattr(one, n), values[n]) for n in _OF_CLASSES]
    return fields


def _test_photographs(lake: Lake, dataset: str) -> tuple[str, ...]:
    from carsdepo_assets.lake.datasets import read_manifest

    rows = read_manifest(lake, dataset).to_pylist()
    return tuple(sorted(row["image_id"] for row in rows if row["split"] == "test"))
