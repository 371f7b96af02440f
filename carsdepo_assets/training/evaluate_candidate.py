"""Evaluates the candidate: scores it on the golden set, compares it with production, renders the report, stores all.

The figures go to the table `evaluations`, the page and its JSON to reports/evaluation/; the pointer
training/evaluation.json is written last, so that a kill leaves the evaluation before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from carsdepo_assets.evaluation.comparison import Comparison, compare, figures_of, sliced
from carsdepo_assets.evaluation.golden import evaluate_on_golden
from carsdepo_assets.evaluation.predict import SplitEvaluation, decoded
from carsdepo_assets.evaluation.slices import lights
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.datasets import latest
from carsdepo_assets.lake.evaluations import (
    REPORTS,
    CauseFigures,
    EvaluationRecord,
    class_figures,
    evaluation_id,
    read_evaluation,
    record_evaluation,
)
from carsdepo_assets.lake.golden import Golden
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import read_result
from carsdepo_assets.lake.pointers import EvaluationPointer
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import Event, desired
from carsdepo_assets.reporting.publish import ReportSummary, publish
from carsdepo_assets.scoring.bootstrap import Interval, bootstrap_map50
from carsdepo_assets.scoring.evaluation import SliceScore
from carsdepo_assets.scoring.mistakes import Mistakes, ranked_mistakes
from carsdepo_assets.training.candidates import Candidate, NotReady
from carsdepo_assets.training.evaluation_tables import by_cause_rows, figure_text, per_class_rows
from carsdepo_assets.training.report import EvaluationReportInput, pictures, render_report

MISTAKES_SHOWN = 6  # pictures of each kind in the report
EVALUATION = EvaluationPointer.KEY  # names the newest evaluation


@dataclass(frozen=True)
class CandidateEvaluation:
    """What an evaluation leaves for the UI, the registry and the log."""

    figures: dict[str, float]
    """Figures by name (map50, precision ...); one that cannot be computed is left out."""
    per_class: list[dict[str, Any]]
    """A row a class, for a table that people read."""
    by_cause: list[dict[str, Any]]
    """A row a cause of false alarms, likewise; empty where no hard negative is labelled."""
    dataset: str
    """Version of the dataset whose labels are the truth."""
    golden: int
    """Version of the golden set; 0 before the first, when the dataset's test split is used."""
    comparison: Comparison | None
    """The same figures of the model in production; None where it serves nothing or this very model."""
    photographs: int
    boxes: int
    """Labelled boxes on the photographs."""
    groups: int
    """Groups of photographs that show one car."""
    verdict: str
    """Whether the floors are met, as a sentence with both numbers."""
    report_key: str
    """Key of the HTML page in the lake."""
    data_version: str
    pictures: dict[str, bytes]
    """PNG bytes by what they show."""


@dataclass(frozen=True)
class CandidateScores:
    """The candidate's scores on the golden set, and what is computed from them."""

    dataset: str
    """Version of the dataset whose labels are the truth."""
    golden: Golden | None
    """The golden set; None before the first, when the dataset's test split is used."""
    on_golden: SplitEvaluation
    """Photographs, truths, detections and every figure about them."""
    interval: Interval
    """95 % interval of mAP@.5."""
    mistakes: Mistakes
    slices: list[SliceScore]
    """Scores by light."""

    @property
    def golden_version(self) -> int:
        """Version of the golden set; 0 before the first."""
        return self.golden.version if self.golden else 0

    @property
    def groups(self) -> list[str]:
        """The group of each photograph."""
        return [row["group_id"] for row in self.on_golden.scored.rows]

    @property
    def figures(self) -> dict[str, float]:
        """Figures by name; one that cannot be computed is left out."""
        figures = figures_of(self.on_golden.evaluation)
        if self.interval.low is not None and self.interval.high is not None:
            figures |= {"map50_low": self.interval.low, "map50_high": self.interval.high}
        return figures


def verdict(figures: Mapping[str, float], policy: Policy) -> tuple[bool, str]:
    """Whether policy.evaluation's floor is met, and a sentence with both numbers.

    Args:
        figures: figures by name. Without `map50`, which needs a labelled box, the floor is not met.
        policy: its `evaluation.floor_map50` is the floor.
    """
    floor, value = policy.evaluation.floor_map50, figures.get("map50")
    if value is None:
        return False, f"mAP@.5 cannot be computed without a labelled box: the floor of {floor:.3f} is not met"
    met = value >= floor
    return met, f"mAP@.5 {value:.3f} {'meets' if met else 'is under'} the floor of {floor:.3f}"


