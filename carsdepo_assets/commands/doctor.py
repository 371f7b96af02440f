"""`carsdepo doctor`: checks whether this machine can run the loop, and says what to do where it cannot.

What an installation in an AWS account is asked besides is in doctor_aws.py.
"""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from carsdepo_assets.commands.findings import Finding
from carsdepo_assets.data.imports.import_sources import left_over
from carsdepo_assets.lake.lake import LakeError
from carsdepo_assets.lake.message_queue import MessageQueue, dead_letters_of, queue_beside
from carsdepo_assets.settings import Settings

NEEDED_MEMORY = 4 * 2**30  # bytes: training on 640 px photographs, measured peak with the UI beside it
NEEDED_DISK = 2 * 2**30  # bytes
NAMED = (
    "dagster",
    "dagster-mlflow",
    "ultralytics",
    "torch",
    "pandas",
    "great-expectations",
    "whylogs",
    "mlflow",
    "deltalake",
    "fastapi",
    "onnxruntime",
    "openvino",
)


def port_is_free(port: int) -> bool:
    """Whether nothing listens on 127.0.0.1 at the port."""
    with socket.socket() as s:
        s.settimeout(0.5)
        return s.connect_ex(("127.0.0.1", port)) != 0


def holder(port: int) -> psutil.Process | None:
    """The process that listens on the port; None where there is none, or the system does not name it."""
    for process in psutil.process_iter():
        try:
            connections = process.net_connections(kind="tcp")
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if any(c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port for c in connections):
            return process
    return None


def _port(name: str, port: int, variable: str, settings: Settings) -> Finding:
    what = f"port {port} ({name})"
    if port_is_free(port):
        return Finding(what, "free", True)
    process = holder(port)
    if process is None:
        return Finding(what, "in use", False, f"Another program listens there: end it, or set {variable}.")
    try:
        own = process.environ().get("CARSDEPO_HOME") == str(settings.home)
        label = f"process {process.pid} ({process.name()})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        own, label = False, f"process {process.pid}"
    if own:
        return Finding(what, f"in use by this installation, {label}", True)
    return Finding(
        what, f"in use by {label}", False, f"It does not belong to this home's `carsdepo`: end it, or set {variable}."
    )


def _compute(settings: Settings) -> Finding:
    """Where jobs run, and whether a training there reaches the lake and MLflow."""
    what = "where jobs run"
    if settings.compute_file is None:
        return Finding(what, "this machine", True)
    from carsdepo_assets.compute.choice import TRAINING_ASSET
    from carsdepo_assets.compute.mlflow_server import is_server
    from carsdepo_assets.compute.settings_file import ComputeSettingsError
    from carsdepo_assets.definitions import graph
    from carsdepo_assets.environments import resources

    try:
        by_name = resources(settings)
        compute = by_name["compute"]
        graph(by_name)
    except ComputeSettingsError as error:
        return Finding(what, str(error), False, "Correct the file, or unset CARSDEPO_COMPUTE.")
    places = ", ".join([compute.place, *(f"{asset} at {place}" for asset, place in compute.by_asset.items())])
    value = f"{places} ({settings.compute_file})"
    if any(place != "local" for place in (compute.place, *compute.by_asset.values())):
        if not settings.lake.startswith("s3://"):
            return Finding(what, value, False, f"Jobs on AWS cannot read {settings.lake}: set CARSDEPO_LAKE=s3://...")
        if compute.place_of(TRAINING_ASSET) != "local" and not is_server(compute.mlflow):
            advice = "A training on AWS logs to an MLflow server: set CARSDEPO_MLFLOW to its URL."
            return Finding(what, value, False, advice)
    return Finding(what, value, True)


def _queues(settings: Settings) -> Iterator[Finding]:
    """Whether the queues that AWS's events come by answer, and keep what cannot be read."""
    for what, variable, url in (
        ("events of raw/uploads/", "CARSDEPO_UPLOADS_QUEUE", settings.uploads_queue),
        ("events of raw/labels/", "CARSDEPO_LABELS_QUEUE", settings.labels_queue),
        ("events of models", "CARSDEPO_MODELS_QUEUE", settings.models_queue),
    ):
        if url is None:
            continue
        try:
            attributes = MessageQueue(url).attributes()
        except LakeError as error:
            yield Finding(what, str(error), False, f"Correct {variable}, or unset it: then everything is looked at.")
            continue
        value = f"{attributes.get('ApproximateNumberOfMessages', '?')} messages wait in {url}"
        name = dead_letters_of(attributes)
        if name is None:
            advice = "Give it a redrive policy: without one, what cannot be read comes again until it expires."
            yield Finding(what, f"{value}, which has no dead-letter queue", False, advice)
        else:
            yield _dead_letters(what, value, url, name)


