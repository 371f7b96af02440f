"""Ingests closed capture segments into the table `inferences`: each segment once, in one commit.

Lines that are no answers go to quarantine first, then the rows follow in one commit, so that the next run finishes
what a kill interrupted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from carsdepo_assets.inference.delivered_capture import DeliveredLine, delivered_line, not_ingested
from carsdepo_assets.inference.records import MalformedLine, row
from carsdepo_assets.inference.segments import DELIVERED, CaptureSegment, closed
from carsdepo_assets.lake.lake import Lake

STAGES = ("production", "staging", DELIVERED)
_SUMMARIZED = (
    "prediction_id", "at", "stage", "digest", "version", "runtime", "file_name", "source", "decision", "n_boxes",
    "max_score", "milliseconds", "segment",
)  # fmt: skip
_Read = TypeVar("_Read")
_SHOWN = 500  # characters of a malformed line in quarantine; the segment keeps the whole


@dataclass(frozen=True)
class SegmentIngestResult:
    """What one call has ingested."""

    segments: int
    answers: int
    quarantined: int
    """Lines that were put into quarantine."""


def waiting(lake: Lake, days: Sequence[date] | None = None) -> list[CaptureSegment]:
    """The closed segments, and files of SageMaker's data capture, that are not in `inferences` yet.

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
        if segment.stage == DELIVERED:
            lines, refused = read_delivered(segment.key, lake.get(segment.key), at)
            rows = [row for line in lines for row in line.rows]
            fresh = not_ingested(lake, rows)
            rows = [r for r in rows if r["prediction_id"] in fresh]
            for line in lines:
                line.keep_photographs(lake, fresh)
        else:
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
    rows, refused = _read_lines(key, data, at, lambda line: row(line, key))
    return rows, refused


def read_delivered(key: str, data: bytes, at: datetime) -> tuple[list[DeliveredLine], list[dict[str, Any]]]:
    """Reads the lines of a file that SageMaker's data capture wrote; see read_segment.

    Returns:
        What each line holds, with the answers that an earlier line has left out; rows of QUARANTINE.
    """
    lines, refused = _read_lines(key, data, at, lambda line: delivered_line(line, key))
    seen: set[str] = set()
    for line in lines:
        line.rows[:] = [r for r in line.rows if r["prediction_id"] not in seen]
        seen |= {r["prediction_id"] for r in line.rows}
    return lines, refused


def _read_lines(
    key: str, data: bytes, at: datetime, read: Callable[[bytes], _Read]
) -> tuple[list[_Read], list[dict[str, Any]]]:
    """What each line holds, and rows of QUARANTINE for lines that cannot be read."""
    read_lines: list[_Read] = []
    refused: list[dict[str, Any]] = []
    lines = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            read_lines.append(read(line))
        except MalformedLine as error:
            ends_early = number == len(lines)  # whole lines end with a newline
            refused.append(
                {
                    "batch_id": key,
                    "key": key,
                    "kind": "capture",
                    "reason": "truncated" if ends_early else "malformed",
                    "detail": f"{'the file ends within a line; ' if ends_early else ''}{error}: "
                    f"{line[:_SHOWN].decode(errors='replace')}",
                    "line": number,
                    "at": at,
                }
            )
    return read_lines, refused


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
