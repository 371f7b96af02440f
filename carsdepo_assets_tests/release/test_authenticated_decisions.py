"""orchestration/attribution.py, release/jobs.py: the ledger's actor on a server with a login is who is logged in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from starlette.testclient import TestClient

from carsdepo_assets.commands import decisions
from carsdepo_assets.commands.pipeline import Pipeline
from carsdepo_assets.orchestration.attribution import USER_HEADER, USER_TAG
from carsdepo_assets.registry import ledger
from carsdepo_assets_tests.release.released_lake import World

pytestmark = pytest.mark.slow  # each loads the whole graph into a webserver

LAUNCH = """
mutation($p: ExecutionParams!) {launchRun(executionParams: $p) {__typename
  ... on LaunchRunSuccess {run {runId}} ... on PythonError {message} ... on UnauthorizedError {message}
  ... on RunConfigValidationInvalid {errors {message}}}}
"""
REPEAT = """
mutation($p: ReexecutionParams!) {launchRunReexecution(reexecutionParams: $p) {__typename
  ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}
"""
LOCATION = {"repositoryLocationName": "carsdepo", "repositoryName": "__repository__"}


class Webserver:
    """Dagster's own webserver, asked over HTTP, with the graph and the coordinator of a team's server."""

    def __init__(self, instance: dg.DagsterInstance, *, read_only: bool = False) -> None:
        origin = InProcessCodeLocationOrigin(
            LoadableTargetOrigin(module_name="carsdepo_assets.definitions"), location_name="carsdepo"
        )
        self.workspace = WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin), read_only=read_only)
        self._client = TestClient(create_app_from_workspace_process_context(self.workspace))

    def ask(self, query: str, parameters: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        answer = self._client.post("/graphql", json={"query": query, "variables": {"p": parameters}}, headers=headers)
        assert answer.status_code == 200, answer.text
        (outcome,) = answer.json()["data"].values()
        return dict(outcome)

    def launch(self, job: str, ops: dict[str, Any], user: str | None, tags: dict[str, str] | None = None) -> str:
        """Launches a job as the person whom the proxy names; the run's id."""
        answer = self.ask(LAUNCH, _parameters(job, ops, tags), {} if user is None else {USER_HEADER: user})
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])


def _parameters(job: str, ops: dict[str, Any], tags: dict[str, str] | None = None) -> dict[str, Any]:
    given = [{"key": key, "value": value} for key, value in (tags or {}).items()]
    return {
        "selector": LOCATION | {"jobName": job},
        "runConfigData": {"ops": ops},
        "executionMetadata": {"tags": given},
    }


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    coordinator = {"module": "carsdepo_assets.orchestration.attribution", "class": "AttributedRunCoordinator"}
    folder = tmp_path / "dagster"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder), overrides={"run_coordinator": coordinator}) as attributed:
        yield attributed


@pytest.fixture
def webserver(instance: dg.DagsterInstance, world: World, monkeypatch: pytest.MonkeyPatch) -> Webserver:
    monkeypatch.setenv("CARSDEPO_HOME", str(world.settings.home))
    return Webserver(instance)