def read_figures(lake: Lake, candidate: Candidate) -> dict[str, float]:
    """The figures of the candidate's newest evaluation, by name; one that cannot be computed is left out.

    Raises:
        NotReady: the newest evaluation is of another candidate, or there is none.
    """
    newest = EvaluationPointer.read(lake)
    if newest is None or (newest.digest, newest.trained_on) != (candidate.digest, candidate.dataset):
        raise NotReady(f"candidate {candidate.digest} has no evaluation: materialize `evaluation` first.")
    if newest.evaluation_id is None:  # written before the table `evaluations`
        stored = json.loads(lake.get(str(newest.figures_key)))
        return {name: float(value) for name, value in stored["figures"].items()}
    record = read_evaluation(lake, newest.digest, newest.evaluation_id)
    if record is None:
        raise NotReady(f"{lake.url} lost evaluation {newest.evaluation_id}: materialize `evaluation` again.")
    return record.figures


@dataclass(frozen=True)
class Basis:
    """What a candidate is scored on and compared with, chosen once for an evaluation."""

    digests: tuple[str, ...]
    """The models that are scored: the candidate and, where there is another one in production, that."""
    champion: Event | None
    """By which production serves another model; None where it serves none, or the candidate."""
    dataset: str
    """Version of the dataset whose labels are the truth."""
    golden: Golden | None
    """The golden set; None before the first, when the dataset's test split is used."""


def basis_now(lake: Lake, candidate: Candidate) -> Basis:
    """The newest dataset, the current golden set and the model in production, as of now."""
    event = desired(lake, "production")
    champion = event if event is not None and event.digest not in (None, candidate.digest) else None
    digests = (candidate.digest, *([champion.digest] if champion is not None and champion.digest else []))
    return Basis(digests, champion, latest(lake) or candidate.dataset, golden.current(lake))


def evaluate_candidate(
    lake: Lake, candidate: Candidate, policy: Policy, run_id: str | None = None, basis: Basis | None = None
) -> CandidateEvaluation:
    """Scores the candidate, and the model in production beside it, on the golden set as the newest dataset labels it.

    Args:
        run_id: the Dagster run that asks, for the table `evaluations`.
        basis: what the models have predicted already; None: as of now.

    Raises:
        NothingToScore: there are no test photographs, or the dataset is older than the golden set.
    """
    basis = basis or basis_now(lake, candidate)
    scores = score_candidate(lake, candidate, policy, basis)
    comparison = against_production(lake, scores.on_golden, basis, policy)
    page = report_input(lake, candidate, scores, comparison, policy)
    record = store_evaluation(lake, candidate, scores, comparison, page, policy, run_id)
    return CandidateEvaluation(
        figures=scores.figures,
        per_class=per_class_rows(scores.on_golden),
        by_cause=by_cause_rows(scores.on_golden),
        dataset=scores.dataset,
        golden=scores.golden_version,
        comparison=comparison,
        photographs=record.photographs,
        boxes=record.boxes,
        groups=len(set(scores.groups)),
        verdict=page.verdict,
        report_key=record.report_key,
        data_version=f"{candidate.digest}:{scores.dataset}:golden{scores.golden_version}",
        pictures=pictures(page),
    )


def score_candidate(lake: Lake, candidate: Candidate, policy: Policy, basis: Basis) -> CandidateScores:
    """The candidate on the golden set, with the labels of the dataset.

    Raises:
        NothingToScore: there are no test photographs, or the dataset is older than the golden set.
    """
    on_golden = evaluate_on_golden(lake, candidate.digest, basis.dataset, policy, of=basis.golden)
    result, scored = on_golden.evaluation, on_golden.scored
    n_classes, iou, most = len(result.class_names), result.iou, result.max_detections
    groups = [row["group_id"] for row in scored.rows]
    return CandidateScores(
        dataset=basis.dataset,
        golden=basis.golden,
        on_golden=on_golden,
        interval=bootstrap_map50(scored.truths, scored.detections, n_classes, groups, iou=iou, max_detections=most),
        mistakes=ranked_mistakes(
            scored.truths,
            scored.detections,
            n_classes,
            threshold=result.threshold,
            limit=MISTAKES_SHOWN,
            iou=iou,
            max_detections=most,
        ),
        slices=sliced(on_golden, lights(lake, scored.rows)),
    )


def against_production(lake: Lake, candidate: SplitEvaluation, basis: Basis, policy: Policy) -> Comparison | None:
    """The candidate's scores beside those of the model in production, on the same photographs.

    Args:
        candidate: the candidate's scores.
        basis: on which it was scored.

    Returns:
        None where production serves no model, or the candidate itself.
    """
    event = basis.champion
    if event is None or event.digest is None:
        return None
    champion = evaluate_on_golden(lake, event.digest, basis.dataset, policy, of=basis.golden)
    return Comparison(
        champion=event.digest,
        version=event.version,
        threshold=champion.card.threshold,
        figures=figures_of(champion.evaluation),
        rows=compare(champion, candidate, lights(lake, candidate.scored.rows)),
    )


