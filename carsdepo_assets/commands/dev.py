"""`carsdepo dev`: Dagster, MLflow and both inspection services over the same lake, one command, one Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from carsdepo_assets import redaction
from carsdepo_assets.commands.doctor import port_is_free
from carsdepo_assets.commands.services import STAGES, command, end
from carsdepo_assets.settings import Settings


class PortTaken(RuntimeError):
    """A port that a server needs is in use; the message says which and what to set."""


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
    return {"Dagster": dagster, **({} if _mlflow_elsewhere(settings) else {"MLflow": mlflow}), **services}


def _mlflow_elsewhere(settings: Settings) -> bool:
    """CARSDEPO_MLFLOW names a server: there is none to start."""
    return settings.mlflow_uri.startswith(("http://", "https://"))


def _environments(settings: Settings) -> dict[str, dict[str, str]]:
    """Of each server: no secret that it does not need."""
    mlflow = settings.child_environment(*redaction.MLFLOW, *redaction.AWS)
    # Its background workers for language models would take a core and do nothing here.
    mlflow |= {"MLFLOW_BACKEND_STORE_URI": settings.mlflow_uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    services = {f"{stage} service": settings.child_environment(*settings.service_secrets()) for stage in STAGES}
    return {"Dagster": settings.child_environment(*redaction.SECRETS), "MLflow": mlflow, **services}


def run(settings: Settings) -> int:
    """Starts all, waits for Ctrl-C, SIGTERM or the end of one, then ends all with their children.

    Raises PortTaken, or PolicyError where the policy cannot be read, before anything starts.
    """
    settings.policy()
    for name, port in (
        ("DAGSTER", settings.dagster_port),
        ("MLFLOW", settings.mlflow_port),
        ("PRODUCTION", settings.production_port),
        ("STAGING", settings.staging_port),
    ):
        if name == "MLFLOW" and _mlflow_elsewhere(settings):
            continue
        if not port_is_free(port):
            raise PortTaken(f"Port {port} is in use. End what listens there, or set CARSDEPO_{name}_PORT.")
    settings.home.mkdir(parents=True, exist_ok=True)
    environments = _environments(settings)
    local = f"http://127.0.0.1:{settings.mlflow_port}"
    mlflow = redaction.without_credentials(settings.mlflow_uri) if _mlflow_elsewhere(settings) else local
    asked: list[int] = []
    # Before the servers start: from a shell that ignores SIGINT (a job in the background) they would inherit that.
    previous = {s: signal.signal(s, lambda number, _: asked.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    # Sessions of their own: Ctrl-C reaches this process alone, which ends them in order.
    servers = {
        name: subprocess.Popen(started, env=environments[name], start_new_session=True)
        for name, started in _commands(settings).items()
    }
    print(
        f"Dagster:    http://127.0.0.1:{settings.dagster_port}\n"
        f"MLflow:     {mlflow}\n"
        f"Production: {settings.service_url('production')}  (the reports are its first page)\n"
        f"Staging:    {settings.service_url('staging')}\n"
        f"Lake:       {settings.lake}\nCtrl-C ends all.",
        flush=True,
    )
    try:
        while not asked:
            ended = [name for name, server in servers.items() if server.poll() is not None]
            if ended:
                print(f"{', '.join(ended)} ended; ending the others.", file=sys.stderr)
                return 1
            time.sleep(0.3)
        print("Ending all; this takes about 10 seconds.", flush=True)
        return 0
    finally:
        for server in servers.values():
            end(server, signal.SIGINT)
        for number, handler in previous.items():
            signal.signal(number, handler)
