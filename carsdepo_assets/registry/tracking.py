"""MLflow runs: one for each Dagster run, found again by a tag. Without Dagster, since workers log through this too.

The `dagster_open` tag is 'true' until the final status of its Dagster run was copied (see `reconcile` in resources.py).
"""

from __future__ import annotations

import math
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock

from carsdepo_assets.certificates import trusted
from carsdepo_assets.lake.objects import write_atomic
from carsdepo_assets.redaction import without_credentials
from carsdepo_assets.registry import artifact_places

if TYPE_CHECKING:
    from mlflow import MlflowClient

DAGSTER_RUN_TAG = "dagster_run_id"  # dagster-mlflow's own name for it
OPEN_TAG = "dagster_open"
_ANSWER_S = 5.0  # for a server's first word; MLflow's own patience with one that is away is over four minutes
_LONGEST_NAME, _LONGEST_VALUE = 250, 5000  # characters that MLflow takes of a parameter
Terminal = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class OpenRun:
    """An MLflow run whose Dagster run's final status was not copied yet."""

    run_id: str
    """The run in MLflow."""
    dagster_run_id: str
    """The run in Dagster."""
    status: str
    """Its status in MLflow."""


@dataclass(frozen=True)
class Tracking:
    """Where MLflow keeps runs and model versions.

    Every method raises mlflow.exceptions.MlflowException when the store cannot be reached.
    """

    uri: str = field(repr=False)
    """URI of MLflow's tracking store; it may hold a password, so no repr shows it."""
    experiment: str = "carsdepo"
    """Name of the experiment that the runs belong to."""
    artifacts: Path | None = None
    """Folder for files, where the store is a SQLite file without a server; None: the server knows."""

    @classmethod
    def at_home(cls, home: Path, experiment: str = "carsdepo") -> Tracking:
        """The SQLite store under CARSDEPO_HOME."""
        home = home.resolve()
        home.mkdir(parents=True, exist_ok=True)
        return cls(f"sqlite:///{home / 'mlflow.db'}", experiment, home / artifact_places.FOLDER)

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's client for the store, whose tables are created where they are missing."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
        from mlflow import MlflowClient

        with self.lock():  # two first uses at once would both create the tables
            if self.artifacts is not None:
                self._create_at_once(Path(self.uri.removeprefix("sqlite:///")))
            client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            client.get_experiment_by_name(self.experiment)
            if self.artifacts is not None:
                artifact_places.make_relative(Path(self.uri.removeprefix("sqlite:///")))
        return client

    def absence(self) -> str | None:
        """Why a server cannot be asked: it does not answer. None where it does, whatever it says, and for SQLite.

        Who waits for an answer asks this first, since MLflow's client tries again for minutes and says nothing.
        """
        if not self.uri.startswith(("http://", "https://")):
            return None
        answer = server_health(self.uri)
        if isinstance(answer, int):
            return None
        return (
            f"the MLflow server {without_credentials(self.uri)} does not answer ({answer}): start it, or correct "
            "CARSDEPO_MLFLOW"
        )

    def _create_at_once(self, file: Path) -> None:
        """Creates the SQLite file with all its tables, or not at all: MLflow's own steps cannot be taken up after a
        kill."""
        if file.exists():
            return
        from mlflow import MlflowClient

        with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=file.parent) as folder:
            uri = f"sqlite:///{Path(folder) / 'mlflow.db'}"
            MlflowClient(tracking_uri=uri, registry_uri=uri).get_experiment_by_name(self.experiment)
            whole = Path(folder) / "whole.db"
            with closing(sqlite3.connect(Path(folder) / "mlflow.db")) as built, closing(sqlite3.connect(whole)) as copy:
                built.backup(copy)
            whole.replace(file)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lets one process of this machine at a time write what must exist once; no lock where there is a server."""
        if self.artifacts is None:
            yield
            return
        self.artifacts.mkdir(parents=True, exist_ok=True)
        with FileLock(self.artifacts / ".lock", timeout=120):
            yield

    def experiment_id(self) -> str:
        """The id of the experiment, which is created where it is missing."""
        client = self.client
        experiment = client.get_experiment_by_name(self.experiment)
        if experiment is None:
            with self.lock():
                experiment = client.get_experiment_by_name(self.experiment)
                if experiment is None:
                    location = artifact_places.ROOT if self.artifacts else None
                    return str(client.create_experiment(self.experiment, artifact_location=location))
        return str(experiment.experiment_id)

    def find(self, dagster_run_id: str) -> str | None:
        """The MLflow run of a Dagster run; None where there is none."""
        runs = self.client.search_runs(
            [self.experiment_id()],
            f"tags.{DAGSTER_RUN_TAG} = '{dagster_run_id}'",
            max_results=1,
            order_by=["attributes.start_time ASC"],
        )
        return str(runs[0].info.run_id) if runs else None

    def begin(
        self,
        dagster_run_id: str | None,
        name: str,
        tags: Mapping[str, str] | None = None,
        *,
        rename: bool = False,
        find: Callable[[str], str | None] | None = None,
    ) -> str:
        """Opens the MLflow run of a Dagster run: the one that it has (after a retry, in a second step), else a new one.

        Args:
            dagster_run_id: The run in Dagster; None always opens a new MLflow run.
            name: The name of a new run.
            tags: Tags that the run gets.
            rename: Whether a run that exists gets the name too.
            find: Looks the MLflow run of a Dagster run up; None: this class's own lookup, which needs no Dagster.

        Returns:
            The id of the MLflow run, whose status is RUNNING.
        """
        experiment = self.experiment_id()
        tags = dict(tags or {})
        if dagster_run_id is None:
            return str(self.client.create_run(experiment, tags=tags, run_name=name).info.run_id)
        tags |= {DAGSTER_RUN_TAG: dagster_run_id, OPEN_TAG: "true"}
        with self.lock():
            run_id = (find or self.find)(dagster_run_id)
            if run_id is None:
                return str(self.client.create_run(experiment, tags=tags, run_name=name).info.run_id)
        self.client.update_run(run_id, status="RUNNING", name=name if rename else None)
        for key, value in tags.items():
            self.client.set_tag(run_id, key, value)
        return run_id

    def log_row(self, run_id: str, row: Mapping[str, float], step: int) -> None:
        """Logs an epoch's numbers by name; those that are not finite are left out, since SQLite stores keep no NaN."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(k, float(v), now, step) for k, v in row.items() if math.isfinite(v)]
        self.client.log_batch(run_id, metrics=metrics)

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Logs parameters as text, as MLflow takes them: names of letters, digits and some signs, and neither too long.

        A repeated run may log them again: MLflow raises only where a value has changed.
        """
        from mlflow.entities import Param

        logged = self.client.get_run(run_id).data.params
        allowed = {
            "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in k)[:_LONGEST_NAME]: str(v)[:_LONGEST_VALUE]
            for k, v in params.items()
        }
        new = [Param(k, v) for k, v in allowed.items() if logged.get(k) != v]
        for start in range(0, len(new), 100):
            self.client.log_batch(run_id, params=new[start : start + 100])

    def log_text(self, run_id: str, text: str, file: str) -> str:
        """Writes a small file to the run's artifacts and returns its URI."""
        uri = f"{self.client.get_run(run_id).info.artifact_uri}/{file}"
        path = artifact_places.path_below(self.artifacts, uri) if self.artifacts else None
        if path is not None:
            write_atomic(path, text.encode())
        else:
            self.client.log_text(run_id, text, file)
        return uri

    def status(self, run_id: str) -> str:
        """A run's status in MLflow's words: RUNNING, FINISHED, FAILED or KILLED."""
        return str(self.client.get_run(run_id).info.status)

    def end(self, run_id: str, status: Terminal, *, settled: bool = False) -> None:
        """Ends a run with a status. settled: its Dagster run is over too, so that the status is final."""
        if self.status(run_id) != status:
            self.client.set_terminated(run_id, status)
        if settled:
            self.client.set_tag(run_id, OPEN_TAG, "false")

    def open_runs(self) -> list[OpenRun]:
        """Runs whose Dagster run's final status was not copied yet."""
        runs: list[OpenRun] = []
        token: str | None = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id()], f"tags.{OPEN_TAG} = 'true'", max_results=500, page_token=token
            )
            runs += [OpenRun(r.info.run_id, r.data.tags[DAGSTER_RUN_TAG], r.info.status) for r in page]
            token = page.token
            if not token:
                return runs


def server_health(server: str) -> int | str:
    """The status with which an MLflow server answers /health, or the kind of the error where it does not answer.

    Args:
        server: its URL; it may hold a password.
    """
    import httpx

    try:
        return httpx.get(f"{server.rstrip('/')}/health", timeout=_ANSWER_S, verify=trusted()).status_code
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # the latter: no name that DNS could have
        return type(error).__name__
