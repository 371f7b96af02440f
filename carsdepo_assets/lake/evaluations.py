"""The table `evaluations`: every figure of a model on a golden set, one row for each time that something changed.

Lakes of before the table hold the same figures in the JSON beside each report (reports/evaluation/*.json). They are
read from there until the first evaluation is recorded, which copies them into the table.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.tables import conform

TABLE = "evaluations"
REPORTS = "reports/evaluation"
FIGURES = ("map50", "map75", "map50_95", "precision", "recall", "f1", "threshold", "map50_low", "map50_high")
# What reading a file of another kind, or a damaged one, raises.
_NO_EVALUATION = (LakeError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
_COPIED = "reports of before the table"  # the unit under which the figures of older reports are copied

logger = logging.getLogger(__name__)


def _computed(figure: float | None) -> float | None:
    """The figure, None where it is no number: so some writers say that there was nothing to compute it from."""
    return figure if figure is None or math.isfinite(figure) else None


Figure = Annotated[float | None, AfterValidator(_computed)]


class ClassFigures(BaseModel):
    """The figures of one class of damage. A figure without anything to compute it from is None."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    boxes: int = Field(description="labelled boxes of the class")
    ap50: Figure = None
    ap75: Figure = None
    ap50_95: Figure = None
    precision: Figure = None
    recall: Figure = None
    f1: Figure = None


class CauseFigures(BaseModel):
    """False alarms that lie in hard negatives of one cause, and those that lie in none."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    cause: str | None = Field(None, description="such as reflection; None: no cause is named")
    negatives: int = Field(0, description="labelled hard negatives of the cause")
    false_alarms: int
    share: Figure = Field(None, description="of all false alarms; None where there is none")


class EvaluationRecord(BaseModel):
    """One evaluation of a model. A figure that cannot be computed (no labelled box, no box drawn) is None, never 0."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    evaluation_id: str
    at: datetime
    digest: str = Field(description="of the model")
    trained_on: str | None = Field(None, description="version of the dataset that the model was trained on")
    dataset: str = Field(description="version of the dataset whose labels are the truth")
    golden: int = Field(description="version of the golden set; 0: the test split of the dataset, before the first set")
    policy_digest: str | None = None
    photographs: int
    boxes: int = Field(description="labelled boxes on them")
    groups: int | None = Field(None, description="groups of photographs that show one car")
    tp: int | None = None
    fp: int | None = None
    fn: int | None = None
    map50: Figure = None
    map75: Figure = None
    map50_95: Figure = None
    precision: Figure = Field(None, description="this, recall and F1: at the threshold, at IoU 0.5")
    recall: Figure = None
    f1: Figure = None
    threshold: Figure = Field(None, description="score at and above which a box counts")
    map50_low: Figure = Field(None, description="95 % interval of map50, by bootstrap over groups")
    map50_high: Figure = None
    floor_met: bool | None = Field(None, description="whether policy.evaluation's floor was met")
    verdict: str = Field("", description="the same as a sentence with both numbers")
    champion: str | None = Field(None, description="digest of the model in production that was scored beside it")
    champion_map50: Figure = None
    classes: tuple[ClassFigures, ...] = ()
    false_alarm_causes: tuple[CauseFigures, ...] = Field((), description="empty where no hard negative is labelled")
    report_key: str = Field(description="key of the HTML page in the lake")
    dagster_run_id: str | None = None

    @property
    def figures(self) -> dict[str, float]:
        """The figures that could be computed, by name."""
        return {name: value for name in FIGURES if (value := getattr(self, name)) is not None}

    @property
    def subject(self) -> tuple[str, str, int]:
        """What was evaluated on what: the model's digest, the dataset of the labels, the golden set."""
        return self.digest, self.dataset, self.golden

    def content(self) -> dict[str, Any]:
        """All that a repeated evaluation gives again: everything but when and in which run it was made."""
        return self.model_dump(exclude={"evaluation_id", "at", "dagster_run_id"})


def evaluation_id(digest: str, dataset: str, golden: int, at: datetime) -> str:
    """The name of an evaluation: model, labels, golden set and moment."""
    return f"{digest}-{dataset}-golden{golden}-{at:%Y%m%dT%H%M%S%f}"


def record_evaluation(lake: Lake, record: EvaluationRecord) -> EvaluationRecord:
    """Appends the row, unless the newest row of the same model, labels and golden set says the same already.

    Returns:
        The row that stands: the given one, or the earlier one that says the same.
    """
    if not lake.committed(TABLE, _COPIED):
        lake.append(TABLE, [_row(old) for old in _of_reports(lake) if old.report_key != record.report_key], _COPIED)
    same_subject = [old for old in evaluations(lake, record.digest) if old.subject == record.subject]
    if same_subject and same_subject[-1].content() == record.content():
        return same_subject[-1]
    lake.append(TABLE, [_row(record)], record.evaluation_id)
    return record


