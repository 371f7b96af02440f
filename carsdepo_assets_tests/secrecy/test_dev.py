"""commands/dev.py with planted secrets: processes' arguments and environments, and what they answer and leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from carsdepo_assets import redaction
from carsdepo_assets.commands import dev
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.alerts.receiver import receiver
from carsdepo_assets_tests.end_to_end.dagster_server import ROOT, Server, free_port
from carsdepo_assets_tests.secrecy import planted
from carsdepo_assets_tests.secrecy.planted import Planted, given, seen, seen_below

TOOLS = Path(sys.executable).parent
LAUNCH = """
mutation($p: ExecutionParams!) {launchRun(executionParams: $p) {__typename ... on LaunchRunSuccess {run {runId}}
  ... on PythonError {message} ... on RunConfigValidationInvalid {errors {message}}}}
"""
EVENTS = """
query($r: ID!) {runOrError(runId: $r) {... on Run {status runConfigYaml eventConnection(limit: 1000) {events {__typename
  ... on MessageEvent {message} ... on ExecutionStepFailureEvent {error {message stack}}}}}}}
"""
TICKS = """
query($s: RepositorySelector!) {repositoryOrError(repositorySelector: $s) {... on Repository {sensors {name
  sensorState {ticks(limit: 20) {status skipReason error {message stack}}}}}}}
"""
DETAILS = """
query($s: RepositorySelector!) {allTopLevelResourceDetailsOrError(repositorySelector: $s) {... on ResourceDetailsList
  {results {name configuredValues {key value type}}}}}
"""
CAP_S = 400.0  # seconds that anything may take, on however busy a machine
LOCATION = {"repositoryLocationName": "carsdepo", "repositoryName": "__repository__"}


@pytest.mark.parametrize("uri", ["postgresql://mlflow:{}@db/mlflow", "postgresql://db/mlflow?user=mlflow&password={}"])
def test_no_argument_holds_one_and_each_server_gets_its_own(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in Planted(1, 2).environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CARSDEPO_MLFLOW", uri.format(planted.MLFLOW_PASSWORD))
    settings = Settings.read(home=tmp_path)
    commands, environments = dev._commands(settings), dev._environments(settings)
    assert set(commands) == {"Dagster", "MLflow", "staging service", "production service"}
    assert not seen(str(commands))
    assert seen(redaction.redact(f"{settings.mlflow_uri} {planted.MLFLOW_PASSWORD}")) == set()
    assert environments["MLflow"]["MLFLOW_BACKEND_STORE_URI"] == settings.mlflow_uri
    for name, environment in environments.items():
        alerts, key = given(environment) & set(redaction.ALERTS), "CARSDEPO_API_KEY" in given(environment)
        assert bool(alerts) == (name == "Dagster"), name
        assert key == (name != "MLflow"), name


def test_an_mlflow_server_elsewhere_is_not_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARSDEPO_MLFLOW", Planted(1, 2).mlflow_uri)
    assert "MLflow" not in dev._commands(Settings.read(home=tmp_path))


@contextmanager
def process(command: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Ended with all its children, by their ids."""
    with log.open("wb") as out:
        started = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield started
    finally:
        if started.poll() is None:
            tree = psutil.Process(started.pid).children(recursive=True)
            started.send_signal(signal.SIGINT)
            _, alive = psutil.wait_procs([psutil.Process(started.pid), *tree], timeout=CAP_S)
            for left in alive:
                left.kill()
            started.wait()


def family(pid: int) -> list[tuple[list[str], dict[str, str]]]:
    """(arguments, environment) of a process's descendants, and of itself."""
    places = []
    for one in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            places.append((one.cmdline(), one.environ()))
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return [f for f in places if f[0]]


def ended(ticks: str) -> int:
    return ticks.count("'SUCCESS'") + ticks.count("'SKIPPED'")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(2400)
