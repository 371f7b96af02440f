"""The candidate's evaluation as it is kept: figures and HTML report in the lake, pictures for the UI."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from carsdepo_assets.detectors.evaluating import decoded, evaluate_model
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.bootstrap import bootstrap_map50
from carsdepo_assets.scoring.evaluation import evaluate_slices
from carsdepo_assets.scoring.mistakes import ranked_mistakes
from carsdepo_assets.training.candidates import Candidate, NotReady
from carsdepo_assets.training.report import ReportInput, pictures, render_report

SHOWN = 6  # pictures of each kind in the report


@dataclass(frozen=True)
class Judged:
    """figures: floats by name. pictures: PNG bytes by what they show."""

    figures: dict[str, float]
    per_class: list[dict[str, Any]]
    photographs: int
    boxes: int
    groups: int
    verdict: str
    report_key: str
    data_version: str
    pictures: dict[str, bytes]


def _base(candidate: Candidate) -> str:
    return f"reports/evaluation/{candidate.digest}-{candidate.dataset}"


def verdict(figures: dict[str, float], policy: Policy) -> tuple[bool, str]:
    """Whether the floors are met, and a sentence with both numbers."""
    floor, value = policy.evaluation.floor_map50, figures["map50"]
    met = value >= floor
    return met, f"mAP@.5 {value:.3f} {'meets' if met else 'is under'} the floor of {floor:.3f}"


def read_figures(lake: Lake, candidate: Candidate) -> dict[str, float]:
    """The figures of judge(). Raises NotReady before it."""
    key = f"{_base(candidate)}.json"
    if not lake.exists(key):
        raise NotReady(f"candidate {candidate.digest} has no {key}: materialize `evaluation` first.")
    return {k: float(v) for k, v in json.loads(lake.get(key))["figures"].items()}


def judge(lake: Lake, candidate: Candidate, policy: Policy) -> Judged:
    """Scores the candidate on its dataset's test split, then writes the report and, last, the figures.

    Raises NothingToScore for a dataset without test photographs.
    """
    evaluated = evaluate_model(lake, candidate.dataset, candidate.digest, policy)
    result, scored = evaluated.evaluation, evaluated.scored
    groups = [r["group_id"] for r in scored.rows]
    names = evaluated.card.class_names
    iou, most = result.iou, result.max_detections
    interval = bootstrap_map50(scored.truths, scored.detections, len(names), groups, max_detections=most)
    mistakes = ranked_mistakes(
        scored.truths,
        scored.detections,
        len(names),
        threshold=result.threshold,
        limit=SHOWN,
        iou=iou,
        max_detections=most,
    )
    slices = evaluate_slices(
        scored.truths,
        scored.detections,
        names,
        _lights(lake, scored.rows),
        threshold=result.threshold,
        iou=iou,
        max_detections=most,
    )
    figures = {
        k: float(v or 0.0)
        for k, v in (
            ("map50", result.map50),
            ("map75", result.map75),
            ("map50_95", result.map50_95),
            ("precision", result.precision),
            ("recall", result.recall),
            ("f1", result.f1),
            ("threshold", result.threshold),
        )
    }
    if interval.low is not None and interval.high is not None:
        figures |= {"map50_low": interval.low, "map50_high": interval.high}
    passed, text = verdict(figures, policy)
    history = json.loads(lake.get(f"models/{candidate.digest}/result.json"))["history"]
    wanted = sorted({m.image for m in [*mistakes.misses, *mistakes.false_alarms]})
    recipe = candidate.recipe
    page = ReportInput(
        evaluation=result,
        interval=interval,
        slices=slices,
        mistakes=mistakes,
        passed=passed,
        verdict=text,
        truths=scored.truths,
        detections=scored.detections,
        history=history,
        made_at=datetime.now(UTC),
        images={i: decoded(lake, scored.rows[i], policy) for i in wanted},
        threshold_from=evaluated.card.threshold_from,
        facts={
            "Model": candidate.digest,
            "Dataset": candidate.dataset,
            "Detector": f"{recipe.detector} at {recipe.image_size} px, from {recipe.init}",
            "Recipe": recipe.model_dump_json(),
        },
    )
    html = render_report(page)
    lake.put(f"{_base(candidate)}.html", html.encode())
    per_class: list[dict[str, Any]] = [
        {
            "class": name,
            "boxes": s.n_boxes,
            "AP@.5": _said(s.ap50),
            "AP@.5:.95": _said(s.ap50_95),
            "precision": _said(s.counts.precision),
            "recall": _said(s.counts.recall),
        }
        for name, s in result.per_class.items()
    ]
    lake.put(
        f"{_base(candidate)}.json",
        json.dumps(
            {
                "figures": figures,
                "candidate": candidate.model_dump(mode="json"),
                "photographs": result.n_images,
                "boxes": result.n_boxes,
                "groups": len(set(groups)),
                "verdict": text,
                "evaluation": result.model_dump(mode="json"),
                "slices": [s.model_dump(mode="json") for s in slices],
            },
            indent=1,
        ).encode(),
    )
    return Judged(
        figures,
        per_class,
        result.n_images,
        result.n_boxes,
        len(set(groups)),
        text,
        f"{_base(candidate)}.html",
        f"{candidate.digest}:{candidate.dataset}",
        pictures(page),
    )


def _lights(lake: Lake, rows: list[dict[str, Any]]) -> list[str | None]:
    known = lake.read("images", columns=["image_id", "light"]).to_pylist()
    light = {r["image_id"]: r["light"] for r in known}
    return [light.get(r["image_id"]) for r in rows]


def _said(value: float | None) -> str:
    return "no boxes" if value is None else f"{value:.3f}"
