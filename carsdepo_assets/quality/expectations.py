"""Rows against rules of Great Expectations: the one place that runs it, for every step that validates what came in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def expectations() -> Any:
    """The module of expectations. Imports Great Expectations, with its reports to its makers switched off."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"  # read at import
    from great_expectations import expectations as module

    return module


def broken_rules(
    name: str, frame: pd.DataFrame, rules: Sequence[tuple[str, Any]]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(position in `rules`, its result) of each rule that the rows break; rules: (what it says, expectation).

    frame: indexed from 0; `unexpected_index_list` of a result holds positions in it. Raises RuntimeError where a rule
    could not be computed: not computed is not passed.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    definition = (
        context.data_sources.add_pandas(name).add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    )
    batch = definition.get_batch({"dataframe": frame})
    for position, (says, expectation) in enumerate(rules):
        result = batch.validate(expectation, result_format="COMPLETE")
        if result.exception_info and result.exception_info.get("raised_exception", True):
            raise RuntimeError(f"{name}: rule {says!r} could not be checked: {result.exception_info}")
        if not result.success:
            yield position, dict(result.result)
