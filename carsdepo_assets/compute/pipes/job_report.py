"""What a job on AWS must have left to count as a success, for every client alike."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
from dagster import PipesSession


class JobFailed(dg.Failure):
    """A job ended without being a success; `description` says why and what to do."""


def the_materialization(
    session: PipesSession, job: str, trouble: Sequence[str] = (), missing: Sequence[str] = (), last_lines: str = ""
) -> dg.MaterializeResult:
    """The one materialization that a job reported.

    Args:
        session: whose messages have all been read.
        job: how the job is called in messages, such as "SageMaker training job carsdepo-train-1".
        trouble: what AWS says against the job: its status, exit code or failure reason; empty: it ended well.
        missing: keys of messages that never came: named where something else is wrong too.
        last_lines: of the job's output, where they are at hand.

    Raises:
        JobFailed: there is trouble, the channel was not closed, or not exactly one materialization came.
    """
    reports = [r for r in session.get_reported_results() if isinstance(r, dg.MaterializeResult)]
    problems = list(trouble)
    if not session.message_handler.received_closed_message:
        problems.append("it did not close its channel")
    if len(reports) != 1:
        problems.append("it reported no materialization" if not reports else f"it reported {len(reports)} results")
    if problems and missing:  # lost lines of the log alone are no failure
        problems.append(f"{len(missing)} chunks of its messages were lost, first {missing[0]}")
    if problems:
        text = f"{job}: {'; '.join(problems)}."
        error = error_of(last_lines)
        shown = f"{text} {error}\nIts last lines:\n{last_lines}" if error else f"{text} Its last lines:\n{last_lines}"
        raise JobFailed(
            description=shown if last_lines else text,
            metadata={"last_lines": dg.MetadataValue.md(f"```\n{last_lines}\n```")} if last_lines else {},
        )
    return reports[0]


def error_of(output: str) -> str:
    """The error with which the last trace of an output ends, with all lines of its message; empty: there is no trace.

    It says what to do, and a description that is cut somewhere should lose the trace and not the remedy.
    """
    _, mark, trace = output.rpartition("Traceback (most recent call last):\n")
    lines = trace.splitlines() if mark else []
    first = next((n for n, line in enumerate(lines) if line and not line[0].isspace()), len(lines))
    return "\n".join(lines[first:])
