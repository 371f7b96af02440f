"""registry/aliases.py: MLflow's aliases follow the ledger; they are repaired where they differ and left alone else."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import aliases, ledger, models
from carsdepo_assets.registry.tracking import Tracking


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(str(tmp_path / "lake"))


def register(tracking: Tracking, digest: str) -> int:
    return models.register(
        tracking,
        digest=digest,
        lake_url="/lake",
        dataset_version="d1",
        detector="yolov8n",
        figures={"map50": 0.5},
        run_id=None,
    ).version


def serve(lake: Lake, stage: ledger.Stage, action: ledger.Action, digest: str, version: int | None = None) -> None:
    ledger.record(lake, stage, action, digest=digest, version=version, actor="ann@desk", reason="test")


def placed(tracking: Tracking) -> dict[int, tuple[str, ...]]:
    return {v.version: v.aliases for v in models.versions(tracking)}


def test_nothing_to_do(tracking: Tracking, lake: Lake) -> None:
    assert aliases.project(tracking, lake) == []
    register(tracking, "aaaa")
    assert aliases.project(tracking, lake) == []
    assert placed(tracking) == {1: ("candidate",)}


def test_the_ledger_is_projected_once(tracking: Tracking, lake: Lake) -> None:
    register(tracking, "aaaa")
    register(tracking, "bbbb")
    serve(lake, "staging", "deploy", "bbbb", 2)
    serve(lake, "production", "promote", "aaaa", 1)
    repair = aliases.project(tracking, lake)
    assert [(r.alias, r.was, r.now, r.repaired) for r in repair] == [
        ("staging", None, 2, True),
        ("production", None, 1, True),
    ]
    assert placed(tracking) == {1: ("production",), 2: ("candidate", "staging")}
    assert aliases.project(tracking, lake) == []
    serve(lake, "production", "promote", "bbbb", 2)
    serve(lake, "production", "rollback", "aaaa", 1)
    assert aliases.project(tracking, lake) == []  # back where the alias is


def test_what_someone_set_by_hand_is_put_right(tracking: Tracking, lake: Lake) -> None:
    register(tracking, "aaaa")
    register(tracking, "bbbb")
    tracking.client.set_registered_model_alias(models.MODEL_NAME, "staging", "1")
    tracking.client.set_registered_model_alias(models.MODEL_NAME, "production", "2")
    serve(lake, "production", "promote", "aaaa")  # an event that names no version is found by its digest
    staging, production = aliases.project(tracking, lake)
    assert (staging.was, staging.now) == (1, None)
    assert (production.was, production.now) == (2, 1)
    assert "alias production was on version 2, the ledger says version 1" in production.message
    assert placed(tracking) == {1: ("production",), 2: ("candidate",)}


def test_a_model_that_the_registry_lacks_is_said_and_nothing_is_moved(tracking: Tracking, lake: Lake) -> None:
    register(tracking, "aaaa")
    tracking.client.set_registered_model_alias(models.MODEL_NAME, "production", "1")
    serve(lake, "production", "promote", "cccc")
    [repair] = aliases.project(tracking, lake)
    assert not repair.repaired
    assert "cccc" in repair.message
    assert placed(tracking)[1] == ("candidate", "production")


def test_an_alias_on_a_version_made_by_hand_is_put_right_and_the_version_is_said(
    tracking: Tracking, lake: Lake
) -> None:
    register(tracking, "aaaa")
    made = tracking.client.create_model_version(models.MODEL_NAME, "somewhere", await_creation_for=0)
    tracking.client.set_registered_model_alias(models.MODEL_NAME, "production", made.version)
    serve(lake, "production", "promote", "aaaa", 1)
    [repair] = aliases.project(tracking, lake)
    assert "alias production was on version 2, the ledger says version 1" in repair.message
    assert placed(tracking) == {1: ("candidate", "production")}  # every other reader goes on, too
    assert list(aliases.found_by_hand(models.read_registry(tracking))) == ["foreign:2"]
    assert aliases.project(tracking, lake) == []


@pytest.mark.parametrize("tag", ["digest", "figures", "lake_uri"])
def test_a_version_that_lost_a_tag_is_one_that_the_registry_lacks(tracking: Tracking, lake: Lake, tag: str) -> None:
    register(tracking, "aaaa")
    serve(lake, "production", "promote", "aaaa", 1)
    aliases.project(tracking, lake)
    tracking.client.delete_model_version_tag(models.MODEL_NAME, "1", tag)
    [repair] = aliases.project(tracking, lake)
    assert not repair.repaired
    assert "which MLflow's registry does not know" in repair.message
    assert list(aliases.found_by_hand(models.read_registry(tracking))) == ["foreign:1"]


def test_a_version_that_was_deleted_is_said(tracking: Tracking, lake: Lake) -> None:
    register(tracking, "aaaa")
    register(tracking, "bbbb")
    serve(lake, "production", "promote", "aaaa", 1)
    aliases.project(tracking, lake)
    tracking.client.delete_model_version(models.MODEL_NAME, "1")
    [repair] = aliases.project(tracking, lake)
    assert not repair.repaired
    assert "model aaaa (event 1, ann@desk), which MLflow's registry does not know" in repair.message


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_old_stage_set_by_hand_is_said_and_decides_nothing(tracking: Tracking, lake: Lake) -> None:
    for digest in ("aaaa", "bbbb"):
        register(tracking, digest)
    serve(lake, "production", "promote", "aaaa", 1)
    aliases.project(tracking, lake)
    assert aliases.found_by_hand(models.read_registry(tracking)) == {}
    tracking.client.transition_model_version_stage(models.MODEL_NAME, "2", "Production")
    assert list(aliases.found_by_hand(models.read_registry(tracking))) == ["stage:2:Production"]
    assert aliases.project(tracking, lake) == []
    assert placed(tracking)[1] == ("production",)
