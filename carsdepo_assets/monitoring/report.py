"""A drift report as one HTML page that needs nothing beside itself: is it drift, how much, of what, from where, what
to do."""

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
    "high": "Another world",
    "unknown": "Not known",
}
ACTIONS = {
    "none": "Nothing to do.",
    "low": "Retrain on new labels; the gate decides by itself whether the new model goes live.",
    "middle": "Retrain on new labels, but a person must approve the next promotion.",
    "high": "No retraining: what came is too different from what the labels show. Label the queue that is cut "
    "from this window, try recipes on it, then decide.",
    "unknown": "Find out why it cannot be told. This is not the same as no drift.",
}


@dataclass(frozen=True)
class Picture:
    """jpeg None: the photograph is not kept."""

    jpeg: bytes | None
    caption: str


@dataclass(frozen=True)
class DriftReportInput:
    """What the page says. start, end: the window, UTC. others: {digest: answers} of other models in the window.

    drifted, typical: pictures from the window and of the reference. facts: what was compared, by name, in order.
    """

    report_id: str
    found: Drift
    band: str
    start: datetime
    end: datetime
    made_at: datetime
    policy: MonitoringPolicy
    digest: str | None
    others: Mapping[str, int] = field(default_factory=dict)
    drifted: Sequence[Picture] = ()
    typical: Sequence[Picture] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    missing: Sequence[MissingInput] = ()


def render_drift(page: DriftReportInput) -> str:
    """The page. Every text in it is escaped."""
    found = page.found
    return render(
        Path(__file__).parent,
        "report.html",
        p=page,
        d=found,
        level=f"{100 * LEVEL:.0f} %",
        heading=heading(page.band),
        action=ACTIONS[page.band],
        summary=summary(found),
        worst=NAMES.get(found.worst or "", found.worst),
        scale=_scale(page),
        charts=[
            {"name": NAMES.get(f.name, f.name), "svg": data_uri(distribution_chart(f)), "said": said_of(f)}
            for f in shown(found)
        ],
        features=[{"f": f, "name": NAMES.get(f.name, f.name), "said": said_of(f)} for f in found.features],
        sources=found.sources[:_SOURCES_SHOWN],
        more_sources=max(0, len(found.sources) - _SOURCES_SHOWN),
        left_out={NAMES.get(k, k): why for k, why in found.left_out.items()},
        likely=sum(share for _, share in found.drifted),
        drifted=[_picture(p) for p in page.drifted],
        typical=[_picture(p) for p in page.typical],
    )


def heading(band: str) -> str:
    return _HEADINGS[band]


def title(start: datetime, end: datetime) -> str:
    """Of the report, by its window."""
    until = f"{end:%H:%M}" if start.date() == end.date() else f"{end:%d %b %Y, %H:%M}"
    return f"Drift: {start:%d %b %Y, %H:%M} to {until} UTC"


def summary(found: Drift) -> str:
    """One or two sentences for a person who reads nothing else."""
    if not found.computed:
        return f"Whether the traffic has changed is not known. {found.reason}"
    if not found.detected or found.drift is None or found.low is None or found.high is None:
        return (
            f"The {found.photographs:,} photographs of {found.groups:,} cars look like those that the model knows "
            f"(p = {found.p_value:.3f})."
        )
    worst = found.features[0]
    word, figures = _change(worst)
    text = (
        f"At least {100 * found.drift:.1f} % of the traffic ({100 * found.low:.1f} to {100 * found.high:.1f} %) "
        f"differs from what the model knows: {word} ({NAMES.get(worst.name, worst.name)}: {figures})."
    )
    others = dict.fromkeys(_change(f)[0] for f in found.features[1:] if f.significant)
    others.pop(word, None)
    if others:
        text += f" Also {_listed(list(others)[:3])}."
    top = found.sources[0] if found.sources else None
    if top is not None and top.excess > 0.05:
        text += (
            f" {100 * top.drifted:.0f} % of the photographs that changed come from {top.attribute} {top.value}, "
            f"which sends {100 * top.window:.0f} % of all."
        )
    return text


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def said_of(f: FeatureDrift) -> str:
    """What changed, in words; empty where nothing did."""
    if not f.significant:
        return ""
    word, figures = _change(f)
    return f"{word}: {figures}"


def _change(f: FeatureDrift) -> tuple[str, str]:
    """In a word, and in figures."""
    if f.ordered and f.reference_median is not None and f.window_median is not None:
        less, more = _WORDS.get(f.name, ("less", "more"))
        lean, moved = _lean(f), f.window_median - f.reference_median
        figures = f"median {f.window_median:.3g}, before {f.reference_median:.3g}"
        # A part may darken while the middle stands: then the medians alone would contradict the word.
        return less if lean < 0 else more, figures if lean * moved > 0 else f"a part only, {figures}"
    grown = max(zip(f.window, f.reference, f.labels, strict=True), key=lambda s: s[0] - s[1])
    return f"more of {grown[2]}", f"{100 * grown[0]:.0f} %, before {100 * grown[1]:.0f} %"


def shown(found: Drift) -> list[FeatureDrift]:
    """Features whose distributions are drawn: the significant ones, at least two."""
    wanted = max(2, sum(f.significant for f in found.features))
    return list(found.features[: min(wanted, CHARTS)])


def pictures(found: Drift) -> dict[str, bytes]:
    """PNGs by name for the UI."""
    features = shown(found)
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
    d = page.found
    if not d.detected or d.drift is None or d.low is None or d.high is None:
        return None
    return data_uri(band_chart(d.drift, d.low, d.high, page.policy))


def _picture(picture: Picture) -> dict[str, str | None]:
    return {"src": data_uri(picture.jpeg) if picture.jpeg else None, "caption": picture.caption}
