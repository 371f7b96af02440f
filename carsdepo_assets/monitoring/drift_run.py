"""Measures drift in a window of answers, publishes the report and records it: report first, then the row in `drift`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.monitoring import report
from carsdepo_assets.monitoring.drift.feature_sample import FeatureSample
from carsdepo_assets.monitoring.drift.test import Drift, band, measure
from carsdepo_assets.monitoring.missing_inputs import MissingInput, missing_inputs
from carsdepo_assets.monitoring.reference import Reference, card_of, read_reference
from carsdepo_assets.monitoring.thumbnails import one_a_group, report_thumbnail, typical
from carsdepo_assets.monitoring.window import AnswerWindow, read_window
from carsdepo_assets.policy import Policy
from carsdepo_assets.reporting.publish import ReportSummary, publish

_STRIP = 8  # pictures of each kind


@dataclass(frozen=True)
class MeasuredWindow:
    """A window's drift report."""

    row: dict[str, Any]
    """As recorded in the table `drift`."""
    drift: Drift
    summary: str
    """The result in one or two sentences."""
    action: str
    """What a person should do, by the band."""
    pictures: dict[str, bytes]
    """PNG bytes by what they show."""
    missing: list[MissingInput]


def measure_window(
    lake: Lake, start: datetime, end: datetime, policy: Policy, now: datetime, run_id: str | None = None
) -> MeasuredWindow:
    """Compares the answers of a window of time with the reference of the model that gave them, and stores the report.

    The same answers, reference and policy give the same report, which is recorded once. Missing answers, references or
    features do not raise: the report then says that drift is unknown, and why.

    Args:
        lake: where answers and references are, and where the report goes.
        start: of the window, with a time zone.
        end: of the window; an answer at `end` itself is not in it.
        policy: the policy in force.
        now: the time of the report.
        run_id: of the Dagster run that measures; None outside of Dagster.

    Raises:
        ValueError: end is not after start.
    """
    window = read_window(lake, start, end)
    card = card_of(lake, window.digest) if window.digest else None
    reference = read_reference(lake, window.digest) if window.digest else None
    names = tuple(card.class_names) if card else policy.class_map.names
    window_sample = window.sample(names, policy.inference.unsure_share)
    reference_sample = reference.sample(policy.inference.unsure_share) if reference else None
    if window.digest is None:
        drift = Drift(False, "Production answered nothing in this window.", 0, 0)
    else:
        drift = measure(reference_sample, window_sample, policy.monitoring, seed=_seed(window))
    drift_band = band(drift, policy.monitoring)
    report_id = _report_id(window, reference, policy)
    page = report.DriftReportInput(
        report_id=report_id,
        drift=drift,
        band=drift_band,
        start=start,
        end=end,
        made_at=now,
        policy=policy.monitoring,
        digest=window.digest,
        others=window.others,
        drifted=_drifted(lake, window, window_sample, drift, policy),
        typical=_typical(lake, reference, reference_sample, drift, policy),
        facts=_facts(report_id, window, reference, policy),
        notes=_notes(window),
    )
    missing = missing_inputs(lake, start, end, policy.monitoring)
    page = replace(page, missing=missing)
    base = f"reports/drift/{report_id}"
    publish(lake, base, report.render_drift(page), _summary(page), _details(page))
    row = {
        "report_id": report_id,
        "at": now,
        "window_from": start,
        "window_to": end,
        "digest": window.digest,
        "photographs": drift.photographs,
        "groups": drift.groups,
        "computed": drift.computed,
        "detected": drift.detected,
        "p_value": drift.p_value,
        "drift": drift.drift,
        "worst_feature": drift.worst,
        "band": drift_band,
        "features": json.dumps([asdict(f) for f in drift.features]),
        "sources": json.dumps([asdict(s) | {"excess": s.excess} for s in drift.sources]),
        "report_key": f"{base}.html",
        "dagster_run_id": run_id,
        "missing": json.dumps([asdict(m) for m in missing]),
    }
    lake.append("drift", [row], report_id)
    return MeasuredWindow(
        row, drift, report.summary(drift), report.ACTIONS[drift_band], report.pictures(drift), missing
    )


def _report_id(window: AnswerWindow, reference: Reference | None, policy: Policy) -> str:
    """The id of the report: the end of the window, and a digest of all that the report rests on."""
    basis = [
        window.start.isoformat(),
        window.end.isoformat(),
        window.digest,
        window.rows["prediction_id"].to_pylist(),
        reference.rows["image_id"].to_pylist() if reference else None,
        policy.monitoring.model_dump(mode="json"),
    ]
    digest = hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()[:8]
    return f"{window.end:%Y%m%dT%H%M%S}-{digest}"