def _dead_letters(what: str, value: str, url: str, arn: str) -> Finding:
    """How many messages are in the dead-letter queue of a queue."""
    try:
        attributes = MessageQueue(queue_beside(url, arn)).attributes()
    except LakeError as error:
        advice = f"Who looks needs sqs:GetQueueAttributes on it. {error}"
        return Finding(what, f"{value}; its dead-letter queue {arn} could not be counted", True, advice)
    count = attributes.get("ApproximateNumberOfMessages", "?")
    if count == "0":
        return Finding(what, f"{value}; its dead-letter queue {arn} is empty", True)
    advice = (
        "Read why in the ticks of the sensor, and mend it; then have them delivered again: aws sqs "
        f"start-message-move-task --source-arn {arn} (docs/aws.md, Dead letters)."
    )
    return Finding(what, f"{value}; {count} messages are in its dead-letter queue {arn}", False, advice)


def examine(settings: Settings) -> list[Finding]:
    """Runs every check; `ok` is False where the loop would fail."""
    findings = [
        Finding(
            "Python",
            sys.version.split()[0],
            sys.version_info[:2] == (3, 11),
            "Install Python 3.11 and run `make setup` again.",
        )
    ]
    for name in NAMED:
        try:
            findings.append(Finding(name, version(name), True))
        except PackageNotFoundError:
            findings.append(Finding(name, "missing", False, "Run `make setup`."))
    memory = psutil.virtual_memory()
    findings.append(
        Finding(
            "memory free",
            f"{memory.available / 2**30:.1f} GiB",
            memory.available >= NEEDED_MEMORY,
            f"Training needs {NEEDED_MEMORY / 2**30:.0f} GiB: close other programs.",
        )
    )
    settings.home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.home).free
    findings.append(
        Finding(
            f"disk free at {settings.home}",
            f"{free / 2**30:.1f} GiB",
            free >= NEEDED_DISK,
            "Free some space, or set CARSDEPO_HOME to a folder on another disk.",
        )
    )
    places = left_over(settings.home / "sources")
    if places:
        size = sum(one.size for one in places) / 2**20
        value = f"{size:,.1f} MiB in {settings.home / 'sources'}, last added to on {places[-1].at:%Y-%m-%d}"
        advice = "Run the import again to go on with it; otherwise another one removes it a week after it was left."
        findings.append(Finding("imports that were broken off", value, True, advice))
    for name, port, variable in (
        ("Dagster", settings.dagster_port, "CARSDEPO_DAGSTER_PORT"),
        ("MLflow", settings.mlflow_port, "CARSDEPO_MLFLOW_PORT"),
        ("production service", settings.production_port, "CARSDEPO_PRODUCTION_PORT"),
        ("staging service", settings.staging_port, "CARSDEPO_STAGING_PORT"),
    ):
        if name != "MLflow" or not settings.mlflow_is_elsewhere:
            findings.append(_port(name, port, variable, settings))
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none: training runs on the CPU"
    findings.append(Finding("GPU", gpu, True))
    try:
        policy = settings.policy()
        findings.append(Finding("policy", f"digest {policy.digest()}", True))
    except ValueError as error:
        findings.append(Finding("policy", str(error), False, "Correct the file that the message names."))
    findings.append(_compute(settings))
    findings += _queues(settings)
    if settings.environment == "aws":
        from carsdepo_assets.commands.doctor_aws import examine_account

        findings += examine_account(settings)
    elif settings.mlflow_is_elsewhere:
        from carsdepo_assets.commands.doctor_aws import mlflow_server

        findings.append(mlflow_server(settings))
    findings.append(_published_weights(settings.home / "weights"))
    return findings


def _published_weights(folder: Path) -> Finding:
    """Which published weights of detectors are in the home."""
    from carsdepo_assets.families.registry import family_of, names

    published = [family.pretrained for family in map(family_of, names()) if family.pretrained is not None]
    there = [p.file for p in published if (folder / p.file).is_file()]
    advice = (
        "" if there else "Optional: `carsdepo weights get FAMILY` fetches some; `carsdepo weights list` names them."
    )
    return Finding("published weights", ", ".join(there) or "none", True, advice)
