"""Ingests closed capture segments into the table `inferences`: each segment once, in one commit.

Lines that are no answers go to quarantine first, then the rows follow in one commit, so that the next run finishes
what a kill interrupted.
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
    """What one call has ingested."""

    segments: int
    answers: int
    quarantined: int
    """Lines that were put into quarantine."""


def waiting(lake: Lake, days: Sequence[date] | None = None) -> list[CaptureSegment]:
    """The closed segments that are not in `inferences` yet.

    Args:
        lake: whose segments are listed.
        days: only segments of these days (UTC); None lists all.

    Returns:
        The segments in the order of stage, day and key.
    """
    segments = [s for stage in STAGES for day in (days or (None,)) for s in closed(lake, stage, day)]
    if not segments:
        return []
    rows = lake.read("inferences", ["segment"], [("segment", "in", [s.key for s in segments])])
    ingested = set(rows["segment"].unique().to_pylist())
    # A segment of malformed lines alone left no row, only its commit.
    ingested |= lake.tables.committed_of("inferences", [s.key for s in segments if s.key not in ingested])
    return [s for s in segments if s.key not in ingested]


def ingest(lake: Lake, segments: Sequence[CaptureSegment], now: datetime | None = None) -> SegmentIngestResult:
    """Commits the answers of each segment. It may be repeated, and another process may do the same meanwhile.

    Args:
        lake: where the segments are.
        segments: which ones are ingested.
        now: the time that is stored with rows in quarantine; by default the present.
    """
    at = now or datetime.now(UTC)
    total: Counter[str] = Counter()
    for segment in segments:
        rows, refused = read_segment(segment.key, lake.get(segment.key), at)
        lake.append("quarantine", refused, segment.key)
        if lake.append("inferences", rows, segment.key):
            total.update(segments=1, answers=len(rows), quarantined=len(refused))
    return SegmentIngestResult(total["segments"], total["answers"], total["quarantined"])


def read_segment(key: str, data: bytes, at: datetime) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Reads the lines of a segment.

    Args:
        key: of the segment.
        data: its bytes.
        at: the time that is stored with rows in quarantine.

    Returns:
        Rows of INFERENCES, and rows of QUARANTINE for lines that are no answers.
    """
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
    """Figures about the answers of one day (UTC)."""

    answers: int
    decisions: dict[str, int]
    """The number of answers by decision."""
    stages: dict[str, int]
    """The number of answers by stage."""
    models: list[dict[str, Any]]
    """Digest, version, runtime, stage and number of answers of each model that answered."""
    p50: float | None
    """Median latency in milliseconds; None without answers, as the next two."""
    p95: float | None
    p99: float | None
    latest: list[dict[str, Any]]
    """The newest answers, newest first."""
    segments: int
    """The number of segments that the answers come from."""


def summary(lake: Lake, day: date, shown: int = 10) -> Day:
    """Figures about all ingested answers of a day.

    Args:
        lake: whose table `inferences` is read.
        day: in UTC.
        shown: how many of the newest answers are listed.
    """
    inferences = lake.read("inferences", columns=_SUMMARIZED)
    answers = lake.query(
        f"SELECT * FROM inferences WHERE CAST(\"at\" AS DATE) = DATE '{day.isoformat()}' "
        'ORDER BY "at" DESC, prediction_id',
        inferences=inferences,
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
