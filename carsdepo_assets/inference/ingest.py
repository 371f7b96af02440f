"""Closed capture segments become rows of `inferences`: one segment is one unit, committed once.

Lines that are no answers go to quarantine first, then the rows in one commit: killed anywhere, the next run finishes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from carsdepo_assets.inference.records import MalformedLine, row
from carsdepo_assets.inference.segments import CaptureSegment, closed
from carsdepo_assets.lake.lake import Lake

STAGES = ("production", "staging")
_SUMMARIZED = (
    "prediction_id", "at", "stage", "digest", "version", "runtime", "file_name", "source", "decision", "n_boxes",
    "max_score", "milliseconds", "segment",
)  # fmt: skip
_SHOWN = 500  # characters of a malformed line in quarantine; the segment keeps the whole


@dataclass(frozen=True)
class SegmentIngestResult:
    """What one call did: segments and answers committed, lines put into quarantine."""

    segments: int
    answers: int
    quarantined: int


def waiting(lake: Lake, days: Sequence[date] | None = None) -> list[CaptureSegment]:
    """Closed segments that are not in `inferences` yet, in order of key; of these UTC days, or of all."""
    found = [s for stage in STAGES for day in (days or (None,)) for s in closed(lake, stage, day)]
    if not found:
        return []
    known = set(lake.read("inferences", columns=["segment"])["segment"].unique().to_pylist())
    # A segment of malformed lines alone left no row, only its commit.
    return [s for s in found if s.key not in known and not lake.committed("inferences", s.key)]


def ingest(lake: Lake, segments: Sequence[CaptureSegment], now: datetime | None = None) -> SegmentIngestResult:
    """Commits each segment's answers. Safe to repeat, and beside another process that does the same."""
    at = now or datetime.now(UTC)
    total: Counter[str] = Counter()
    for segment in segments:
        rows, refused = read_segment(segment.key, lake.get(segment.key), at)
        lake.append("quarantine", refused, segment.key)
        if lake.append("inferences", rows, segment.key):
            total.update(segments=1, answers=len(rows), quarantined=len(refused))
    return SegmentIngestResult(total["segments"], total["answers"], total["quarantined"])


def read_segment(key: str, data: bytes, at: datetime) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(rows of INFERENCES, rows of QUARANTINE) of a segment's lines. at: when it was read."""
    rows: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(row(line, key))
        except MalformedLine as error:
            refused.append(
                {
                    "batch_id": key,
                    "key": key,
                    "kind": "capture",
                    "reason": "malformed",
                    "detail": f"{error}: {line[:_SHOWN].decode(errors='replace')}",
                    "line": number,
                    "at": at,
                }
            )
    return rows, refused


@dataclass(frozen=True)
class Day:
    """The answers of one UTC day as people want to see them. Latencies in milliseconds; None without answers."""

    answers: int
    decisions: dict[str, int]
    stages: dict[str, int]
    models: list[dict[str, Any]]  # digest, version, runtime, stage, answers
    p50: float | None
    p95: float | None
    p99: float | None
    latest: list[dict[str, Any]]  # the newest answers
    segments: int


def summary(lake: Lake, day: date, shown: int = 10) -> Day:
    """Figures over all answers of the day that are ingested."""
    found = lake.read("inferences", columns=_SUMMARIZED)
    answers = lake.query(
        f'SELECT * FROM found WHERE CAST("at" AS DATE) = DATE \'{day.isoformat()}\' ORDER BY "at" DESC, prediction_id',
        found=found,
    )
    counted = lake.query(
        "SELECT digest, version, runtime, stage, count(*) AS answers FROM answers GROUP BY ALL ORDER BY answers DESC",
        answers=answers,
    )
    quantiles = (
        lake.query(
            "SELECT quantile_cont(milliseconds, [0.5, 0.95, 0.99]) AS q FROM answers", answers=answers
        ).to_pylist()[0]["q"]
        or [None] * 3
    )
    return Day(
        answers=answers.num_rows,
        decisions=dict(Counter(answers["decision"].to_pylist())),
        stages=dict(Counter(answers["stage"].to_pylist())),
        models=counted.to_pylist(),
        p50=quantiles[0],
        p95=quantiles[1],
        p99=quantiles[2],
        latest=answers.slice(0, shown).drop_columns(["segment"]).to_pylist(),
        segments=len(set(answers["segment"].to_pylist())),
    )
