"""deploy/dagster/local-server.yaml: Dagster on a real Postgres, while processes of the server die and come back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_graphql.test.utils import execute_dagster_graphql

from carsdepo_assets_tests.deploy.postgres_server import PASSWORD, PostgresServer, binaries, postgres_server
from carsdepo_assets_tests.deploy.waiting_jobs import FOLDER
from carsdepo_assets_tests.end_to_end.dagster_server import free_port

ROOT = Path(__file__).parents[2]
LAUNCH = """mutation($p: ExecutionParams!) {launchRun(executionParams: $p) {__typename
  ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(600),
    pytest.mark.skipif(binaries() is None, reason="PostgreSQL is not installed (/usr/lib/postgresql)"),
]


class Platform:
    """Code server and daemon of a team's server as processes, and what is asked of them."""

    def __init__(self, folder: Path, postgres: PostgresServer, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.postgres, self.port = folder, postgres, free_port()
        home = folder / "dagster"
        home.mkdir()
        shutil.copy(ROOT / "deploy/dagster/local-server.yaml", home / "dagster.yaml")
        text = (ROOT / "deploy/dagster/workspace.yaml").read_text()
        self.workspace = folder / "workspace.yaml"
        self.workspace.write_text(text.replace("host: code", "host: 127.0.0.1").replace("4000", str(self.port)))
        for name, value in {
            "DAGSTER_HOME": home,
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_PORT": postgres.port,
            "DAGSTER_POSTGRES_PASSWORD": PASSWORD,
            "DAGSTER_STATE": folder / "state",
            "DAGSTER_LOGS": folder / "logs",
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            FOLDER: folder,
        }.items():
            patch.setenv(name, str(value))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.instance = dg.DagsterInstance.get()
        self.start("code")
        self.start("daemon")

    def start(self, name: str) -> None:
        module = "carsdepo_assets_tests.deploy.waiting_jobs"
        commands = {
            "code": ["dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(self.port), "-m", module],
            "daemon": ["dagster._daemon", "run", "-w", str(self.workspace)],
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", *commands[name]], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self, name: str) -> None:
        """Kills one process alone, as the kernel does."""
        os.kill(self._processes[name].pid, signal.SIGKILL)
        self._processes[name].wait()

    def alive(self, name: str) -> bool:
        return self._processes[name].poll() is None

    def end(self) -> None:
        for process in self._processes.values():
            tree = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.kill()
            process.wait()
            for child in tree:
                child.kill()
            psutil.wait_procs(tree, timeout=20)
        self.instance.dispose()

    def launch(self, name: str) -> str:
        """Asks for a run, as the UI does; its id."""

        def ask() -> str | None:
            with WorkspaceProcessContext(self.instance, WorkspaceFileTarget([str(self.workspace)])) as workspace:
                parameters = {
                    "selector": {
                        "repositoryLocationName": "carsdepo",
                        "repositoryName": "__repository__",
                        "jobName": "wait",
                    },
                    "runConfigData": {"ops": {"waited": {"config": {"name": name}}}},
                }
                answer = execute_dagster_graphql(workspace.create_request_context(), LAUNCH, {"p": parameters})
                outcome = answer.data["launchRun"]
                return outcome["run"]["runId"] if outcome["__typename"] == "LaunchRunSuccess" else None

        return str(self.wait(f"the launch of {name}", ask))

    def go(self, name: str) -> None:
        (self.folder / f"{name}.go").touch()

    def started(self, name: str) -> list[int]:
        """The processes that ran its step, one for each attempt."""
        file = self.folder / f"{name}.started"
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def settled(self, run_id: str) -> list[dg.DagsterRun] | None:
        """The run and its retries, oldest first, once the last of them succeeded."""
        group = self.instance.get_run_group(run_id)
        first = self.instance.get_run_by_id(run_id)
        runs = sorted(group[1], key=lambda r: r.tags.get("dagster/retry_number", "0")) if group else [first]
        return runs if runs[-1] is not None and runs[-1].status == dg.DagsterRunStatus.SUCCESS else None

    def wait(self, what: str, ready: Callable[[], Any], seconds: float = 200) -> Any:
        """The first truthy value of `ready`; while Postgres is away it is asked again."""
        limit, last = time.monotonic() + seconds, ""
        while time.monotonic() < limit:
            try:
                if value := ready():
                    return value
            except Exception as error:
                last = repr(error)
            time.sleep(0.5)
        logs = "\n".join(f.read_text()[-4000:] for f in self.folder.glob("*.log"))
        runs = [(r.run_id, r.status, r.tags) for r in self.instance.get_runs()]
        raise AssertionError(f"{what} did not happen within {seconds:.0f} s. {last}\n{runs}\n{logs}")


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    with postgres_server() as postgres:
        platform = Platform(tmp_path, postgres, monkeypatch)
        try:
            yield platform
        finally:
            platform.end()


def test_runs_go_on_while_the_daemon_is_dead_and_wait_for_the_next(platform: Platform) -> None:
    first, second = platform.launch("first"), platform.launch("second")
    platform.wait("two runs at once", lambda: platform.started("first") and platform.started("second"))
    assert {platform.status(first), platform.status(second)} == {dg.DagsterRunStatus.STARTED}
    platform.kill("daemon")
    third = platform.launch("third")
    platform.go("first")
    platform.go("second")
    for run_id in (first, second):
        platform.wait("a run's end without a daemon", lambda run_id=run_id: platform.settled(run_id))
    assert platform.status(third) == dg.DagsterRunStatus.QUEUED
    platform.go("third")
    platform.start("daemon")
    platform.wait("the third run's end", lambda: platform.settled(third))
    materializations = platform.instance.fetch_materializations(dg.AssetKey("waited"), limit=10).records
    assert {record.run_id for record in materializations} == {first, second, third}
    assert len(materializations) == 3  # each once


def test_a_run_outlives_a_restart_of_postgres(platform: Platform) -> None:
    run_id = platform.launch("one")
    platform.wait("the run's start", lambda: platform.started("one"))
    platform.postgres.stop("immediate")
    platform.postgres.start()
    platform.go("one")
    platform.wait("the run's end", lambda: platform.settled(run_id))
    assert platform.alive("code")
    _next_run_works(platform, "after")


def test_a_run_that_ends_while_postgres_is_away_is_run_again(platform: Platform) -> None:
    run_id = platform.launch("one")
    (process,) = platform.wait("the run's start", lambda: platform.started("one"))
    platform.postgres.stop("fast")
    platform.go("one")
    platform.wait("the end of the run's process", lambda: not _lives(process))  # it cannot tell of its success
    platform.postgres.start()
    if not platform.alive("daemon"):  # what `restart: unless-stopped` does
        platform.start("daemon")
    runs = platform.wait("the retry's end", lambda: platform.settled(run_id), 400)
    assert [run.status for run in runs] == [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]
    assert len(platform.started("one")) == 2
    assert platform.instance.event_log_storage.get_concurrency_run_ids() == set()
    _next_run_works(platform, "after")


def test_runs_of_a_code_server_that_was_killed_are_settled_and_run_again(platform: Platform) -> None:
    run_id = platform.launch("one")
    (process,) = platform.wait("the run's start", lambda: platform.started("one"))
    platform.kill("code")
    os.kill(process, signal.SIGKILL)  # with its container
    platform.go("one")
    platform.start("code")
    runs = platform.wait("the retry's end", lambda: platform.settled(run_id), 400)
    assert [run.status for run in runs] == [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]


def _next_run_works(platform: Platform, name: str) -> None:
    platform.go(name)
    run_id = platform.launch(name)
    platform.wait("the next run's end", lambda: platform.settled(run_id))


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
