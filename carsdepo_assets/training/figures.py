"""Charts of an evaluation: PNG (at most 900 px wide, under 100 kB, so that the UI carries them) or SVG for the page."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

from carsdepo_assets.scoring.evaluation import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Form = Literal["png", "svg"]
_Arguments = ParamSpec("_Arguments")

INK, MUTED, LINE = "#1f2933", "#6b7785", "#e3e8ee"
PALETTE = ("#1f6feb", "#d9730d", "#2a9d6f", "#8b5cf6", "#c2255c", "#0b7285")
_DPI = 130
_FONTS = "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
_STYLE = {
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "axes.axisbelow": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "carsdepo",
}


def _styled(draw: Callable[_Arguments, bytes]) -> Callable[_Arguments, bytes]:
    """Draws in our style and leaves matplotlib's own settings as they were."""

    @functools.wraps(draw)
    def styled(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> bytes:
        import matplotlib

        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return styled


@_styled
def pr_curve_png(evaluation: Evaluation, form: Form = "png") -> bytes:
    """Precision over recall, one line a class, at the evaluation's IoU; a dot where the threshold puts the class."""
    figure, axes = _chart(5.6, 4.0)
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
    _legend_or_note(axes, bool(evaluation.curves), "no class has a labelled box")
    return _saved(figure, form)


@_styled
def sweep_png(evaluation: Evaluation, form: Form = "png") -> bytes:
    """Precision, recall and F1 of all classes over the score threshold; the threshold in use is marked."""
    figure, axes = _chart(5.6, 4.0)
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
    _legend_or_note(axes, True, "")
    return _saved(figure, form)


@_styled
def confusion_png(evaluation: Evaluation, form: Form = "png") -> bytes:
    """Counts at the threshold: rows what was there, columns what was said; shading is the share of the row."""
    labels = [*evaluation.class_names, "background"]
    n = len(labels)
    side = min(max(1.1 * n, 3.6), 6.4)
    figure, axes = _chart(side + 1.2, side)
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
    return _saved(figure, form)


@_styled
def history_png(history: Sequence[Mapping[str, Any]], form: Form = "png") -> bytes:
    """mAP@.5 on val (left) and loss (right) by epoch, as the training reported them; gaps where it reported none."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _chart(5.6, 4.0)
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
    _legend_or_note(axes, bool(history), "the training reported no epoch", more=right)
    return _saved(figure, form)


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if v is None else float(v) for v in values]


def _chart(width: float, height: float) -> tuple[Figure, Axes]:
    """In inches; 900 px are 6.9 of them."""
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    figure = Figure(figsize=(min(width, 900 / _DPI), height), dpi=_DPI, layout="constrained")
    return figure, figure.add_subplot()


def _legend_or_note(axes: Axes, drawn: bool, note: str, more: Axes | None = None) -> None:
    """Above the chart, where it covers no line."""
    if not drawn:
        axes.text(0.5, 0.5, note, transform=axes.transAxes, ha="center", va="center", color=MUTED)
        return
    lines, labels = axes.get_legend_handles_labels()
    if more is not None:
        others, names = more.get_legend_handles_labels()
        lines, labels = lines + others, labels + names
    if lines:
        axes.legend(
            lines,
            labels,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=min(len(lines), 3),
            borderaxespad=0.2,
            handlelength=1.4,
            columnspacing=1.4,
        )


def _saved(figure: Figure, form: Form) -> bytes:
    out = io.BytesIO()
    figure.savefig(
        out,
        format=form,
        facecolor="white" if form == "png" else "none",
        metadata={"Date": None} if form == "svg" else None,
    )
    if form == "svg":  # the reader's own fonts: narrower than the ones that were measured, so nothing overflows
        return out.getvalue().decode().replace("'DejaVu Sans'", _FONTS).encode()
    return _small(out.getvalue())


def _small(png: bytes) -> bytes:
    """256 colours are enough for a chart and a third of the bytes."""
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()
