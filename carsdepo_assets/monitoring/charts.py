"""Charts of a drift report: a feature's distribution in reference and window, and the drift among the bands."""

from __future__ import annotations

from collections.abc import Sequence

from carsdepo_assets.monitoring.drift.test import FeatureDrift
from carsdepo_assets.monitoring.features import NAMES
from carsdepo_assets.policy import MonitoringPolicy
from carsdepo_assets.reporting.charts import INK, MUTED, PALETTE, Form, chart, saved, small_png, styled_chart

REFERENCE, WINDOW = "#9aa7b4", PALETTE[1]
_BANDS = ("#e3f3ea", "#fdf3d7", "#fbe0c8", "#f8d3d0")
_LONGEST = 14  # characters of a bin's label


@styled_chart
def distribution_chart(feature: FeatureDrift, form: Form = "svg") -> bytes:
    """Draws the share of photographs in each bin of a feature, reference next to window."""
    figure, axes = chart(5.6, 3.3)
    places = range(len(feature.labels))
    half = 0.38
    for shares, colour, name, move in (
        (feature.reference, REFERENCE, "reference", -half / 2),
        (feature.window, WINDOW, "this window", half / 2),
    ):
        axes.bar([p + move for p in places], [100 * s for s in shares], half, color=colour, label=name, zorder=3)
    axes.set_ylabel("% of photographs")
    axes.set_xticks(list(places), [_short(t) for t in feature.labels], rotation=40, ha="right", rotation_mode="anchor")
    axes.tick_params(axis="x", labelsize=8, length=0)
    axes.grid(False, axis="x")
    axes.set_xlabel(NAMES.get(feature.name, feature.name))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, handlelength=1.2)
    return saved(figure, form)


@styled_chart
def band_chart(drift: float, low: float, high: float, policy: MonitoringPolicy, form: Form = "svg") -> bytes:
    """Draws the drift and its interval (0..1) on a scale with the policy's bands."""
    figure, axes = chart(6.9, 1.25)
    end = min(1.0, max(high * 1.15, policy.no_retraining_from * 1.8))
    edges = (0.0, policy.retrain_below, policy.no_retraining_from, end)
    labels = ("retrain", "retrain, a person approves", "no retraining: label first")
    for a, b, colour, label in zip(edges, edges[1:], _BANDS[1:], labels, strict=False):
        axes.axvspan(100 * a, 100 * b, color=colour, zorder=0)
        if b - a > 0.13 * end:
            axes.text(100 * (a + b) / 2, 0.86, label, ha="center", va="top", color=MUTED, fontsize=8)
    axes.plot([100 * low, 100 * high], [0.32, 0.32], color=INK, linewidth=3, solid_capstyle="round", zorder=3)
    axes.plot([100 * drift], [0.32], "o", color=INK, markersize=10, zorder=4)
    axes.set(xlim=(0, 100 * end), ylim=(0, 1), yticks=[])
    axes.set_xlabel("% of the traffic that changed, at least")
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    return saved(figure, form)


def sheet_png(features: Sequence[FeatureDrift]) -> bytes:
    """Up to four distributions in one picture for the UI, two a row."""
    import io

    from PIL import Image

    pictures = [Image.open(io.BytesIO(distribution_chart(f, "png"))).convert("RGB") for f in features[:4]]
    width, height = pictures[0].size
    columns = min(2, len(pictures))
    sheet = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * width, i // columns * height))
    sheet.thumbnail((900, 900))
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return small_png(out.getvalue())


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
