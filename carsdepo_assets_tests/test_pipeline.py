"""commands/pipeline.py: how failures of the jobs and sensors that a command runs are reported."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from typer.testing import CliRunner

from carsdepo_assets.cli import app
from carsdepo_assets.commands.pipeline import Pipeline, PipelineError
from carsdepo_assets.registry.ledger import LedgerError
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.resources import NoService
from carsdepo_assets.settings import Settings

pytestmark = pytest.mark.slow


def test_a_sensor_that_misses_a_service_names_it(tmp_path: Path) -> None:
    @dg.sensor(job_name="none")
    def asks(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        raise NoService("No staging service answers: start it")

    with dg.DagsterInstance.ephemeral() as instance:
        pipeline = Pipeline(Settings.read({}, home=tmp_path), instance)
        pipeline.definitions = dg.Definitions(sensors=[asks], jobs=[dg.GraphDefinition(name="none").to_job()])
        with pytest.raises(PipelineError, match="asks: No staging service answers"):
            pipeline.tick("asks")


def test_a_sensor_asks_for_new_partitions_and_keeps_its_cursor(tmp_path: Path) -> None:
    """As under the daemon: a batch that no run has had is a partition that the tick itself adds."""
    batches = dg.DynamicPartitionsDefinition(name="batch")
    seen: list[str] = []

    @dg.op
    def takes(context) -> None:  # type: ignore[no-untyped-def]  # dagster cannot read the annotation of a local
        seen.append(context.partition_key)

    @dg.job(partitions_def=batches)
    def take() -> None:
        takes()

    @dg.sensor(job=take)
    def closes(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        number = int(context.cursor or 0) + 1
        context.update_cursor(str(number))
        if number > 2:
            return dg.SkipReason("no more")
        batch = f"batch-{number}"
        requests = [dg.RunRequest(run_key=batch, partition_key=batch)]
        return dg.SensorResult(requests, dynamic_partitions_requests=[batches.build_add_request([batch])])

    with Pipeline.open(Settings.read({}, home=tmp_path)) as pipeline:
        pipeline.definitions = dg.Definitions(sensors=[closes], jobs=[take])
        assert [len(pipeline.tick("closes").runs) for _ in range(3)] == [1, 1, 0]
        assert pipeline.tick("closes").skipped == "no more"
        assert (pipeline.cursor("closes"), pipeline.cursor("another")) == ("4", None)
    assert seen == ["batch-1", "batch-2"]


def test_nothing_is_run_while_mlflows_server_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tracking, "absence", lambda own: f"{own.uri} is away")
    settings = Settings.read({"CARSDEPO_MLFLOW": "http://mlflow.invalid:5000"}, home=tmp_path)
    expected = r"No run was started: http://mlflow\.invalid:5000 is away\. `carsdepo doctor` looks at it\."
    with pytest.raises(PipelineError, match=expected), Pipeline.open(settings):
        pass


def test_the_environment_is_the_graphs_only_while_it_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSDEPO_LAKE", "before")
    monkeypatch.delenv("CARSDEPO_HOME", raising=False)
    settings = Settings.read({"CARSDEPO_API_KEY": "k3y"}, home=tmp_path)
    given = settings.variables() | settings.secrets()
    before = {name: os.environ.get(name) for name in given}
    with Pipeline.open(settings):
        assert (os.environ["CARSDEPO_LAKE"], os.environ["CARSDEPO_API_KEY"]) == (settings.lake, "k3y")
    assert {name: os.environ.get(name) for name in given} == before
    with pytest.raises(ZeroDivisionError), Pipeline.open(settings):
        raise ZeroDivisionError
    assert {name: os.environ.get(name) for name in given} == before


@pytest.mark.parametrize(
    ("error", "message", "traced"),
    [(LedgerError("approve one first"), "fails failed: approve one first", False), (ZeroDivisionError(), "", True)],
)
def test_our_own_errors_are_a_line_and_others_have_their_trace(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], error: Exception, message: str, traced: bool
) -> None:
    @dg.op
    def fails() -> None:
        raise error

    @dg.job
    def broken() -> None:
        fails()

    with dg.DagsterInstance.ephemeral() as instance:
        pipeline = Pipeline(Settings.read({}, home=tmp_path), instance)
        pipeline.definitions = dg.Definitions(jobs=[broken])
        with pytest.raises(PipelineError) as caught:
            pipeline.run("broken")
    assert message in str(caught.value)
    assert ("raise error" in str(caught.value)) is traced
    assert "Stack Trace" not in capfd.readouterr().err


def test_a_person_waits_for_no_import(tmp_path: Path) -> None:
    """`approve`, `reject`, `rollback` and `golden extend` open the home although a long command is at work on it."""
    settings = Settings.read({}, home=tmp_path)
    with Pipeline.open(settings):
        with pytest.raises(PipelineError, match="Another carsdepo command"), Pipeline.open(settings):
            pytest.fail("two commands that must be alone were let in")
        for call in (["rollback", "--stage", "production"], ["approve", "1"], ["reject", "1"], ["golden", "extend"]):
            result = CliRunner().invoke(app, [*call, "--reason", "a test", "--home", str(tmp_path)])
            assert result.exit_code == 1, result.output
            assert "Another carsdepo command" not in result.stderr
            assert "nothing to roll back" in result.stderr or "No " in result.stderr or "no " in result.stderr


def test_an_interruption_is_a_line(tmp_path: Path) -> None:
    @dg.op
    def waits() -> None:
        raise DagsterExecutionInterruptedError

    @dg.job
    def interrupted() -> None:
        waits()

    with dg.DagsterInstance.ephemeral() as instance:
        pipeline = Pipeline(Settings.read({}, home=tmp_path), instance)
        pipeline.definitions = dg.Definitions(jobs=[interrupted])
        with pytest.raises(PipelineError) as caught:
            pipeline.run("interrupted")
    assert "interrupted in step waits" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_decision_leaves_the_run_alone_that_another_command_is_about_to_start(tmp_path: Path) -> None:
    """It was reported as dead between its record and its first event."""
    settings = Settings.read({}, home=tmp_path)
    with Pipeline.open(settings) as first:
        run = first.instance.create_run_for_job(first.definitions.resolve_job_def("train"))
        with Pipeline.open(settings, alone=False):
            assert first.instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.NOT_STARTED
    with Pipeline.open(settings) as next_command:  # no other can be at work now: it was killed
        assert next_command.instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE
