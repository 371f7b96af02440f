"""Example config for jobs that need a person's reason: the launchpad shows it instead of an error."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator

REASON_EXAMPLE = "Replace this text by your reason. It is kept in the ledger."


def _stated(reason: str) -> str:
    """Raises ValueError for the launchpad's example and for an empty text: others read the reason later."""
    if not reason.strip() or reason.strip() == REASON_EXAMPLE:
        raise ValueError("`reason` is empty or still the launchpad's example: write why, it is kept for others.")
    return reason


Reason = Annotated[str, AfterValidator(_stated)]


def example(op: str, **fields: str) -> dict[str, Any]:
    """The default run config of a job of one op; `Reason` refuses it until a person writes a reason.

    Args:
        op: the op's name.
        fields: further fields of the op's config, with the values that the launchpad shows.
    """
    return {"ops": {op: {"config": {**fields, "reason": REASON_EXAMPLE}}}}
