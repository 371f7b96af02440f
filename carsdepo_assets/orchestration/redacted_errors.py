"""Removes secrets from the errors that Dagster stores and shows."""

from __future__ import annotations

import traceback
from typing import Any

from dagster_shared.error import SerializableErrorInfo

from carsdepo_assets import redaction


def install() -> None:
    """Removes secrets from everything that this process logs, and from every error that Dagster records of it.

    Dagster turns each exception (of steps, sensors, resources) into what it stores in one function, and offers no hook
    there: DAGSTER_REDACT_USER_CODE_ERRORS hides the whole message, with what is to be done.
    """
    redaction.install()
    if SerializableErrorInfo.from_traceback.__func__ is not _from_traceback:  # type: ignore[attr-defined]
        SerializableErrorInfo.from_traceback = classmethod(_from_traceback)  # type: ignore[method-assign, assignment]


_original: Any = SerializableErrorInfo.from_traceback.__func__  # type: ignore[attr-defined]


def _from_traceback(cls: type[SerializableErrorInfo], tb: traceback.TracebackException) -> SerializableErrorInfo:
    error: SerializableErrorInfo = _original(cls, tb)  # it calls cls.from_traceback, thus this, for the errors behind
    return error._replace(message=redaction.redact(error.message), stack=[redaction.redact(s) for s in error.stack])