def report_input(
    lake: Lake, candidate: Candidate, scores: CandidateScores, comparison: Comparison | None, policy: Policy
) -> EvaluationReportInput:
    """What the report shows; the photographs with the worst mistakes are decoded for it."""
    scored, mistakes = scores.on_golden.scored, scores.mistakes
    floor_met, sentence = verdict(scores.figures, policy)
    with_mistakes = sorted({m.image for m in [*mistakes.misses, *mistakes.false_alarms]})
    return EvaluationReportInput(
        evaluation=scores.on_golden.evaluation,
        interval=scores.interval,
        slices=scores.slices,
        mistakes=mistakes,
        passed=floor_met,
        verdict=sentence,
        truths=scored.truths,
        detections=scored.detections,
        history=read_result(lake, candidate.digest)["history"],
        made_at=datetime.now(UTC),
        images={i: decoded(lake, scored.rows[i], policy) for i in with_mistakes},
        threshold_from=scores.on_golden.card.threshold_from,
        evaluated_on=_photographs_of(scores.golden, scores.dataset),
        comparison=comparison,
        no_comparison=_no_comparison(lake, candidate),
        facts=_facts(candidate, scores.golden, scores.dataset),
    )


def store_evaluation(
    lake: Lake,
    candidate: Candidate,
    scores: CandidateScores,
    comparison: Comparison | None,
    page: EvaluationReportInput,
    policy: Policy,
    run_id: str | None,
) -> EvaluationRecord:
    """Writes the report, its JSON, the row of `evaluations` and, last, the pointer that read_figures follows.

    Returns:
        The row that stands: an earlier one where this evaluation gave the same once more.
    """
    result, version = scores.on_golden.evaluation, scores.golden_version
    base = f"{REPORTS}/{candidate.digest}-{scores.dataset}-golden{version}"
    groups = len(set(scores.groups))
    summary = ReportSummary(
        title=f"Evaluation of {candidate.digest}",
        at=page.made_at,
        summary=_summary(page.verdict, result.n_images, version, comparison),
        figures=dict(scores.figures),
    )
    details = {
        "candidate": candidate.model_dump(mode="json"),
        "dataset": scores.dataset,
        "golden": version,
        "photographs": result.n_images,
        "boxes": result.n_boxes,
        "groups": groups,
        "verdict": page.verdict,
        "evaluation": result.model_dump(mode="json"),
        "slices": [s.model_dump(mode="json") for s in scores.slices],
        "comparison": comparison.model_dump(mode="json") if comparison else None,
    }
    publish(lake, base, render_report(page), summary, details)
    record = record_evaluation(
        lake,
        EvaluationRecord(
            evaluation_id=evaluation_id(candidate.digest, scores.dataset, version, page.made_at),
            at=page.made_at,
            digest=candidate.digest,
            trained_on=candidate.dataset,
            dataset=scores.dataset,
            golden=version,
            policy_digest=policy.digest(),
            photographs=result.n_images,
            boxes=result.n_boxes,
            groups=groups,
            tp=result.tp,
            fp=result.fp,
            fn=result.fn,
            **scores.figures,
            floor_met=page.passed,
            verdict=page.verdict,
            champion=comparison.champion if comparison else None,
            champion_map50=comparison.figures.get("map50") if comparison else None,
            classes=class_figures(result.model_dump(include={"per_class"})["per_class"]),
            false_alarm_causes=tuple(CauseFigures(**one.model_dump()) for one in result.false_alarm_causes),
            report_key=f"{base}.html",
            dagster_run_id=run_id,
        ),
    )
    EvaluationPointer(digest=candidate.digest, trained_on=candidate.dataset, evaluation_id=record.evaluation_id).write(
        lake
    )
    return record


def _no_comparison(lake: Lake, candidate: Candidate) -> str:
    event = desired(lake, "production")
    if event is not None and event.digest == candidate.digest:
        return "This is the model in production."
    return "Production serves no model yet, so there is none to compare with."


def _photographs_of(golden_set: Golden | None, dataset: str) -> str:
    return f"golden set {golden_set.version}" if golden_set else f"the test split of dataset {dataset}"


def _facts(candidate: Candidate, golden_set: Golden | None, dataset: str) -> dict[str, str]:
    recipe = candidate.recipe
    start = f"champion {recipe.champion}" if recipe.init == "champion" else recipe.init
    facts = {
        "Model": candidate.digest,
        "Trained on": f"dataset {candidate.dataset}",
        "Evaluated on": f"{_photographs_of(golden_set, dataset)}, labels of dataset {dataset}",
        "Detector": f"{recipe.detector} at {recipe.image_size} px, from {start}",
        "Recipe": recipe.model_dump_json(),
    }
    if golden_set and golden_set.added_by:
        facts["Golden set"] = f"version {golden_set.version}, extended by {golden_set.added_by}: {golden_set.reason}"
    return facts


def _summary(text: str, photographs: int, version: int, comparison: Comparison | None) -> str:
    champion = f"; production: {figure_text(comparison.figures.get('map50'))}" if comparison else ""
    return f"{text} on {photographs} photographs of golden set {version}{champion}."
