"""The candidate's evaluation as it is kept: figures and HTML report in the lake, pictures for the UI."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from carsdepo_assets.evaluation.comparison import Comparison, compare, figures_of, sliced
from carsdepo_assets.evaluation.golden import evaluate_on_golden
from carsdepo_assets.evaluation.predict import SplitEvaluation, decoded
from carsdepo_assets.evaluation.slices import lights
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.datasets import latest
from carsdepo_assets.lake.golden import Golden
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import desired
from carsdepo_assets.scoring.bootstrap import bootstrap_map50
from carsdepo_assets.scoring.mistakes import ranked_mistakes
from carsdepo_assets.training.candidates import Candidate, NotReady
from carsdepo_assets.training.report import EvaluationReportInput, pictures, render_report

SHOWN = 6  # pictures of each kind in the report
EVALUATION = "training/evaluation.json"  # names the newest evaluation


@dataclass(frozen=True)
class CandidateEvaluation:
    """figures: floats by name. golden: version of the golden set, 0 before the first. comparison: None where production
    serves nothing or this very model. pictures: PNG bytes by what they show.
    """

    figures: dict[str, float]
    per_class: list[dict[str, Any]]
    dataset: str
    golden: int
    comparison: Comparison | None
    photographs: int
    boxes: int
    groups: int
    verdict: str
    report_key: str
    data_version: str
    pictures: dict[str, bytes]


def verdict(figures: dict[str, float], policy: Policy) -> tuple[bool, str]:
    """Whether the floors are met, and a sentence with both numbers."""
    floor, value = policy.evaluation.floor_map50, figures["map50"]
    met = value >= floor
    return met, f"mAP@.5 {value:.3f} {'meets' if met else 'is under'} the floor of {floor:.3f}"


def read_figures(lake: Lake, candidate: Candidate) -> dict[str, float]:
    """The figures of the newest judge(). Raises NotReady where that was of another candidate, or never."""
    newest = json.loads(lake.get(EVALUATION)) if lake.exists(EVALUATION) else {}
    if (newest.get("digest"), newest.get("trained_on")) != (candidate.digest, candidate.dataset):
        raise NotReady(f"candidate {candidate.digest} has no evaluation: materialize `evaluation` first.")
    return {k: float(v) for k, v in json.loads(lake.get(newest["figures_key"]))["figures"].items()}


def evaluate_candidate(lake: Lake, candidate: Candidate, policy: Policy) -> CandidateEvaluation:
    """Scores the candidate, and the model in production beside it, on the golden set as the newest dataset labels it.

    Writes the report, then the figures and, last, the pointer that read_figures follows. Raises NothingToScore without
    test photographs, or where the dataset is older than the golden set.
    """
    dataset, chosen = latest(lake) or candidate.dataset, golden.current(lake)
    judged = evaluate_on_golden(lake, candidate.digest, dataset, policy, of=chosen)
    comparison = against_production(lake, judged, dataset, chosen, policy)
    result, scored = judged.evaluation, judged.scored
    groups = [r["group_id"] for r in scored.rows]
    n_classes, iou, most = len(result.class_names), result.iou, result.max_detections
    interval = bootstrap_map50(scored.truths, scored.detections, n_classes, groups, iou=iou, max_detections=most)
    mistakes = ranked_mistakes(
        scored.truths,
        scored.detections,
        n_classes,
        threshold=result.threshold,
        limit=SHOWN,
        iou=iou,
        max_detections=most,
    )
    slices = sliced(judged, lights(lake, scored.rows))
    figures = figures_of(result)
    if interval.low is not None and interval.high is not None:
        figures |= {"map50_low": interval.low, "map50_high": interval.high}
    passed, text = verdict(figures, policy)
    wanted = sorted({m.image for m in [*mistakes.misses, *mistakes.false_alarms]})
    version = chosen.version if chosen else 0
    made_at = datetime.now(UTC)
    page = EvaluationReportInput(
        evaluation=result,
        interval=interval,
        slices=slices,
        mistakes=mistakes,
        passed=passed,
        verdict=text,
        truths=scored.truths,
        detections=scored.detections,
        history=json.loads(lake.get(f"models/{candidate.digest}/result.json"))["history"],
        made_at=made_at,
        images={i: decoded(lake, scored.rows[i], policy) for i in wanted},
        threshold_from=judged.card.threshold_from,
        judged_on=_judged_on(chosen, dataset),
        comparison=comparison,
        no_comparison=_no_comparison(lake, candidate),
        facts=_facts(candidate, chosen, dataset),
    )
    base = f"reports/evaluation/{candidate.digest}-{dataset}-golden{version}"
    lake.put(f"{base}.html", render_report(page).encode())
    said = {
        "title": f"Evaluation of {candidate.digest}",
        "at": made_at.isoformat(),
        "summary": _summary(text, result.n_images, version, comparison),
        "figures": figures,
        "candidate": candidate.model_dump(mode="json"),
        "dataset": dataset,
        "golden": version,
        "photographs": result.n_images,
        "boxes": result.n_boxes,
        "groups": len(set(groups)),
        "verdict": text,
        "evaluation": result.model_dump(mode="json"),
        "slices": [s.model_dump(mode="json") for s in slices],
        "comparison": comparison.model_dump(mode="json") if comparison else None,
    }
    lake.put(f"{base}.json", json.dumps(said, indent=1).encode())
    pointer = {"digest": candidate.digest, "trained_on": candidate.dataset, "figures_key": f"{base}.json"}
    lake.put(EVALUATION, json.dumps(pointer).encode())
    return CandidateEvaluation(
        figures,
        _per_class(judged),
        dataset,
        version,
        comparison,
        result.n_images,
        result.n_boxes,
        len(set(groups)),
        text,
        f"{base}.html",
        f"{candidate.digest}:{dataset}:golden{version}",
        pictures(page),
    )


def against_production(
    lake: Lake, candidate: SplitEvaluation, dataset: str, chosen: Golden | None, policy: Policy
) -> Comparison | None:
    """The model in production on the same photographs; None where there is none or it is the candidate itself."""
    event = desired(lake, "production")
    if event is None or event.digest is None or event.digest == candidate.card.digest:
        return None
    champion = evaluate_on_golden(lake, event.digest, dataset, policy, of=chosen)
    return Comparison(
        champion=event.digest,
        version=event.version,
        threshold=champion.card.threshold,
        figures=figures_of(champion.evaluation),
        rows=compare(champion, candidate, lights(lake, candidate.scored.rows)),
    )


def _no_comparison(lake: Lake, candidate: Candidate) -> str:
    event = desired(lake, "production")
    if event is not None and event.digest == candidate.digest:
        return "This is the model in production."
    return "Production serves no model yet, so there is none to compare with."


def _judged_on(chosen: Golden | None, dataset: str) -> str:
    return f"golden set {chosen.version}" if chosen else f"the test split of dataset {dataset}"


def _facts(candidate: Candidate, chosen: Golden | None, dataset: str) -> dict[str, str]:
    recipe = candidate.recipe
    start = f"champion {recipe.champion}" if recipe.init == "champion" else recipe.init
    facts = {
        "Model": candidate.digest,
        "Trained on": f"dataset {candidate.dataset}",
        "Judged on": f"{_judged_on(chosen, dataset)}, labels of dataset {dataset}",
        "Detector": f"{recipe.detector} at {recipe.image_size} px, from {start}",
        "Recipe": recipe.model_dump_json(),
    }
    if chosen and chosen.added_by:
        facts["Golden set"] = f"version {chosen.version}, extended by {chosen.added_by}: {chosen.reason}"
    return facts


def _summary(text: str, photographs: int, version: int, comparison: Comparison | None) -> str:
    beside = f"; production: {comparison.figures['map50']:.3f}" if comparison else ""
    return f"{text} on {photographs} photographs of golden set {version}{beside}."


def _per_class(judged: SplitEvaluation) -> list[dict[str, Any]]:
    return [
        {
            "class": name,
            "boxes": s.n_boxes,
            "AP@.5": said(s.ap50),
            "AP@.5:.95": said(s.ap50_95),
            "precision": said(s.counts.precision),
            "recall": said(s.counts.recall),
        }
        for name, s in judged.evaluation.per_class.items()
    ]


def said(value: float | None) -> str:
    return "no boxes" if value is None else f"{value:.3f}"
