"""Checks rows against rules by Great Expectations, for every step that validates its input."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def expectations() -> Any:
    """Returns Great Expectations' module of expectations. Its reports of usage to its makers are switched off."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"  # read at import
    from great_expectations import expectations as module

    return module


def broken_rules(
    name: str, frame: pd.DataFrame, checks: Sequence[tuple[str, Any]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Checks rows against rules.

    Args:
        name: of the table, for messages.
        frame: the rows, indexed from 0.
        checks: for each rule a sentence that says what it demands, and its expectation.

    Yields:
        For each rule that is broken, its position in `checks` and Great Expectations' result, whose
        `unexpected_index_list` holds the positions of the rows that break it.

    Raises:
        RuntimeError: a rule could not be computed; it does not count as met.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    definition = (
        context.data_sources.add_pandas(name).add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    )
    batch = definition.get_batch({"dataframe": frame})
    for position, (demand, expectation) in enumerate(checks):
        result = batch.validate(expectation, result_format="COMPLETE")
        if result.exception_info and result.exception_info.get("raised_exception", True):
            raise RuntimeError(f"{name}: rule {demand!r} could not be checked: {result.exception_info}")
        if not result.success:
            yield position, dict(result.result)
