"""Renders a drift report as one self-contained HTML page: whether there is drift, how much, in which features, from
which sources, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from carsdepo_assets.monitoring.charts import band_chart, distribution_chart, sheet_png
from carsdepo_assets.monitoring.drift.test import LEVEL, Drift, FeatureDrift
from carsdepo_assets.monitoring.features import NAMES
from carsdepo_assets.monitoring.missing_inputs import MissingInput
from carsdepo_assets.policy import MonitoringPolicy
from carsdepo_assets.reporting.page import data_uri, render

CHARTS = 4
_SOURCES_SHOWN = 12
# What less and more of a feature is called.
_WORDS = {
    "luma_p95": ("darker", "brighter"),
    "luma_mean": ("darker", "brighter"),
    "luma_std": ("flatter", "of more contrast"),
    "sharpness": ("blurrier", "sharper or noisier"),
    "saturation": ("paler", "more colourful"),
    "colour_cast": ("more neutral in colour", "of a stronger colour cast"),
    "megapixels": ("smaller", "larger"),
    "aspect": ("taller in format", "wider in format"),
    "bits_per_pixel": ("more compressed", "less compressed"),
    "n_boxes": ("with fewer damages found", "with more damages found"),
    "max_score": ("less certain for the model", "more certain for the model"),
    "unsure": ("less often unsure", "more often unsure"),
}
_HEADINGS = {
    "none": "No drift",
    "low": "Slight drift",
    "middle": "Drift",
    "high": "Strong drift",
    "unknown": "Not known",
}
ACTIONS = {
    "none": "Nothing to do.",
    "low": "Retrain on new labels; the gate decides by itself whether the new model goes live.",
    "middle": "Retrain on new labels, but a person must approve the next promotion.",
    "high": "No retraining: the traffic differs too much from the labelled photographs. Label the queue that is cut "
    "from this window, try recipes on it, then decide.",
    "unknown": "Find out why drift could not be computed. Unknown is not the same as none.",
}


@dataclass(frozen=True)
class Picture:
    """A photograph on the page."""

    jpeg: bytes | None
    """None: the photograph is not stored (any more)."""
    caption: str


@dataclass(frozen=True)
class DriftReportInput:
    """What the page shows."""

    report_id: str
    drift: Drift
    band: str
    """none, low, middle, high or unknown."""
    start: datetime
    """Of the window, UTC."""
    end: datetime
    made_at: datetime
    policy: MonitoringPolicy
    digest: str | None
    """The model that answered last in the window; None where none did."""
    others: Mapping[str, int] = field(default_factory=dict)
    """Other models that answered in the window: {digest: answers}."""
    drifted: Sequence[Picture] = ()
    """The photographs of the window that drifted most."""
    typical: Sequence[Picture] = ()
    """Ordinary photographs of the reference, for comparison."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What was compared, by name, in order."""
    notes: Sequence[str] = ()
    """Sentences at the head of the page."""
    missing: Sequence[MissingInput] = ()


def render_drift(page: DriftReportInput) -> str:
    """Renders the page as HTML. Every text in it is escaped."""
    drift = page.drift
    return render(
        Path(__file__).parent,
        "report.html",
        p=page,
        d=drift,
        level=f"{100 * LEVEL:.0f} %",
        heading=heading(page.band),
        action=ACTIONS[page.band],
        summary=summary(drift),
        worst=NAMES.get(drift.worst or "", drift.worst),
        scale=_scale(page),
        charts=[
            {"name": NAMES.get(f.name, f.name), "svg": data_uri(distribution_chart(f)), "change": change_text(f)}
            for f in shown(drift)
        ],
        features=[{"f": f, "name": NAMES.get(f.name, f.name), "change": change_text(f)} for f in drift.features],
        sources=drift.sources[:_SOURCES_SHOWN],
        more_sources=max(0, len(drift.sources) - _SOURCES_SHOWN),
        left_out={NAMES.get(k, k): why for k, why in drift.left_out.items()},
        likely=sum(share for _, share in drift.drifted),
        drifted=[_picture(p) for p in page.drifted],
        typical=[_picture(p) for p in page.typical],
    )


