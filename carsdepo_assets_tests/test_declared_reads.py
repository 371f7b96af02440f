"""carsdepo_assets_tests/lake_reads.py: what an asset's code reads from the lake is declared, or a feedback read; the
keys of its metadata are snake_case.

The fixture `declared_reads` of conftest.py applies `undeclared` to every test in which an asset runs in this process.
A read is declared when what it reads is written by the asset itself or by an asset upstream of it, at any distance:
such a change reaches the asset along declared edges. A feedback read looks at what comes later in the loop, such as the
model in production, where an edge would make a circle; the allow-list below names them all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.schemas import TABLES
from carsdepo_assets_tests.graph_snapshot import GRAPH
from carsdepo_assets_tests.lake_reads import (
    FEEDBACK_READS,
    TABLE_WRITERS,
    odd_metadata_keys,
    record_lake_reads,
    undeclared,
)


@pytest.fixture(autouse=True)
def declared_reads() -> None:
    """Takes the place of the fixture of conftest.py: the assets of these tests do not keep to the graph."""


def test_every_table_has_a_known_writer_and_every_writer_is_an_asset() -> None:
    assert set(TABLE_WRITERS) == set(TABLES)
    assert {asset for writers in TABLE_WRITERS.values() for asset in writers} <= set(GRAPH)
    assert {asset for reader, read in FEEDBACK_READS.items() for asset in (reader, *read)} <= set(GRAPH)


@pytest.mark.parametrize(
    ("asset", "table", "key", "expected"),
    [
        ("dataset", "annotations", "raw/uploads/a.jpg", []),
        ("dataset", "inferences", "datasets/latest.json", ["dataset reads the table inferences of inference_log"]),
        ("images", "uploads", "golden/1.json", ["images reads the key golden/1.json of dataset"]),
        ("recipe", "deployments", "recipes/a.json", []),  # a feedback read of the allow-list
        ("labels", "quarantine", "unheard/of", ["labels reads the key unheard/of, of which no writer is known"]),
    ],
)
def test_an_undeclared_read_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asset: str, table: str, key: str, expected: list[str]
) -> None:
    lake = Lake.open(tmp_path)

    def code() -> None:
        lake.query(f"select count(*) as n from {table}")
        lake.exists(key)

    with monkeypatch.context() as patch:
        reads = record_lake_reads(patch)
        lake.read("images")  # outside of any asset: not of interest
        metadata = {"feedback_reads": sorted(FEEDBACK_READS.get(asset, ()))}
        assert dg.materialize([dg.asset(name=asset)(code_with(code, metadata))]).success
    assert undeclared(reads) == expected


def code_with(code: Callable[[], None], metadata: dict[str, Any]) -> Callable[[], dg.MaterializeResult]:
    """The code of an asset that leaves the metadata."""

    def asset() -> dg.MaterializeResult:
        code()
        return dg.MaterializeResult(metadata=metadata)

    return asset


def test_metadata_that_does_not_name_the_feedback_reads_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        reads = record_lake_reads(patch)
        for asset, told in (("recipe", []), ("dataset", ["evaluation"])):
            assert dg.materialize([dg.asset(name=asset)(code_with(lambda: None, {"feedback_reads": told}))]).success
    assert undeclared(reads) == ["dataset has feedback_reads ['evaluation']", "recipe has feedback_reads []"]


@pytest.mark.parametrize(
    ("key", "is_odd"),
    [("map50", False), ("map50_95", False), ("dagster/row_count", False), ("mAP", True), ("p-value", True), ("", True)],
)
def test_a_metadata_key_is_snake_case(monkeypatch: pytest.MonkeyPatch, key: str, is_odd: bool) -> None:
    with monkeypatch.context() as patch:
        reads = record_lake_reads(patch)
        assert dg.materialize([dg.asset(name="evaluation")(code_with(lambda: None, {key: 1}))]).success
    assert odd_metadata_keys(reads) == ([f"evaluation has the metadata key {key!r}"] if is_odd else [])
