"""How a sensor reports a tick that did its work by itself and starts no run."""

from __future__ import annotations

import dagster as dg


def work_was_done(context: dg.SensorEvaluationContext, message: str, cursor: str | None = None) -> dg.SensorResult:
    """The result of a tick that changed something and starts no run.

    Dagster 1.13 has one place for the message of such a tick, which it names skip reason; without a message it reports
    "an empty result". The message therefore begins with "Done", and it stands in the tick's log too. A `SkipReason` of
    our sensors means that there was nothing new.

    Args:
        context: the tick's.
        message: what was done, for a person.
        cursor: the sensor's new cursor; None keeps the old one.
    """
    done_message = f"Done, without a run: {message}"
    context.log.info(done_message)
    return dg.SensorResult(skip_reason=done_message, cursor=cursor)
