"""release/promotion.py and commands/decisions.py: `carsdepo approve`, `reject` and `rollback` do what they print."""

from __future__ import annotations

import subprocess
import sys

import pytest

from carsdepo_assets.commands import decisions
from carsdepo_assets.commands.pipeline import Pipeline, PipelineError
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.models import RegistryError
from carsdepo_assets_tests.release.released_lake import World

pytestmark = pytest.mark.slow


@pytest.fixture
def pipeline(world: World) -> Pipeline:
    """The real one, over this world's graph."""
    pipeline = Pipeline.__new__(Pipeline)
    pipeline.settings, pipeline.instance, pipeline.definitions = world.settings, world.instance, world.definitions()
    pipeline.console = "CRITICAL"
    return pipeline


@pytest.mark.slow
def test_approve_promotes_at_once(world: World, pipeline: Pipeline) -> None:
    first, worse = world.model("one", 0.9), world.model("two", 0.4)
    world.promote(first)
    world.promote(worse)
    assert world.production() == first.digest
    message = decisions.approve(pipeline, "latest", "the old one is too slow")
    assert message == f"Version 2 ({worse.digest}) is approved, and production serves it."
    assert world.production() == worse.digest
    approval = ledger.events(world.lake)[-2]
    assert (approval.action, approval.actor, approval.reason) == (
        "approve",
        ledger.person(),
        "the old one is too slow",
    )


def test_approve_before_staging_says_what_is_missing(world: World, pipeline: Pipeline) -> None:
    first = world.model("one", 0.9, validated=False)
    assert "has not passed validation at staging" in decisions.approve(pipeline, first.digest[:8], "soon")
    assert world.production() is None
    (_, body) = world.alerts()[-1]
    assert "has approved it" in body
    assert "To promote it all the same" not in body


def test_the_approval_of_a_bad_model_warns(world: World, pipeline: Pipeline) -> None:
    world.model("one", 0.001, validated=False)
    message = decisions.approve(pipeline, "1", "to see it whole")
    assert "though its mAP@.5 of 0.001 is below the floor of 0.020" in message


def test_a_rejection_names_a_way_back_only_where_there_is_one(world: World, pipeline: Pipeline) -> None:
    world.promote(world.model("one", 0.9))
    message = decisions.reject(pipeline, "1", "false alarms")
    assert "there is no earlier model to go back to" in message
    assert "rollback" not in message


def test_reject_and_rollback(world: World, pipeline: Pipeline) -> None:
    first, second = world.model("one", 0.5), world.model("two", 0.9)
    world.promote(first)
    world.promote(second)
    assert "Production still serves it" in decisions.reject(pipeline, "2", "false alarms")
    event = decisions.enter_rollback(world.settings, "false alarms")
    assert world.production() == first.digest  # before any run
    message = decisions.finish_rollback(pipeline, event)
    assert message == (
        f"Production serves version 1 ({first.digest}) again; {second.digest} is barred until a person approves it."
    )
    assert [e.action for e in ledger.events(world.lake)] == ["promote", "promote", "reject", "rollback"]
    assert "Production still" not in decisions.reject(pipeline, "2", "again")


def test_mistakes_write_nothing(world: World, pipeline: Pipeline) -> None:
    world.model("one", 0.9)
    with pytest.raises(ValueError, match="Say why"):
        decisions.approve(pipeline, "1", "  ")
    with pytest.raises(RegistryError, match="Registered: 1"):
        decisions.reject(pipeline, "7", "no such")
    with pytest.raises(ledger.LedgerError, match="nothing to roll back"):
        decisions.enter_rollback(world.settings, "a test")
    with pytest.raises(ValueError, match="Say why"):
        decisions.enter_rollback(world.settings, " ")
    assert ledger.events(world.lake) == []


def test_a_service_that_is_down_is_named(world: World, pipeline: Pipeline) -> None:
    world.model("one", 0.9)
    world.stages["production"].end()
    with pytest.raises(PipelineError, match="carsdepo serve --stage production"):
        decisions.approve(pipeline, "1", "go")
    assert [e.action for e in ledger.events(world.lake)] == ["approve"]


WITHOUT_DAGSTER = """
import sys
from pathlib import Path
from carsdepo_assets.cli import app
from carsdepo_assets.commands.decisions import enter_rollback
from carsdepo_assets.settings import Settings
enter_rollback(Settings.read(home=Path(sys.argv[1])), "false alarms")
assert not {"dagster", "mlflow", "torch"} & set(sys.modules), "imported before the ledger was written"
"""


def test_a_rollback_is_in_the_ledger_before_anything_slow_is_imported(world: World) -> None:
    first = world.model("one", 0.5)
    world.promote(first)
    world.promote(world.model("two", 0.9))
    subprocess.run([sys.executable, "-c", WITHOUT_DAGSTER, str(world.settings.home)], check=True, timeout=60)
    assert world.production() == first.digest
