"""A real `dagster dev` over a lake of the test's own, asked by GraphQL as its UI asks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from carsdepo_assets.settings import Settings

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Server:
    def __init__(self, settings: Settings, log: Path, pid: int = 0) -> None:
        self.pid = pid
        self.settings = settings
        self.log = log
        self.url = f"http://127.0.0.1:{settings.dagster_port}/graphql"

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            said = json.load(answer)
        assert "errors" not in said, said
        return dict(said["data"])

    def wait(self, what: str, ready: Callable[[], Any], seconds: float) -> Any:
        """The first truthy value of `ready`; AssertionError with the server's log after `seconds`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                value = ready()
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                value = None
            if value:
                return value
            time.sleep(1)
        raise AssertionError(f"{what} did not happen in {seconds:.0f} s:\n{self.log.read_text()[-6000:]}")

    def runs(self, job: str) -> list[dict[str, Any]]:
        """Newest first."""
        said = self.ask(
            "query($f: RunsFilter) {runsOrError(filter: $f) {... on Runs {results "
            "{runId status startTime tags {key value}}}}}",
            f={"pipelineName": job},
        )
        return list(said["runsOrError"]["results"])

    def ticks(self, sensor: str) -> list[str]:
        """The newest 50. Raises ConnectionError while the code location is not loaded, which `wait` waits out."""
        said = self.ask(
            "query($s: SensorSelector!) {sensorOrError(sensorSelector: $s) {... on Sensor "
            "{sensorState {ticks(limit: 50) {status}}}}}",
            s={"repositoryLocationName": "carsdepo", "repositoryName": "__repository__", "sensorName": sensor},
        )
        if "sensorState" not in said["sensorOrError"]:
            raise ConnectionError(f"the code location does not answer for the sensor {sensor}")
        return [t["status"] for t in said["sensorOrError"]["sensorState"]["ticks"]]

    def materializations(self, asset: str) -> list[dict[str, Any]]:
        said = self.ask(
            "query($k: AssetKeyInput!) {assetOrError(assetKey: $k) {... on Asset "
            "{assetMaterializations {runId timestamp}}}}",
            k={"path": [asset]},
        )
        return list(said["assetOrError"].get("assetMaterializations") or [])


@contextmanager
def dagster_dev(settings: Settings, log: Path) -> Iterator[Server]:
    """Plain `dagster dev` with workspace.yaml, in a session of its own; ended with every child, by pid."""
    env = {**os.environ, **settings.variables()}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "dagster"), "dev", "-h", "127.0.0.1", "-p", str(settings.dagster_port)],
            cwd=ROOT,
            env=env,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(settings, log, process.pid)
    try:
        server.wait("dagster dev answering", lambda: server.ask("{version}"), 400)  # a busy machine takes minutes
        yield server
    finally:
        tree = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        _, alive = psutil.wait_procs(tree, timeout=20)
        for child in alive:
            child.kill()
        process.wait(timeout=20)
