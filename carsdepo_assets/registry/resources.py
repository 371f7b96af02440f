"""MLflow and the keys of models as Dagster resources.

Each Dagster run has one MLflow run, which ends with the same status. This holds for runs that are killed, too.

dagster-mlflow finds the run by its tag, and that lookup is used here. The rest of its resource is not: its constructor
makes the run the process's active one (a second Dagster run in that process is then logged to the first), and its end
knows only the exception of the process it is in (a failed step's run is FINISHED under the multiprocess executor).
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dagster as dg
from dagster import DagsterExecutionInterruptedError, DagsterInstance, DagsterRunStatus
from pydantic import Field

from carsdepo_assets.registry.signatures import SigningKeys
from carsdepo_assets.registry.tracking import Terminal, Tracking

TERMINAL: dict[DagsterRunStatus, Terminal] = {
    DagsterRunStatus.SUCCESS: "FINISHED",
    DagsterRunStatus.FAILURE: "FAILED",
    DagsterRunStatus.CANCELED: "KILLED",
}
_STORE_VARIABLE = "MLFLOW_TRACKING_URI"
_GLOBAL_STORE = threading.Lock()  # one thread at a time asks MLflow's global store


class MlflowTracking(dg.ConfigurableResource):
    """Where MLflow keeps runs and model versions: on a server, or in a SQLite file in the home folder."""

    home: str = Field(description="CARSDEPO_HOME: mlflow.db and mlartifacts/ lie there")
    uri: str | None = Field(
        default=None, description="an MLflow server's, as EnvVar: it may hold a password; None: SQLite in home"
    )
    experiment: str = "carsdepo"

    def tracking(self) -> Tracking:
        """The same store for code that does not use Dagster."""
        # Used outside Dagster (the commands do), a resource's EnvVar is not resolved.
        uri = self.uri.get_value() if isinstance(self.uri, dg.EnvVar) else self.uri
        if uri is not None:
            return Tracking(uri, self.experiment)
        return Tracking.at_home(Path(self.home), self.experiment)

    def find(self, dagster_run_id: str) -> str | None:
        """The MLflow run of a Dagster run; None where there is none."""
        return find_by_dagster_mlflow(self.tracking(), dagster_run_id)

    @contextmanager
    def during(
        self,
        context: dg.AssetExecutionContext | dg.OpExecutionContext,
        *,
        last: bool = False,
        tags: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> Iterator[str]:
        """Opens the MLflow run of the Dagster run for the time of a step.

        An error sets the status FAILED, an interruption KILLED. After a success it stays RUNNING, since other steps
        may follow, unless the step is the last one. `reconcile` later sets the status that the Dagster run ended with.

        Args:
            context: The step's context.
            last: Whether this is the job's last step that logs to MLflow.
            tags: Tags that the run gets.
            name: A name for people; None keeps the name that the run has, at first the job's.

        Yields:
            The id of the MLflow run.
        """
        tracking = self.tracking()
        tags = {"dagster_job": context.run.job_name, **(tags or {})}
        run_id = tracking.begin(
            context.run.run_id,
            name or context.run.job_name,
            tags,
            rename=name is not None,
            find=partial(find_by_dagster_mlflow, tracking),
        )
        try:
            yield run_id
        except (DagsterExecutionInterruptedError, KeyboardInterrupt, SystemExit):
            tracking.end(run_id, "KILLED")
            raise
        except Exception:
            tracking.end(run_id, "FAILED")
            raise
        if last:
            tracking.end(run_id, "FINISHED")

    def reconcile(self, instance: DagsterInstance) -> dict[str, str]:
        """Gives every open MLflow run the status that its Dagster run ended with.

        Runs of another Dagster instance on a shared MLflow server are left alone.

        Returns:
            The new status by MLflow run, of the runs whose status changed.
        """
        tracking = self.tracking()
        changed: dict[str, str] = {}
        for run in tracking.open_runs():
            dagster_run = instance.get_run_by_id(run.dagster_run_id)
            if dagster_run is None or not dagster_run.is_finished:
                continue
            status = TERMINAL[dagster_run.status]
            tracking.end(run.run_id, status, settled=True)
            if run.status != status:
                changed[run.run_id] = status
        return changed


class ModelSigning(dg.ConfigurableResource):
    """The keys that models are signed with. The services need the public one alone."""

    private: str = Field(description="path of the private key; a pair of keys is made where there is none")
    public: str = Field(description="path of the public key")

    def key_pair(self) -> SigningKeys:
        """The same for code that does not use Dagster."""
        return SigningKeys(Path(self.private), Path(self.public))


def find_by_dagster_mlflow(tracking: Tracking, dagster_run_id: str) -> str | None:
    """Finds the MLflow run of a Dagster run by dagster-mlflow's lookup, which retries on a busy server.

    The lookup asks MLflow's global store. It is set for that time alone: MLflow also writes its address, which may hold
    a password, into the environment, which child processes would inherit.

    Args:
        tracking: The store. Its client is used, so that a caller may hold the store's lock.
        dagster_run_id: The run in Dagster.

    Returns:
        The id of the MLflow run; None where there is none.
    """
    experiment = tracking.client.get_experiment(tracking.experiment_id())
    import mlflow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dagster-mlflow announces on import that it is in beta
        from dagster_mlflow.resources import MlFlow
    with _GLOBAL_STORE:
        before = os.environ.get(_STORE_VARIABLE)
        mlflow.set_tracking_uri(tracking.uri)
        try:
            # Without __init__: it would activate the run. The lookup uses nothing of the object.
            run_id = MlFlow._get_current_run_id(MlFlow.__new__(MlFlow), experiment, dagster_run_id)
        finally:
            mlflow.set_tracking_uri(before)
    return None if run_id is None else str(run_id)