def _carried_out(world: World, instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether the queued run succeeds, executed here as Dagster's daemon would have it executed."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.QUEUED
    starts = dg.DagsterEvent(dg.DagsterEventType.PIPELINE_STARTING.value, job_name=run.job_name)
    instance.report_dagster_event(starts, run_id)
    starting = instance.get_run_by_id(run_id)
    assert starting is not None
    job = world.definitions().resolve_job_def(run.job_name)
    return bool(execute_run(InMemoryJob(job), starting, instance).success)


def _decision(version: object, **more: str) -> dict[str, Any]:
    return {"version": str(version), "reason": "seen by eye", **more}


def test_who_is_logged_in_approves_rejects_and_rolls_back(
    webserver: Webserver, world: World, instance: dg.DagsterInstance
) -> None:
    first, second = world.model("first", 0.7), world.model("second", 0.9)
    for version in (first, second):
        names: dict[str, Any] = {"digest": version.digest, "version": version.version}
        ledger.record(world.lake, "production", "promote", **names, actor="auto:x", reason="the gate")
    approval = webserver.launch("approve_model", {"approve": {"config": _decision(first.version)}}, "ann")
    rejection = webserver.launch("reject_model", {"reject": {"config": _decision(first.version)}}, "bob")
    lifted = webserver.launch("approve_model", {"approve": {"config": _decision(first.version)}}, "ann")
    back = webserver.launch("rollback_production", {"rollback": {"config": {"reason": "it fails"}}}, "cem")
    for run_id in (approval, rejection, lifted, back):
        assert _carried_out(world, instance, run_id)
    entered = [(e.action, e.actor, e.dagster_run_id) for e in ledger.events(world.lake)][2:]
    assert entered == [
        ("approve", "ann", approval),
        ("reject", "bob", rejection),
        ("approve", "ann", lifted),
        ("rollback", "cem", back),
    ]


def test_nobody_decides_in_the_name_of_another(
    webserver: Webserver, world: World, instance: dg.DagsterInstance
) -> None:
    version = world.model("first", 0.7).version
    stated = {"approve": {"config": _decision(version, actor="boss")}}
    plain = {"approve": {"config": _decision(version)}}
    by_configuration = webserver.launch("approve_model", stated, "ann")
    by_tag = webserver.launch("approve_model", plain, "ann", tags={USER_TAG: "boss"})
    past_the_proxy = webserver.launch("approve_model", plain, None, tags={USER_TAG: "boss"})
    assert not _carried_out(world, instance, by_configuration)
    assert not _carried_out(world, instance, past_the_proxy)
    assert ledger.events(world.lake) == []
    assert _carried_out(world, instance, by_tag)  # the tag that was sent is replaced
    assert [e.actor for e in ledger.events(world.lake)] == ["ann"]


def test_who_repeats_a_run_decides_and_not_who_asked_first(
    webserver: Webserver, world: World, instance: dg.DagsterInstance
) -> None:
    version = world.model("first", 0.7).version
    ops = {"approve": {"config": _decision(version)}}
    first = webserver.launch("approve_model", ops, "ann")
    assert _carried_out(world, instance, first)
    answer = webserver.ask(REPEAT, {"parentRunId": first, "strategy": "ALL_STEPS"}, {USER_HEADER: "bob"})
    assert answer["__typename"] == "LaunchRunSuccess", answer
    assert _carried_out(world, instance, answer["run"]["runId"])
    assert [e.actor for e in ledger.events(world.lake)] == ["ann", "bob"]


def test_the_daemon_keeps_a_retrys_person_and_takes_no_other(
    webserver: Webserver, world: World, instance: dg.DagsterInstance
) -> None:
    version = world.model("first", 0.7).version
    asked = instance.get_run_by_id(
        webserver.launch("approve_model", {"approve": {"config": _decision(version)}}, "ann")
    )
    assert asked is not None
    context = webserver.workspace.create_request_context()  # without a request, as the daemon's
    for parent, forged, kept in ((asked.run_id, "ann", "ann"), (asked.run_id, "boss", "ann"), (None, "boss", "")):
        run = dg.DagsterRun(
            job_name="approve_model",
            run_id=dg.DagsterRun(job_name="any").run_id,
            parent_run_id=parent,
            root_run_id=parent,
            tags={USER_TAG: forged},
            remote_job_origin=asked.remote_job_origin,
        )
        instance.add_run(run)
        submitted = instance.run_coordinator.submit_run(SubmitRunContext(run, context))
        assert submitted.tags[USER_TAG] == kept


def test_a_viewers_webserver_launches_nothing(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARSDEPO_HOME", str(world.settings.home))
    parameters = _parameters("approve_model", {"approve": {"config": _decision(world.model("first", 0.7).version)}})
    answer = Webserver(instance, read_only=True).ask(LAUNCH, parameters, {USER_HEADER: "ann"})
    assert answer["__typename"] == "UnauthorizedError"
    assert instance.get_runs_count() == 0


def test_a_command_on_the_server_enters_the_user_of_its_process(world: World, instance: dg.DagsterInstance) -> None:
    version = world.model("first", 0.7)
    pipeline = Pipeline.__new__(Pipeline)
    pipeline.settings, pipeline.console, pipeline.instance = world.settings, "CRITICAL", instance
    pipeline.definitions = world.definitions()
    decisions.reject(pipeline, str(version.version), "too many false alarms")
    (event,) = ledger.events(world.lake)
    assert (event.action, event.actor) == ("reject", ledger.person())
