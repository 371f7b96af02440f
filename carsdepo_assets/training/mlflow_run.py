"""The MLflow run that a training logs to: found in the store that its job reaches, or opened there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from carsdepo_assets.compute.worker.process import SpecError
from carsdepo_assets.redaction import without_credentials
from carsdepo_assets.registry.tracking import Tracking

# MLflow's own 7 attempts of 120 s hold a job whose server is not there for minutes that cost money.
_FIRST_QUESTION = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class MlflowSpec(BaseModel):
    """What the training is logged as in MLflow: in the store that CARSDEPO_MLFLOW names, or below CARSDEPO_HOME."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiment: str = "carsdepo"
    run_id: str | None = Field(
        None, description="the run to log to, which its owner ends; None: the worker begins and ends a run of its own"
    )


class MlflowError(RuntimeError):
    """The run cannot be logged to; the message says where it was sought and what to do."""


@contextmanager
def tracked(spec: MlflowSpec | None, name: Callable[[], str]) -> Iterator[tuple[Tracking | None, str | None]]:
    """The MLflow run to log to. One opened here ends here: FINISHED, FAILED, or KILLED when told to stop.

    Args:
        spec: what to log to; None: nothing is logged.
        name: of a run that is opened here.

    Raises:
        SpecError: no store is named.
        MlflowError: the store cannot be reached, or does not have the run.
    """
    if spec is None:
        yield None, None
        return
    server, home = os.environ.get("CARSDEPO_MLFLOW"), os.environ.get("CARSDEPO_HOME")
    if server:
        tracking = Tracking(server, spec.experiment)
    elif home:
        tracking = Tracking.at_home(Path(home), spec.experiment)
    else:
        raise SpecError(
            "the training is to be logged in MLflow, and neither CARSDEPO_MLFLOW (a server) nor CARSDEPO_HOME is set: "
            "set CARSDEPO_MLFLOW where carsdepo and Dagster run, or name the server in `variables` of this place, in "
            "the file that CARSDEPO_COMPUTE names."
        )
    _look(tracking, spec.run_id)
    if spec.run_id is not None:
        yield tracking, spec.run_id
        return
    run_id = tracking.begin(None, name())
    try:
        yield tracking, run_id
    except (KeyboardInterrupt, SystemExit):
        tracking.end(run_id, "KILLED")
        raise
    except Exception:
        tracking.end(run_id, "FAILED")
        raise
    tracking.end(run_id, "FINISHED")


def _look(tracking: Tracking, run_id: str | None) -> None:
    """Asks the store for the run, or only whether it answers, before anything is trained."""
    from mlflow.exceptions import MlflowException

    server = without_credentials(tracking.uri)
    try:
        with _patience():
            client = tracking.client
            if run_id is not None:
                client.get_run(run_id)
    except MlflowException as error:
        if run_id is not None and error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise MlflowError(
                f"the MLflow store {server} has no run {run_id}: let CARSDEPO_MLFLOW name the same server here and "
                "where carsdepo and Dagster run, which opened the run."
            ) from error
        raise MlflowError(
            f"the MLflow server {server}, which CARSDEPO_MLFLOW names, cannot be used from this job: let it name a URL "
            "that the job reaches, in `variables` of this place in the file that CARSDEPO_COMPUTE names, and look at "
            f"the job's subnets and security groups. MLflow says: {error}"
        ) from error


@contextmanager
def _patience() -> Iterator[None]:
    """Lets MLflow give up sooner, unless the environment says how long it tries."""
    ours = {name: value for name, value in _FIRST_QUESTION.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
