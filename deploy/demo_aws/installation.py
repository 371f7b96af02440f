"""The installation in the emulated account: what a run's task gets, written down as `deploy/aws/start` does.

Three values differ from the task definition, as the demo has one machine: MLflow's address, the front's address, and
`place`: every job runs on SageMaker, which moto emulates, and none on ECS.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from carsdepo_assets.commands.services import end


class CommandFailed(RuntimeError):
    """A `carsdepo` command failed; the message has what it wrote."""


STEPS = 10  # optimizer steps of each training
QUEUE = 24  # photographs of the labelling queue
_MLFLOW_START_S = 300.0
# What the front's people and a quick demo want otherwise than the built-in policy.
POLICY = f"""\
# Written by `make demo-aws`; the keys are those of carsdepo_assets/policy.py.
[data]
batch_max_age_s = 0.0
reconcile_s = {{reconcile_s}}

[training]
steps = {STEPS}
progress_every_s = 1.0
debounce_s = 0.0

# Ten steps teach nothing: floors of nothing let such a model come as far as a person's decision.
[evaluation]
floor_map50 = 0.0

[gate]
mode = "point"
floor_map50 = 0.0
floor_recall = 0.0
latency_p95_ms = 60000.0

[release]
approval = "person"
validation_photographs = 4
wait_s = 900.0

[inference]
runtime = "onnxruntime"

[monitoring]
queue_size = {QUEUE}
measure_every_s = 0.0

# A study of recipes would train a dozen models before the retraining.
[study]
after_high_drift = false
"""


def write_policy(home: Path, reconcile_s: float = 3600.0) -> None:
    """Writes the policy of the home; an hour between two looks at everything is the built-in value."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "carsdepo.toml").write_text(POLICY.format(reconcile_s=reconcile_s))


def installed(home: Path, task: Mapping[str, str], mlflow: str, front: str) -> dict[str, str]:
    """Writes the files of an installation below its home; returns its variables.

    Args:
        home: folder of its state; the keys that models are signed with are in it.
        task: the variables of a run's task.
        mlflow: URL of the MLflow server.
        front: URL of the front.
    """
    write_policy(home)
    files = {
        "compute.toml": compute_of(task["COMPUTE_TOML"]),
        "endpoints.toml": task["ENDPOINTS_TOML"],
        "model-signing.key": task["SIGNING_KEY"],
        "model-signing.pub": task["VERIFICATION_KEY"],
    }
    for name, text in files.items():
        (home / name).write_text(text)
        (home / name).chmod(0o600)
    own = {name: value for name, value in task.items() if name.startswith("CARSDEPO_") and value}
    return own | {
        "CARSDEPO_HOME": str(home),
        "CARSDEPO_POLICY_FOLDER": str(home),
        "CARSDEPO_COMPUTE": str(home / "compute.toml"),
        "CARSDEPO_ENDPOINTS": str(home / "endpoints.toml"),
        "CARSDEPO_SIGNING_KEY": str(home / "model-signing.key"),
        "CARSDEPO_VERIFICATION_KEY": str(home / "model-signing.pub"),
        "CARSDEPO_MLFLOW": mlflow,
        "CARSDEPO_PRODUCTION_URL": front,
    }


def compute_of(text: str) -> str:
    """The task definition's COMPUTE_TOML with every job on SageMaker, and with shorter pauses between two questions.

    Raises:
        ValueError: The text has another form.
    """
    changed, times = re.subn(r'^place = "ecs"$', 'place = "sagemaker"', text, flags=re.MULTILINE)
    changed, sections = re.subn(
        r"^\[sagemaker\]$", "[sagemaker]\npoll_s = 0.5\npoll_max_s = 1.0", changed, flags=re.MULTILINE
    )
    if (times, sections) != (1, 1):
        raise ValueError(f'COMPUTE_TOML has no `place = "ecs"` or no section [sagemaker]:\n{text}')
    return changed


@contextmanager
def mlflow_server(folder: Path, artifacts: str) -> Iterator[str]:
    """Runs an MLflow server as the account does, on SQLite instead of PostgreSQL; gives its URL.

    Args:
        folder: of its database and log.
        artifacts: s3:// URL to which clients write artifacts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--no-serve-artifacts"]
    command += ["--default-artifact-root", artifacts]
    own = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # its own jobs, which nobody has
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=own, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        limit = time.monotonic() + _MLFLOW_START_S
        while not _answers(f"{url}/health"):
            if process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"The MLflow server did not come up: {(folder / 'mlflow.log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield url
    finally:
        end(process)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


def carsdepo(variables: Mapping[str, str], *arguments: str) -> str:
    """What a `carsdepo` command of this installation writes on its stdout.

    Raises:
        CommandFailed: It failed.
    """
    command = [str(Path(sys.executable).parent / "carsdepo"), *arguments]
    others = {name: value for name, value in os.environ.items() if not name.startswith("CARSDEPO_")}
    own = {**others, **variables}
    done = subprocess.run(command, env=own, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        wrote = (done.stderr or done.stdout)[-3000:]
        raise CommandFailed(f"`carsdepo {' '.join(arguments)}` ended with code {done.returncode}: {wrote}")
    return done.stdout
