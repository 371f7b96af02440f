"""Looks, before a training on AWS starts, whether its job will find the MLflow run that it is to log to.

The run was opened in the store of this installation, CARSDEPO_MLFLOW. A job reaches a server only, so that a training
whose run is in SQLite is refused. A server's URL is passed to the job, unless the place has another one for it.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import dagster as dg

from carsdepo_assets.redaction import has_credentials, without_credentials

VARIABLE = "CARSDEPO_MLFLOW"
_TIMEOUT_S = 5.0  # for a server that is asked whether it has the run


def is_server(uri: str) -> bool:
    """Whether a store's URI is that of a server, which jobs elsewhere can reach."""
    parts = urlsplit(uri)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def variables_for_job(
    place: str,
    mlflow: Mapping[str, Any] | None,
    own: str | None,
    variables: Mapping[str, str],
    defined: Mapping[str, str | None],
    warn: Callable[[str], None],
) -> dict[str, str]:
    """What `variables` lacks, so that the job logs to the run that was opened for it.

    Args:
        place: where the job runs: ecs or sagemaker.
        mlflow: what the job's spec says of MLflow; None: it logs nowhere.
        own: the store in which this installation opens runs, without a password; None: SQLite below CARSDEPO_HOME.
        variables: those that the place's settings give the job.
        defined: those that the task definition gives it; None for the value of a secret.
        warn: gets a line where the server that the job is given could not be asked.

    Raises:
        dagster.Failure: the job would not find its run; the message says why and what to do.
    """
    if mlflow is None:
        return {}
    run, named = mlflow.get("run_id"), variables.get(VARIABLE)
    given = named if named is not None else defined.get(VARIABLE)
    if given is not None and not is_server(given):
        raise _refusal(
            f"{VARIABLE} is {without_credentials(given)!r} for jobs at {place}: it must be the URL of an MLflow "
            f"server, such as http://mlflow.example:5000. Correct it {_where(place, named is not None)}."
        )
    if run is not None and (own is None or not is_server(own)):
        store = "in SQLite below CARSDEPO_HOME" if own is None else f"in {without_credentials(own)}"
        raise _refusal(
            f"Its MLflow run {run} was opened {store}, which a job at {place} cannot reach"
            + (f", and {without_credentials(given)}, which the job is given, does not have it" if given else "")
            + f". Run an MLflow server that this machine and the jobs reach, set {VARIABLE} to its URL in the "
            "environment of carsdepo and Dagster (export it before `carsdepo train`), "
            "or train on this machine (compute.place: local)."
        )
    if VARIABLE in defined and named is None and given is None:
        return {}  # a secret of the task definition, whose value nobody sees here
    if given is None:
        return {VARIABLE: _passed_on(place, own)}
    if run is not None and own is not None and _plain(given) != _plain(own):
        _ask(given, str(run), own, place, named is not None, warn)
    return {}


def _passed_on(place: str, own: str | None) -> str:
    """This installation's server, for the job."""
    remedy = f"Name a URL that the jobs reach as {VARIABLE} in [{place}.variables] of the file in CARSDEPO_COMPUTE"
    if own is None or not is_server(own):
        raise _refusal(f"It is to log to MLflow, and no server is named. {remedy}.")
    if has_credentials(own):
        raise _refusal(
            f"{VARIABLE} holds a password, which AWS would show to everybody who may describe the job. "
            + (
                f"Give it to the task by `secrets` of the task definition, as {VARIABLE}."
                if place == "ecs"
                else "Let the jobs reach the server without one, inside the VPC of `subnets`. " + remedy + "."
            )
        )
    host = urlsplit(own).hostname or ""
    if not _known_outside(host):
        raise _refusal(
            f"{VARIABLE} is {own}, and a job at {place} does not reach {host}, a name of this machine or its own "
            f"network. {remedy}; it may be another URL of the same server."
        )
    return own


def _ask(server: str, run: str, own: str, place: str, in_settings: bool, warn: Callable[[str], None]) -> None:
    """Asks a server whether it has the run: it may be the same under another name."""
    import httpx

    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    login = (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", "")) if user and not has_credentials(server) else None
    shown = without_credentials(server)
    try:
        url = f"{server.rstrip('/')}/api/2.0/mlflow/runs/get"
        answer = httpx.get(url, params={"run_id": run}, auth=login, timeout=_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        warn(
            f"The job is given the MLflow server {shown}, and this machine uses {without_credentials(own)}. Whether "
            f"the first has the run, nobody here can see ({type(error).__name__}): where it has not, the job fails."
        )
        return
    if answer.status_code == 404:
        raise _refusal(
            f"Its MLflow run {run} was opened at {without_credentials(own)}, and {shown}, which the job is given, does "
            f"not have it. Set {VARIABLE} of this installation to the same server, or correct it "
            f"{_where(place, in_settings)}."
        )
    if answer.status_code != 200:
        warn(f"The MLflow server {shown}, which the job is given, answers HTTP {answer.status_code} to this machine.")


def _where(place: str, in_settings: bool) -> str:
    return f"in [{place}.variables] of the file in CARSDEPO_COMPUTE" if in_settings else "in the task definition"


def _plain(url: str) -> tuple[str, str, int | None, str]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port, parts.path.rstrip("/")


def _known_outside(host: str) -> bool:
    """Whether machines elsewhere may know the host; jobs of an emulator are processes of this machine."""
    if any(
        _is_loopback(urlsplit(value).hostname or "")
        for name, value in os.environ.items()
        if name.startswith("AWS_ENDPOINT_URL")
    ):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." in host and not _is_loopback(host)
    return not _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _refusal(text: str) -> dg.Failure:
    return dg.Failure(f"The training was not started. {text}", allow_retries=False)
