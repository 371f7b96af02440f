"""Runs the inspection services as processes of this machine, and uses those that run already."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from carsdepo_assets.settings import Settings

STAGES = ("staging", "production")
# Seconds that a service may take to answer: a far cap, since one that ends says so at once and a busy machine is slow.
START_S = 600.0


class ServiceError(RuntimeError):
    """A service did not come up; the message holds its last lines."""


def command(stage: str) -> list[str]:
    """The command line that starts a stage's service."""
    return [str(Path(sys.executable).parent / "carsdepo"), "serve", "--stage", stage]


def health(url: str) -> dict[str, Any] | None:
    """The answer of /healthz; None where no inspection service answers."""
    import httpx

    try:
        body = httpx.get(f"{url}/healthz", timeout=2.0).json()
    except (httpx.HTTPError, ValueError):
        return None
    return body if isinstance(body, dict) and "stage" in body else None


@contextmanager
def running(settings: Settings, stages: Sequence[str] = STAGES) -> Iterator[Settings]:
    """Has a service run for every stage while the block lasts.

    A service that serves this lake already is used and left running. Where another program has the port, the service
    is started on a free one.

    Args:
        settings: The installation.
        stages: The stages to serve.

    Returns:
        Settings whose `service_url` is right for these services.

    Raises:
        ServiceError: A service does not answer within START_S seconds.
    """
    started: list[subprocess.Popen[bytes]] = []
    logs = settings.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    taken: set[int] = set()
    plan = []
    for stage in stages:
        answer = health(settings.service_url(stage))
        if answer is not None and answer["stage"] == stage and answer.get("lake") == settings.lake:
            continue
        port = _port(settings.production_port if stage == "production" else settings.staging_port, taken)
        taken.add(port)
        settings = settings.model_copy(update={f"{stage}_port": port, f"{stage}_url": None})
        plan.append(stage)
    try:
        for stage in plan:
            with (logs / f"{stage}.log").open("ab") as log:
                started.append(
                    subprocess.Popen(
                        command(stage),
                        env=settings.child_environment(*settings.service_secrets()),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
        for stage, process in zip(plan, started, strict=True):
            _await(settings.service_url(stage), stage, process, logs / f"{stage}.log")
        yield settings
    finally:
        for process in started:
            end(process)


def end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM, grace_s: float = 20.0) -> None:
    """Ends one process with its children, as `end_all` does."""
    end_all([process], number, grace_s)


def end_all(
    processes: Sequence[subprocess.Popen[bytes]],
    number: int,
    grace_s: float,
    hurry: Callable[[], bool] = lambda: False,
) -> int:
    """Ends processes with their children, all at the same time. Each must have been started in its own session.

    Args:
        processes: The processes.
        number: The signal that asks them to end.
        grace_s: Seconds after which those that are left are killed.
        hurry: Whether to kill them now, asked again and again meanwhile.

    Returns:
        How many processes were killed.
    """
    tree = [member for process in processes for member in _family(process)]
    for process in processes:
        with suppress(ProcessLookupError):
            if process.poll() is None:
                os.killpg(process.pid, number)
    limit = time.monotonic() + grace_s
    alive = [p for p in tree if _lives(p)]
    while alive and time.monotonic() < limit and not hurry():
        time.sleep(0.1)
        for process in processes:
            process.poll()  # reaps it
        alive = [p for p in alive if _lives(p)]
    # What was started since the first look: a run's process whose parent had been asked to end, say.
    late = [p for process in processes if process.poll() is None for p in _family(process)]
    left = {p.pid: p for p in [*alive, *late] if _lives(p)}
    for member in left.values():
        with suppress(psutil.NoSuchProcess):
            member.kill()
    for process in processes:
        process.wait()
    psutil.wait_procs(list(left.values()), timeout=10)  # a killed process is gone once the kernel says so
    return len(left)


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        root = psutil.Process(process.pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _await(url: str, stage: str, process: subprocess.Popen[bytes], log: Path) -> None:
    limit = time.monotonic() + START_S
    while health(url) is None:
        if process.poll() is not None or time.monotonic() > limit:
            last = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-15:])
            what = f"ended with code {process.returncode}" if process.poll() is not None else "does not answer"
            raise ServiceError(
                f"The {stage} service {what} (`carsdepo serve --stage {stage}`). Its last lines:\n{last}"
            )
        time.sleep(0.2)


def _port(wanted: int, taken: set[int]) -> int:
    """`wanted`, or a free one where something listens there."""
    from carsdepo_assets.commands.doctor import port_is_free

    if wanted not in taken and port_is_free(wanted):
        return wanted
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
