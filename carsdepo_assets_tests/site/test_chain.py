"""demo/chain.py: the fields of the chain are those that a lake of this machine has, and what differs is named."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from carsdepo_assets.demo.chain import FIELDS, difference, fields_of
from carsdepo_assets.site import tracing
from carsdepo_assets_tests.site import example_lake

pytestmark = pytest.mark.slow


@pytest.fixture
def trace(filled: example_lake.Filled) -> dict[str, Any]:
    return tracing.production_lineage(filled.lake, filled.tracking)


def test_a_lake_of_this_machine_has_these_fields(trace: dict[str, Any]) -> None:
    assert difference(trace) is None
    assert trace["model"]["gates"]
    assert trace["model"]["events"]


def test_entries_of_a_list_count_together() -> None:
    assert set(fields_of({"a": [{"b": 1}, {"c": {"d": None}}], "e": []})) == {"a", "a[].b", "a[].c", "a[].c.d", "e"}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (("model", "dataset", "content_digest"), "it lacks model.dataset.content_digest"),
        (("event", "actor"), "it lacks event.actor"),
        (("history", 0, "reason"), "it lacks history[].reason"),
    ],
)
def test_a_field_that_is_missing_is_named(trace: dict[str, Any], path: tuple[Any, ...], says: str) -> None:
    changed = copy.deepcopy(trace)
    inner: Any = changed
    for name in path[:-1]:
        inner = inner[name]
    for entry in inner if isinstance(inner, list) else [inner]:
        del entry[path[-1]]
    if path[0] == "history":  # a name counts as there where one entry has it
        for entry in changed["history"]:
            entry.pop(path[-1], None)
    assert says in (difference(changed) or "")


def test_a_field_too_many_is_named_and_data_are_no_fields(trace: dict[str, Any]) -> None:
    changed = copy.deepcopy(trace)
    changed["model"]["environment"]["another"] = "1"
    changed["model"]["dataset"]["splits"]["another"] = 1
    assert difference(changed) is None
    changed["model"]["weather"] = "rain"
    assert "it has model.weather besides" in (difference(changed) or "")


def test_an_empty_list_hides_the_names_of_its_entries_alone(trace: dict[str, Any]) -> None:
    changed = copy.deepcopy(trace)
    changed["model"]["gates"] = []
    assert difference(changed) is None
    del changed["model"]["gates"]
    assert "model.gates" in (difference(changed) or "")
    assert any(name.startswith("model.gates[].") for name in FIELDS)