def test_a_running_dev_shows_and_leaves_none(tmp_path: Path) -> None:
    home, ports = tmp_path / "home", {name: free_port() for name in ("DAGSTER", "PRODUCTION", "STAGING", "MLFLOW")}
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CARSDEPO_", "DAGSTER_", "AWS_", "MLFLOW_"))}
    store = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    mlflow = [str(TOOLS / "mlflow"), "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(ports["MLFLOW"])]
    mlflow += ["--backend-store-uri", store, "--artifacts-destination", str(tmp_path / "artifacts")]
    quiet = clean | {"PYTHONPATH": str(ROOT), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with receiver() as hook, process(mlflow, quiet, tmp_path / "mlflow.log"):
        plant = Planted(hook.port, ports["MLFLOW"])
        env = clean | plant.environment() | {f"CARSDEPO_{k}_PORT": str(v) for k, v in ports.items()}
        env |= {"CARSDEPO_HOME": str(home), "PYTHONPATH": str(ROOT)}
        server = Server(Settings.read(env), tmp_path / "dev.log")
        production = f"http://127.0.0.1:{ports['PRODUCTION']}"
        texts: list[str] = []

        def asked(query: str, **variables: Any) -> dict[str, Any]:
            answer = server.ask(query, **variables)
            texts.append(str(answer))
            return answer

        def up(url: str) -> bool:
            try:
                return httpx.get(url, timeout=5).status_code < 500
            except httpx.TransportError:
                return False

        server.log.touch()
        server.wait("MLflow answering", lambda: up(f"http://127.0.0.1:{ports['MLFLOW']}/health"), CAP_S)
        with process([str(TOOLS / "carsdepo"), "dev"], env, server.log) as running:
            server.wait("the code location", lambda: asked(DETAILS, s=LOCATION), CAP_S)
            details = asked(DETAILS, s=LOCATION)["allTopLevelResourceDetailsOrError"]["results"]
            assert {r["name"] for r in details} >= {"alerts", "compute", "services", "tracking"}
            config = {"ops": {"approve": {"config": {"version": "99", "reason": "a test", "actor": "ann@desk"}}}}
            parameters = {
                "selector": {**LOCATION, "pipelineName": "approve_model"}, "runConfigData": config, "mode": "default",
            }  # fmt: skip
            launched = asked(LAUNCH, p=parameters)["launchRun"]
            assert launched["__typename"] == "LaunchRunSuccess", launched
            run = launched["run"]["runId"]
            server.wait("the run's end", lambda: asked(EVENTS, r=run)["runOrError"]["status"] == "FAILURE", CAP_S)
            server.wait("the alert of it", lambda: len(hook.bodies) >= 2, CAP_S)
            server.wait("production answering", lambda: up(f"{production}/healthz"), CAP_S)
            processes = family(running.pid)
            key = {"X-API-Key": planted.KEY}
            for page in ("/", "/alerts", "/healthz"):
                texts.append(httpx.get(f"{production}{page}", headers=key, timeout=30).text)
            assert "approve_model" in texts[-2]
            server.wait("ticks", lambda: ended(str(asked(TICKS, s=LOCATION))) > 3, CAP_S)
        assert hook.asked[0][0] != hook.asked[1][0]
        assert {planted.WEBHOOK_PATH, planted.WEBHOOK_QUERY, planted.ALERT_PATH} <= seen(str(hook.asked))
        assert not seen("".join(texts))
        assert not seen(server.log.read_bytes())
        for arguments, environment in processes:
            assert not seen(" ".join(arguments))
            if "serve" in arguments:
                assert not given(environment) & set(redaction.ALERTS)
        assert len([a for a, _ in processes if "serve" in a]) == 2
        assert sum(bool(given(e) & set(redaction.ALERTS)) for _, e in processes) >= 4  # dagster's own
        assert (home / "dagster").is_dir()
        assert seen_below(tmp_path) == {}
