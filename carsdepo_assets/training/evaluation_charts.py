"""Draws the charts of an evaluation report, as PNG for Dagster's UI and as SVG for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from carsdepo_assets.reporting.charts import INK, MUTED, PALETTE, Form, chart, legend_or_note, saved, styled_chart
from carsdepo_assets.scoring.evaluation import Evaluation


@styled_chart
def pr_curve_png(evaluation: Evaluation, form: Form = "png") -> bytes:
    """Precision over recall at the evaluation's IoU, a line a class; the dot is the class at the threshold."""
    figure, axes = chart(5.6, 4.0)
    for c, (name, curve) in enumerate(evaluation.curves.items()):
        score = evaluation.per_class[name]
        colour = PALETTE[evaluation.class_names.index(name) % len(PALETTE)]
        label = f"{name} (AP@.5 {score.ap50:.2f})" if score.ap50 is not None else name
        reached = [p if at is not None else float("nan") for p, at in zip(curve.precision, curve.score, strict=True)]
        axes.plot(curve.recall, reached, color=colour, linewidth=2, label=label, zorder=3 + c)
        if score.counts.precision is not None and score.counts.recall is not None:
            axes.plot(
                score.counts.recall,
                score.counts.precision,
                "o",
                color=colour,
                markersize=7,
                markeredgecolor="white",
                zorder=20,
            )
    axes.set(
        xlim=(0, 1.01), ylim=(0, 1.02), xlabel="Recall: share of damage found", ylabel="Precision: share of boxes right"
    )
    legend_or_note(axes, bool(evaluation.curves), "no class has a labelled box")
    return saved(figure, form)


@styled_chart
def sweep_png(evaluation: Evaluation, form: Form = "png") -> bytes:
    """Precision, recall and F1 of all classes over the score threshold; the threshold in use is marked."""
    figure, axes = chart(5.6, 4.0)
    at = [p.threshold for p in evaluation.sweep]
    for key, colour in (("precision", PALETTE[0]), ("recall", PALETTE[1]), ("f1", INK)):
        axes.plot(
            at,
            _numbers([getattr(p, key) for p in evaluation.sweep]),
            color=colour,
            linewidth=2.4 if key == "f1" else 1.6,
            label="F1" if key == "f1" else key.capitalize(),
        )
    axes.axvline(evaluation.threshold, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    left = evaluation.threshold > 0.5
    axes.annotate(
        f"in use: {evaluation.threshold:.2f}",
        (evaluation.threshold, 1.0),
        color=MUTED,
        xytext=(-5 if left else 5, -2),
        textcoords="offset points",
        va="top",
        ha="right" if left else "left",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="Score threshold")
    legend_or_note(axes, True, "")
    return saved(figure, form)


@styled_chart
def confusion_png(evaluation: Evaluation, form: Form = "png") -> bytes:
    """The confusion matrix at the threshold: rows are labels, columns are the model's boxes.

    The shading is the share of the row.
    """
    labels = [*evaluation.class_names, "background"]
    n = len(labels)
    side = min(max(1.1 * n, 3.6), 6.4)
    figure, axes = chart(side + 1.2, side)
    axes.grid(False)
    shares = []
    for row in evaluation.confusion:
        total = sum(row)
        shares.append([v / total if total else 0.0 for v in row])
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25, aspect="auto")
    for y, row in enumerate(evaluation.confusion):
        for x, value in enumerate(row):
            if y == n - 1 and x == n - 1:
                axes.text(x, y, "–", ha="center", va="center", color=MUTED)  # background left alone is not counted
                continue
            axes.text(
                x, y, f"{value:,}", ha="center", va="center", fontsize=12, color="white" if shares[y][x] > 0.7 else INK
            )
    turned = 90 if n > 6 else 0
    axes.set_xticks(range(n), ["no box" if c == "background" else c for c in labels], rotation=turned)
    axes.set_yticks(range(n), ["no damage" if c == "background" else c for c in labels])
    axes.set(xlabel="The model says", ylabel="On the photograph")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return saved(figure, form)


@styled_chart
def history_png(history: Sequence[Mapping[str, Any]], form: Form = "png") -> bytes:
    """mAP@.5 on the validation split (left axis) and loss (right axis) by epoch; an epoch without a figure is a gap."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = chart(5.6, 4.0)
    epochs = [row["epoch"] for row in history]
    losses = [row.get("loss") for row in history]
    maps = [row.get("val_map50") for row in history]
    if any(m is not None for m in maps):
        axes.plot(
            epochs,
            _numbers(maps),
            color=PALETTE[0],
            linewidth=2,
            marker="o",
            markersize=4,
            label="mAP@.5 on validation",
        )
        axes.set_ylim(0, max(0.05, *(m for m in maps if m is not None)) * 1.12)
        axes.set_ylabel("mAP@.5", color=PALETTE[0])
    else:
        axes.set_yticks([])
    right = axes.twinx()
    right.grid(False)
    right.spines["right"].set_visible(False)
    if any(v is not None for v in losses):
        right.plot(epochs, _numbers(losses), color=MUTED, linewidth=1.5, linestyle=(0, (5, 2)), label="loss")
        right.set_ylim(bottom=0)
        right.set_ylabel("Loss", color=MUTED)
    else:
        right.set_yticks([])
    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_or_note(axes, bool(history), "the training reported no epoch", more=right)
    return saved(figure, form)


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if v is None else float(v) for v in values]