def _seed(window: AnswerWindow) -> int:
    """The same answers are shuffled the same way."""
    ids = "\n".join(window.rows["prediction_id"].to_pylist())
    return int.from_bytes(hashlib.sha256(ids.encode()).digest()[:4], "big")


def _summary(page: report.DriftReportInput) -> ReportSummary:
    drift = page.drift
    figures = {
        "drift": drift.drift,
        "low": drift.low,
        "high": drift.high,
        "p_value": drift.p_value,
        "photographs": drift.photographs,
        "groups": drift.groups,
    }
    return ReportSummary(
        title=f"{report.title(page.start, page.end)}: {report.heading(page.band).lower()}",
        at=page.made_at,
        summary=report.summary(drift),
        figures={k: v for k, v in figures.items() if v is not None},
    )


def _details(page: report.DriftReportInput) -> dict[str, Any]:
    """What the labelling queue reads of a report: `drifted`, the most drifted photograph first."""
    drift = page.drift
    return {
        "band": page.band,
        "worst_feature": drift.worst,
        "computed": drift.computed,
        "reason": drift.reason,
        "drifted": [list(pair) for pair in drift.drifted],
        "features": [asdict(f) for f in drift.features],
        "sources": [asdict(s) for s in drift.sources],
        "left_out": dict(drift.left_out),
    }


def _drifted(
    lake: Lake, window: AnswerWindow, sample: FeatureSample, drift: Drift, policy: Policy
) -> list[report.Picture]:
    if not drift.drifted or drift.worst is None:
        return []
    place = {image: i for i, image in enumerate(sample.ids)}
    keys, values = window.keys(), sample.features[drift.worst]
    order = list(dict.fromkeys(place[image] for image, _ in drift.drifted))
    return [
        report.Picture(
            report_thumbnail(lake, keys[sample.ids[i]], policy.data),
            _caption(drift.worst, values[i], _text(sample, "source", i) or _text(sample, "camera", i)),
        )
        for i in one_a_group(order, sample.groups, _STRIP)
    ]


def _typical(
    lake: Lake, reference: Reference | None, sample: FeatureSample | None, drift: Drift, policy: Policy
) -> list[report.Picture]:
    if reference is None or sample is None or drift.worst is None:
        return []
    keys, values = reference.rows["object_key"].to_pylist(), sample.features[drift.worst]
    return [
        report.Picture(
            report_thumbnail(lake, keys[i], policy.data),
            _caption(drift.worst, values[i], _text(sample, "camera", i)),
        )
        for i in one_a_group(typical(sample, drift.worst), sample.groups, _STRIP)
    ]


def _text(sample: FeatureSample, attribute: str, i: int) -> str | None:
    value = sample.sources[attribute][i]
    return None if value is None else str(value)


def _caption(feature: str, value: Any, source: str | None) -> str:
    text = value if isinstance(value, str) else f"{value:.3g}" if value is not None else "not measured"
    return f"{text}{f'; {source}' if source else ''}"


def _facts(report_id: str, window: AnswerWindow, reference: Reference | None, policy: Policy) -> Mapping[str, str]:
    versions = [v for v in window.rows["version"].unique().to_pylist() if v is not None]
    facts = {
        "Report": report_id,
        "Model": f"{window.digest or 'none'}{f', version {versions[-1]}' if versions else ''}",
    }
    if reference is not None:
        facts["Reference"] = (
            f"{reference.rows.num_rows:,} photographs of the model's dataset; its own answers on {reference.asked:,} "
            "of them that it was not trained on"
        )
    monitoring = policy.monitoring
    facts["Test"] = (
        f"cars shuffled {monitoring.resamples:,} times between reference and window; largest of all features' "
        f"differences; family-wise alpha {monitoring.alpha}"
    )
    facts["Bands"] = (
        f"up to {100 * monitoring.retrain_below:g} % retrain; up to {100 * monitoring.no_retraining_from:g} % "
        "a person approves; from there on no retraining"
    )
    return facts


def _notes(window: AnswerWindow) -> list[str]:
    if not window.others:
        return []
    others = ", ".join(f"{digest} ({n:,} answers)" for digest, n in window.others.items())
    return [
        f"Several models answered in this window. This report is about the one that answered last, {window.digest} "
        f"({window.rows.num_rows:,} answers), against its own reference; left out: {others}."
    ]