def heading(band: str) -> str:
    """A band in words, for the head of the page."""
    return _HEADINGS[band]


def title(start: datetime, end: datetime) -> str:
    """The title of a report on the window from start to end (UTC)."""
    until = f"{end:%H:%M}" if start.date() == end.date() else f"{end:%d %b %Y, %H:%M}"
    return f"Drift: {start:%d %b %Y, %H:%M} to {until} UTC"


def summary(drift: Drift) -> str:
    """The result in one or two sentences, for a person who reads nothing else."""
    if not drift.computed:
        return f"Whether the traffic has changed is not known. {drift.reason}"
    if not drift.detected or drift.drift is None or drift.low is None or drift.high is None:
        return (
            f"The {drift.photographs:,} photographs of {drift.groups:,} cars look like those of the model's reference "
            f"(p = {drift.p_value:.3f})."
        )
    worst = drift.features[0]
    direction, figures = _change(worst)
    text = (
        f"At least {100 * drift.drift:.1f} % of the traffic ({100 * drift.low:.1f} to {100 * drift.high:.1f} %) "
        f"differs from the model's reference: {direction} ({NAMES.get(worst.name, worst.name)}: {figures})."
    )
    others = dict.fromkeys(_change(f)[0] for f in drift.features[1:] if f.significant)
    others.pop(direction, None)
    if others:
        text += f" Also {_listed(list(others)[:3])}."
    top = drift.sources[0] if drift.sources else None
    if top is not None and top.excess > 0.05:
        text += (
            f" {100 * top.drifted:.0f} % of the photographs that changed come from {top.attribute} {top.value}, "
            f"which sends {100 * top.window:.0f} % of all."
        )
    return text


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def change_text(f: FeatureDrift) -> str:
    """How one feature changed, in words and figures; empty where it did not change significantly."""
    if not f.significant:
        return ""
    direction, figures = _change(f)
    return f"{direction}: {figures}"


def _change(f: FeatureDrift) -> tuple[str, str]:
    """The direction of the change in a word, and its figures."""
    if f.ordered and f.reference_median is not None and f.window_median is not None:
        less, more = _WORDS.get(f.name, ("less", "more"))
        lean, moved = _lean(f), f.window_median - f.reference_median
        figures = f"median {f.window_median:.3g}, before {f.reference_median:.3g}"
        # A part may darken while the middle stands: then the medians alone would contradict the word.
        return less if lean < 0 else more, figures if lean * moved > 0 else f"a part only, {figures}"
    grown = max(zip(f.window, f.reference, f.labels, strict=True), key=lambda s: s[0] - s[1])
    return f"more of {grown[2]}", f"{100 * grown[0]:.0f} %, before {100 * grown[1]:.0f} %"


def shown(drift: Drift) -> list[FeatureDrift]:
    """The features whose distributions are drawn: the significant ones, at least two and at most CHARTS."""
    wanted = max(2, sum(f.significant for f in drift.features))
    return list(drift.features[: min(wanted, CHARTS)])


def pictures(drift: Drift) -> dict[str, bytes]:
    """PNGs by name, for Dagster's UI."""
    features = shown(drift)
    return {"distributions": sheet_png(features)} if features else {}


def _lean(f: FeatureDrift) -> float:
    """Negative where the photographs that are too many lie below, positive where above: the mean place of the excess
    against that of the reference. The median may stand still while a tail grows."""
    excess = [max(w - r, 0.0) for w, r in zip(f.window, f.reference, strict=True)]
    total = sum(excess)
    if not total:
        return 0.0
    place = sum(i * e for i, e in enumerate(excess)) / total
    return place - sum(i * r for i, r in enumerate(f.reference))


def _scale(page: DriftReportInput) -> str | None:
    d = page.drift
    if not d.detected or d.drift is None or d.low is None or d.high is None:
        return None
    return data_uri(band_chart(d.drift, d.low, d.high, page.policy))


def _picture(picture: Picture) -> dict[str, str | None]:
    return {"src": data_uri(picture.jpeg) if picture.jpeg else None, "caption": picture.caption}
