"""How long production goes on with a bad model once a person rolls it back, while eight clients send photographs.

Two YOLOv8n of 320 pixels with random weights, exported and signed, served by `carsdepo serve` under its defaults. The
time counts from the start of the command (or the launch of the job in Dagster's UI) until /healthz reports the digest
of the model before.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.image_pipeline import photograph
from benchmarks.temporary_home import temporary_home
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.signatures import SigningKeys
from carsdepo_assets.settings import Settings

CLIENTS, ROUNDS, SIZE = 8, 5, 320
COMMAND_S, JOB_S = 5.0, 15.0  # what a person may have to wait
_CARSDEPO = str(Path(sys.executable).parent / "carsdepo")
_LAUNCH = """
mutation($p: ExecutionParams!) {launchRun(executionParams: $p) {__typename ... on PythonError {message}
  ... on RunConfigValidationInvalid {errors {message}}}}
"""


def run() -> list[dict[str, Any]]:
    """Rows {name, value, unit, against, ratio}; a ratio above 1 is too slow."""
    from carsdepo_assets_tests.end_to_end.dagster_server import dagster_dev

    with temporary_home() as settings, tempfile.TemporaryDirectory() as logs:
        settings = settings.model_copy(update={"production_port": free_port(), "dagster_port": free_port()})
        good, bad = exported_models(settings)
        with service(settings, Path(logs, "service.log")), _clients(settings) as sent:
            command = [_command(settings, good, bad) for _ in range(ROUNDS)]
            with dagster_dev(settings, Path(logs, "dagster.log")) as server:
                server.wait("the code location", lambda: _launchable(server), 200)
                job = [_job(settings, server, good, bad) for _ in range(ROUNDS)]
    return [
        _row("carsdepo rollback", [served for served, _ in command], COMMAND_S),
        _row("carsdepo rollback until the command ends", [ended for _, ended in command], None),
        _row("job rollback_production", job, JOB_S),
        {"name": f"requests of {CLIENTS} clients meanwhile", "value": sent.answered, "unit": "answered", "ratio": None},
        {"name": "of them failed", "value": len(sent.failures), "unit": "requests", "ratio": None},
    ]


def _row(name: str, seconds: list[float], limit: float | None) -> dict[str, Any]:
    slowest = max(seconds)
    return {
        "name": f"{name}, slowest of {len(seconds)} (median {statistics.median(seconds):.1f})",
        "value": round(slowest, 2),
        "unit": "s",
        "against": f"at most {limit:g} s" if limit else "",
        "ratio": round(slowest / limit, 2) if limit else None,
    }


def exported_models(settings: Settings) -> tuple[str, str]:
    """(model before, model to be rolled back), exported and signed."""
    from carsdepo_assets.detectors.export.export_model import export_model
    from carsdepo_assets_tests.detectors.stored_models import photographs, store_model

    lake, digests = Lake.open(settings.lake), []
    for blind in (False, True):
        digest = store_model(lake, "yolov8n", SIZE, blind=blind)
        export_model(lake, digest, settings.policy(), photographs()[:2])
        SigningKeys(settings.signing_key, settings.verification_key).sign(lake, digest)
        digests.append(digest)
    return digests[0], digests[1]


def _promote(settings: Settings, good: str, bad: str) -> None:
    """Production serves `good`, then `bad`."""
    for digest in (good, bad):
        ledger.record(
            Lake.open(settings.lake), "production", "promote",
            digest=digest, version=None, actor="benchmark", reason="measured",
        )  # fmt: skip
        await_served(settings, digest)


def await_served(settings: Settings, digest: str, since: float | None = None) -> float:
    """Waits until production serves a model; returns seconds since `since`."""
    started = since or time.monotonic()
    while time.monotonic() - started < 120:
        if httpx.get(f"{settings.service_url('production')}/healthz", timeout=60).json().get("digest") == digest:
            return time.monotonic() - started
        time.sleep(0.02)
    raise RuntimeError(f"production does not serve {digest} after two minutes")


def _command(settings: Settings, good: str, bad: str) -> tuple[float, float]:
    """Seconds until (the model is served, the command has ended)."""
    _promote(settings, good, bad)
    started = time.monotonic()
    process = subprocess.Popen(
        [_CARSDEPO, "rollback", "--stage", "production", "--reason", "measured"],
        env={**os.environ, **settings.variables()},
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # a terminal of its own; Linux shares the cores among sessions
    )
    served = await_served(settings, good, started)
    if process.wait(120) != 0:
        raise RuntimeError("carsdepo rollback failed")
    return served, time.monotonic() - started


def _launchable(server: Any) -> bool:
    return bool(server.ask("{repositoriesOrError {... on RepositoryConnection {nodes {name}}}}")["repositoriesOrError"])


def _job(settings: Settings, server: Any, good: str, bad: str) -> float:
    """Seconds until the model is served, from the launch as the UI launches it."""
    _promote(settings, good, bad)
    selector = {
        "repositoryLocationName": "carsdepo",
        "repositoryName": "__repository__",
        "pipelineName": "rollback_production",
    }
    config = {"ops": {"rollback": {"config": {"reason": "measured", "actor": "benchmark"}}}}
    started = time.monotonic()
    answer = server.ask(_LAUNCH, p={"selector": selector, "runConfigData": config, "mode": "default"})["launchRun"]
    if answer["__typename"] != "LaunchRunSuccess":
        raise RuntimeError(f"the job was not launched: {answer}")
    return await_served(settings, good, started)


@contextmanager
def service(settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The service of production as `carsdepo dev` starts it, once it answers."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [_CARSDEPO, "serve", "--stage", "production"],
            env={**os.environ, **settings.variables()},
            stdout=out,
            stderr=out,
            start_new_session=True,  # Linux shares the cores among sessions
        )
    try:
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            try:
                httpx.get(f"{settings.service_url('production')}/healthz", timeout=5)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait(60)


@dataclass
class _Sent:
    answered: int = 0
    failures: list[str] = field(default_factory=list)


@contextmanager
def _clients(settings: Settings) -> Iterator[_Sent]:
    """Clients that send one photograph after the other, once a model is served."""
    sent, ended, counting = _Sent(), threading.Event(), threading.Lock()
    bodies = [photograph(seed) for seed in range(8)]

    def client(number: int) -> None:
        with httpx.Client(timeout=60) as http:
            while not ended.is_set():
                files = [("photographs", ("a.jpg", bodies[number % len(bodies)], "image/jpeg"))]
                answer = http.post(f"{settings.service_url('production')}/v1/inspections", files=files)
                if answer.status_code == 503 and answer.json()["error"]["reason"] == "no_model":
                    time.sleep(0.1)  # before the first promotion
                    continue
                with counting:
                    sent.answered += answer.status_code == 200
                    if answer.status_code != 200:
                        sent.failures.append(f"{answer.status_code}: {answer.text[:200]}")

    with ExitStack() as stack:
        threads = [threading.Thread(target=client, args=(i,)) for i in range(CLIENTS)]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(ended.set)
        yield sent


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
