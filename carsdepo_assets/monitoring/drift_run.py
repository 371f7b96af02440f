"""A window measured, reported and recorded: HTML and JSON in the lake, then the row in `drift`."""

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

_STRIP = 8  # pictures of each kind


@dataclass(frozen=True)
class Measured:
    """row: of DRIFT. pictures: PNG bytes by what they show."""

    row: dict[str, Any]
    found: Drift
    said: str
    action: str
    pictures: dict[str, bytes]
    missing: list[MissingInput]


def measure_window(
    lake: Lake, start: datetime, end: datetime, policy: Policy, now: datetime, run_id: str | None = None
) -> Measured:
    """Compares the answers of [start, end) with the reference of the model that gave them.

    The same answers, reference and policy give the same report: it is recorded once. Nothing that can be missing
    (answers, reference, features) raises: the report says that drift is unknown, and why.
    """
    window = read_window(lake, start, end)
    card = card_of(lake, window.digest) if window.digest else None
    known = read_reference(lake, window.digest) if window.digest else None
    names = tuple(card.class_names) if card else policy.class_map.names
    met = window.sample(names, policy.inference.unsure_share)
    reference = known.sample(policy.inference.unsure_share) if known else None
    if window.digest is None:
        found = Drift(False, "Production answered nothing in this window.", 0, 0)
    else:
        found = measure(reference, met, policy.monitoring, seed=_seed(window))
    verdict = band(found, policy.monitoring)
    report_id = _report_id(window, known, policy)
    page = report.DriftReportInput(
        report_id=report_id,
        found=found,
        band=verdict,
        start=start,
        end=end,
        made_at=now,
        policy=policy.monitoring,
        digest=window.digest,
        others=window.others,
        drifted=_drifted(lake, window, met, found, policy),
        typical=_typical(lake, known, reference, found, policy),
        facts=_facts(report_id, window, known, policy),
        notes=_notes(window),
    )
    missing = missing_inputs(lake, start, end, policy.monitoring)
    page = replace(page, missing=missing)
    base = f"reports/drift/{report_id}"
    lake.put(f"{base}.html", report.render_drift(page).encode())
    lake.put(f"{base}.json", json.dumps(_described(page), indent=1, default=str).encode())
    row = {
        "report_id": report_id,
        "at": now,
        "window_from": start,
        "window_to": end,
        "digest": window.digest,
        "photographs": found.photographs,
        "groups": found.groups,
        "computed": found.computed,
        "detected": found.detected,
        "p_value": found.p_value,
        "drift": found.drift,
        "worst_feature": found.worst,
        "band": verdict,
        "features": json.dumps([asdict(f) for f in found.features]),
        "sources": json.dumps([asdict(s) | {"excess": s.excess} for s in found.sources]),
        "report_key": f"{base}.html",
        "dagster_run_id": run_id,
        "missing": json.dumps([asdict(m) for m in missing]),
    }
    lake.append("drift", [row], report_id)
    return Measured(row, found, report.summary(found), report.ACTIONS[verdict], report.pictures(found), missing)


def _report_id(window: AnswerWindow, known: Reference | None, policy: Policy) -> str:
    """By the end of the window and a digest of all that the report rests on."""
    said = [
        window.start.isoformat(),
        window.end.isoformat(),
        window.digest,
        window.rows["prediction_id"].to_pylist(),
        known.rows["image_id"].to_pylist() if known else None,
        policy.monitoring.model_dump(mode="json"),
    ]
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]
    return f"{window.end:%Y%m%dT%H%M%S}-{digest}"


def _seed(window: AnswerWindow) -> int:
    """The same answers are shuffled the same way."""
    ids = "\n".join(window.rows["prediction_id"].to_pylist())
    return int.from_bytes(hashlib.sha256(ids.encode()).digest()[:4], "big")


def _described(page: report.DriftReportInput) -> dict[str, Any]:
    """What the site lists, and what the labelling queue reads: `drifted`, the most drifted first."""
    found = page.found
    figures = {
        "drift": found.drift,
        "low": found.low,
        "high": found.high,
        "p_value": found.p_value,
        "photographs": found.photographs,
        "groups": found.groups,
    }
    return {
        "title": f"{report.title(page.start, page.end)}: {report.heading(page.band).lower()}",
        "at": page.made_at.isoformat(),
        "summary": report.summary(found),
        "figures": {k: v for k, v in figures.items() if v is not None},
        "band": page.band,
        "worst_feature": found.worst,
        "computed": found.computed,
        "reason": found.reason,
        "drifted": [list(pair) for pair in found.drifted],
        "features": [asdict(f) for f in found.features],
        "sources": [asdict(s) for s in found.sources],
        "left_out": dict(found.left_out),
    }


def _drifted(
    lake: Lake, window: AnswerWindow, met: FeatureSample, found: Drift, policy: Policy
) -> list[report.Picture]:
    if not found.drifted or found.worst is None:
        return []
    place = {image: i for i, image in enumerate(met.ids)}
    keys, values = window.keys(), met.features[found.worst]
    order = list(dict.fromkeys(place[image] for image, _ in found.drifted))
    return [
        report.Picture(
            report_thumbnail(lake, keys[met.ids[i]], policy.data),
            _caption(found.worst, values[i], _text(met, "source", i) or _text(met, "camera", i)),
        )
        for i in one_a_group(order, met.groups, _STRIP)
    ]


def _typical(
    lake: Lake, known: Reference | None, reference: FeatureSample | None, found: Drift, policy: Policy
) -> list[report.Picture]:
    if known is None or reference is None or found.worst is None:
        return []
    keys, values = known.rows["object_key"].to_pylist(), reference.features[found.worst]
    return [
        report.Picture(
            report_thumbnail(lake, keys[i], policy.data),
            _caption(found.worst, values[i], _text(reference, "camera", i)),
        )
        for i in one_a_group(typical(reference, found.worst), reference.groups, _STRIP)
    ]


def _text(sample: FeatureSample, attribute: str, i: int) -> str | None:
    value = sample.sources[attribute][i]
    return None if value is None else str(value)


def _caption(feature: str, value: Any, source: str | None) -> str:
    said = value if isinstance(value, str) else f"{value:.3g}" if value is not None else "not measured"
    return f"{said}{f'; {source}' if source else ''}"


def _facts(report_id: str, window: AnswerWindow, known: Reference | None, policy: Policy) -> Mapping[str, str]:
    versions = [v for v in window.rows["version"].unique().to_pylist() if v is not None]
    facts = {
        "Report": report_id,
        "Model": f"{window.digest or 'none'}{f', version {versions[-1]}' if versions else ''}",
    }
    if known is not None:
        facts["Reference"] = (
            f"{known.rows.num_rows:,} photographs of the model's dataset; its own answers on {known.asked:,} of them "
            "that it was not trained on"
        )
    rules = policy.monitoring
    facts["Test"] = (
        f"cars shuffled {rules.resamples:,} times between reference and window; largest of all features' differences; "
        f"family-wise alpha {rules.alpha}"
    )
    facts["Bands"] = (
        f"up to {100 * rules.retrain_below:g} % retrain; up to {100 * rules.no_retraining_from:g} % a person approves; "
        "beyond, another world"
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