def evaluations(lake: Lake, digest: str | None = None) -> list[EvaluationRecord]:
    """All evaluations, or those of one model, oldest first.

    A null stands for a column that the table did not have when the row was written: it reads as the model's default. A
    row that is damaged is left out, with a line in the log.
    """
    if not lake.committed(TABLE, _COPIED):
        records = [r for r in _of_reports(lake) if digest is None or r.digest == digest]
    else:
        rows = lake.read(TABLE)
        if digest is not None:
            rows = rows.filter(pc.equal(rows["digest"], digest))
        records = [record for row in rows.to_pylist() if (record := _stored(row)) is not None]
    return sorted(records, key=lambda r: (r.at, r.evaluation_id))


def newest_evaluation(lake: Lake, digest: str) -> EvaluationRecord | None:
    """The model's last evaluation, on whichever labels and golden set; None before the first."""
    records = evaluations(lake, digest)
    return records[-1] if records else None


def read_evaluation(lake: Lake, digest: str, identity: str) -> EvaluationRecord | None:
    """The model's evaluation of that name; None where there is none."""
    return next((r for r in evaluations(lake, digest) if r.evaluation_id == identity), None)


def from_report(stored: Mapping[str, Any], report_key: str) -> EvaluationRecord:
    """The row that the JSON of an older report stands for.

    Args:
        stored: the JSON's content.
        report_key: key of the page beside it.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: the JSON does not hold what an evaluation needs.
        OverflowError: its time lies beyond what a date can be.
    """
    candidate, result = stored["candidate"], stored["evaluation"]
    at = datetime.fromisoformat(stored["at"])
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    in_utc = at.astimezone(UTC)  # a moment of the year 1 or 9999 may have none; without it rows cannot be sorted
    figures, comparison = stored["figures"], stored.get("comparison") or {}
    values = {name: result.get(name, figures.get(name)) for name in FIGURES}
    digest, dataset, golden = candidate["digest"], stored["dataset"], stored["golden"]
    return EvaluationRecord(
        evaluation_id=evaluation_id(digest, dataset, golden, at),
        at=in_utc,
        digest=digest,
        trained_on=candidate.get("dataset"),
        dataset=dataset,
        golden=golden,
        photographs=result["n_images"],
        boxes=result["n_boxes"],
        groups=stored.get("groups"),
        tp=result.get("tp"),
        fp=result.get("fp"),
        fn=result.get("fn"),
        **values,
        verdict=stored.get("verdict", ""),
        champion=comparison.get("champion"),
        champion_map50=comparison.get("figures", {}).get("map50"),
        classes=class_figures(result.get("per_class", {})),
        false_alarm_causes=tuple(CauseFigures(**row) for row in result.get("false_alarm_causes", ())),
        report_key=report_key,
    )


def class_figures(per_class: Mapping[str, Mapping[str, Any]]) -> tuple[ClassFigures, ...]:
    """The classes of a `scoring.evaluation.Evaluation`, as its JSON gives them, in their order."""
    return tuple(
        ClassFigures(name=name, boxes=score["n_boxes"], **{**score, **score["counts"]})
        for name, score in per_class.items()
    )


def _of_reports(lake: Lake) -> list[EvaluationRecord]:
    """What the JSON beside the reports says. One that cannot be read is left out, with a line in the log."""
    records = []
    for info in lake.list(REPORTS):
        if not info.key.endswith(".json"):
            continue
        try:
            stored = json.loads(lake.get(info.key))
            record = from_report(stored, f"{info.key.removesuffix('.json')}.html")
            conform(TABLE, [_row(record)])  # else one number too large for its column would keep all from being copied
            records.append(record)
        except _NO_EVALUATION as error:
            logger.warning("%s holds no evaluation: %s: %s", info.key, type(error).__name__, error)
    return records


def _stored(row: Mapping[str, Any]) -> EvaluationRecord | None:
    """The evaluation of a row of the table; None, with a line in the log, where the row lacks what every one has."""
    try:
        return EvaluationRecord.model_validate({name: value for name, value in row.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        logger.warning("%s: row %r holds no evaluation: %s", TABLE, row["evaluation_id"], problems)
        return None


def _row(record: EvaluationRecord) -> dict[str, Any]:
    return record.model_dump()
