"""`carsdepo dev`: starts Dagster, MLflow and both inspection services over one lake, and ends them on Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

from carsdepo_assets import redaction
from carsdepo_assets.commands.code_servers import restart_dead_code_servers
from carsdepo_assets.commands.doctor import port_is_free
from carsdepo_assets.commands.instances import make_databases
from carsdepo_assets.commands.services import STAGES, command, end_all
from carsdepo_assets.registry.signatures import ensure_keys
from carsdepo_assets.settings import Settings

END_S = 8.0  # seconds that the servers, and a training under way, get to end in order
LOOK_S = 0.3  # seconds between looks at the servers
CODE_SERVERS_S = 5.0  # seconds between looks at Dagster's code servers
LOG_BYTES = 50 * 2**20  # the log is begun anew when it has grown to this
OK, ONE_ENDED, KILLED = 0, 1, 130


class PortTaken(RuntimeError):
    """A port that a server needs is in use; the message says which and what to set."""


class _Log:
    """The file to which the servers write; it is shown on the terminal until they are asked to end.

    It is no pipe: servers that outlive this process, because it was killed, can go on writing.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        self.path, self._at = path, 0

    def writer(self) -> BinaryIO:
        return self.path.open("ab", buffering=0)

    def show(self) -> None:
        with self.path.open("rb") as log:
            log.seek(self._at)
            text = log.read()
        self._at += len(text)
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
        if self._at > LOG_BYTES:
            os.truncate(self.path, 0)
            self._at = 0


def _commands(settings: Settings) -> dict[str, list[str]]:
    tools = Path(sys.executable).parent
    # Every sensor's every tick is in the UI; here it would hide what matters.
    dagster = [str(tools / "dagster"), "dev", "--log-level", "warning"]
    dagster += ["-h", "127.0.0.1", "-p", str(settings.dagster_port)]
    if not Path("workspace.yaml").exists():  # outside the repository; in it, the same location as plain `dagster dev`
        dagster += ["-m", "carsdepo_assets.definitions"]
    # Where its runs are, MLflow learns from its environment: the URI may hold a password, and `ps` shows arguments.
    mlflow = [str(tools / "mlflow"), "server", "--workers", "1"]
    mlflow += ["--artifacts-destination", str(settings.home / "mlartifacts")]
    mlflow += ["--host", "127.0.0.1", "--port", str(settings.mlflow_port)]
    services = {f"{stage} service": command(stage) for stage in STAGES}
    return {"Dagster": dagster, **({} if settings.mlflow_is_elsewhere else {"MLflow": mlflow}), **services}


def _environments(settings: Settings) -> dict[str, dict[str, str]]:
    """The variables of each server, without secrets that it does not need."""
    mlflow = settings.child_environment(*redaction.MLFLOW, *redaction.AWS)
    # Its background workers for language models would take a core and do nothing here.
    mlflow |= {"MLFLOW_BACKEND_STORE_URI": settings.mlflow_uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    services = {f"{stage} service": settings.child_environment(*settings.service_secrets()) for stage in STAGES}
    return {"Dagster": settings.child_environment(*redaction.SECRETS), "MLflow": mlflow, **services}


def run(settings: Settings) -> int:
    """Starts all servers, waits for Ctrl-C, SIGTERM or the end of one of them, then ends all with their children.

    What has not ended after END_S seconds is killed; the next start continues its work.

    Returns:
        0 when it was asked to end, 1 when a server ended by itself, 130 when it was asked twice, which kills all at
        once.

    Raises:
        PortTaken: A port is in use; nothing was started.
        PolicyError: The policy cannot be read; nothing was started.
    """
    settings.policy()
    asked: list[int] = []
    # Before the servers start: from a shell that ignores SIGINT (a job in the background) they would inherit that.
    previous = {s: signal.signal(s, lambda number, _: asked.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    servers: dict[str, subprocess.Popen[bytes]] = {}
    try:
        _ports_are_free(settings)
        settings.home.mkdir(parents=True, exist_ok=True)
        ensure_keys(settings.signing_key, settings.verification_key)
        log = _Log(settings.home / "logs" / "dev.log")
        if not (settings.home / "dagster" / "history" / "runs.db").exists():
            make_databases(settings)  # another command at the same moment waits for it, or is waited for
        _start(settings, servers, log, asked)
        if not asked:
            print(_where(settings), flush=True)
        return _watch(servers, log, asked)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _ports_are_free(settings: Settings) -> None:
    for name, port in (
        ("DAGSTER", settings.dagster_port),
        ("MLFLOW", settings.mlflow_port),
        ("PRODUCTION", settings.production_port),
        ("STAGING", settings.staging_port),
    ):
        if name == "MLFLOW" and settings.mlflow_is_elsewhere:
            continue
        if not port_is_free(port):
            raise PortTaken(f"Port {port} is in use. End what listens there, or set CARSDEPO_{name}_PORT.")


def _start(settings: Settings, servers: dict[str, subprocess.Popen[bytes]], log: _Log, asked: list[int]) -> None:
    environments = _environments(settings)
    for name, started in _commands(settings).items():
        if asked:
            return
        with log.writer() as out:
            # Sessions of their own: Ctrl-C reaches this process alone, which ends them in order.
            servers[name] = subprocess.Popen(
                started,
                env=environments[name],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )


def _where(settings: Settings) -> str:
    local = f"http://127.0.0.1:{settings.mlflow_port}"
    mlflow = redaction.without_credentials(settings.mlflow_uri) if settings.mlflow_is_elsewhere else local
    return (
        f"Dagster:    http://127.0.0.1:{settings.dagster_port}\n"
        f"MLflow:     {mlflow}\n"
        f"Production: {settings.service_url('production')}  (its first page leads to the reports)\n"
        f"Staging:    {settings.service_url('staging')}\n"
        f"Lake:       {settings.lake}\n"
        f"Log:        {settings.home / 'logs' / 'dev.log'}\n"
        "Ctrl-C ends all in about 10 seconds; a second Ctrl-C kills all at once."
    )


def _watch(servers: dict[str, subprocess.Popen[bytes]], log: _Log, asked: list[int]) -> int:
    code, looked = OK, time.monotonic()
    while not asked:
        log.show()
        ended = [name for name, server in servers.items() if server.poll() is not None]
        if ended:
            print(f"{', '.join(ended)} ended; ending the others.", file=sys.stderr)
            code = ONE_ENDED
            break
        if time.monotonic() - looked >= CODE_SERVERS_S:
            looked = time.monotonic()
            for pid in restart_dead_code_servers(servers["Dagster"].pid):
                print(f"Dagster's code server died; it is started anew (process {pid} was ended).", file=sys.stderr)
        time.sleep(LOOK_S)
    if asked:
        print("Ending all; this takes up to 10 seconds.", flush=True)
    times = len(asked)  # a Ctrl-C from here on is the second
    killed = end_all(list(servers.values()), signal.SIGINT, END_S, hurry=lambda: len(asked) > max(times, 1))
    if len(asked) > max(times, 1):
        code = KILLED
    if killed:
        print(f"{killed} processes had to be killed; their work continues at the next start.", file=sys.stderr)
    return code
