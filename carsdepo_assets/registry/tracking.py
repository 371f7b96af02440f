"""MLflow runs: one for each Dagster run, found again by its tag. No Dagster here: workers log through this too.

The `dagster_open` tag is 'true' until the run's Dagster run has had its last word (see resources.py's reconcile).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock

from carsdepo_assets.lake.objects import write_atomic
from carsdepo_assets.registry import artifact_places

if TYPE_CHECKING:
    from mlflow import MlflowClient

DAGSTER_RUN_TAG = "dagster_run_id"  # dagster-mlflow's own name for it
OPEN_TAG = "dagster_open"
Terminal = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class OpenRun:
    run_id: str
    dagster_run_id: str
    status: str


@dataclass(frozen=True)
class Tracking:
    """uri: MLflow's tracking store; it may hold a password, so no repr has it. artifacts: where a store without a
    server beside its SQLite file keeps files (None: a server knows).

    Raises mlflow.exceptions.MlflowException when the store cannot be reached.
    """

    uri: str = field(repr=False)
    experiment: str = "carsdepo"
    artifacts: Path | None = None

    @classmethod
    def at_home(cls, home: Path, experiment: str = "carsdepo") -> Tracking:
        """The SQLite store under CARSDEPO_HOME."""
        home = home.resolve()
        home.mkdir(parents=True, exist_ok=True)
        return cls(f"sqlite:///{home / 'mlflow.db'}", experiment, home / artifact_places.FOLDER)

    @cached_property
    def client(self) -> MlflowClient:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
        from mlflow import MlflowClient

        with self.lock():  # two first uses at once would both create the tables
            client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            client.get_experiment_by_name(self.experiment)
            if self.artifacts is not None:
                artifact_places.make_relative(Path(self.uri.removeprefix("sqlite:///")))
        return client

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One writer of what must exist once, among the processes of this machine; a server has none to offer."""
        if self.artifacts is None:
            yield
            return
        self.artifacts.mkdir(parents=True, exist_ok=True)
        with FileLock(self.artifacts / ".lock", timeout=120):
            yield

    def experiment_id(self) -> str:
        """Makes the experiment when it is not there."""
        client = self.client
        found = client.get_experiment_by_name(self.experiment)
        if found is None:
            with self.lock():
                found = client.get_experiment_by_name(self.experiment)
                if found is None:
                    location = artifact_places.ROOT if self.artifacts else None
                    return str(client.create_experiment(self.experiment, artifact_location=location))
        return str(found.experiment_id)

    def find(self, dagster_run_id: str) -> str | None:
        """The MLflow run of a Dagster run."""
        runs = self.client.search_runs(
            [self.experiment_id()],
            f"tags.{DAGSTER_RUN_TAG} = '{dagster_run_id}'",
            max_results=1,
            order_by=["attributes.start_time ASC"],
        )
        return str(runs[0].info.run_id) if runs else None

    def begin(
        self, dagster_run_id: str | None, name: str, tags: Mapping[str, str] | None = None, *, rename: bool = False
    ) -> str:
        """The run, RUNNING: the Dagster run's own where it has one already (a retry, a second step), else a new one.

        rename: the name goes before one that the run has already.
        """
        experiment = self.experiment_id()
        tags = dict(tags or {})
        if dagster_run_id is None:
            return str(self.client.create_run(experiment, tags=tags, run_name=name).info.run_id)
        tags |= {DAGSTER_RUN_TAG: dagster_run_id, OPEN_TAG: "true"}
        with self.lock():
            found = self.find(dagster_run_id)
            if found is None:
                return str(self.client.create_run(experiment, tags=tags, run_name=name).info.run_id)
        self.client.update_run(found, status="RUNNING", name=name if rename else None)
        for key, value in tags.items():
            self.client.set_tag(found, key, value)
        return found

    def log_row(self, run_id: str, row: Mapping[str, float], step: int) -> None:
        """One epoch's numbers; those that are not finite are left out (SQLite stores keep no NaN)."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(k, float(v), now, step) for k, v in row.items() if math.isfinite(v)]
        self.client.log_batch(run_id, metrics=metrics)

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Parameters as text. A repeated run may say them again: unchanged ones are left, changed ones raise."""
        from mlflow.entities import Param

        known = self.client.get_run(run_id).data.params
        new = [Param(k, str(v)) for k, v in params.items() if known.get(k) != str(v)]
        for start in range(0, len(new), 100):
            self.client.log_batch(run_id, params=new[start : start + 100])

    def log_text(self, run_id: str, text: str, file: str) -> str:
        """A small file in the run's artifacts; returns its URI."""
        uri = f"{self.client.get_run(run_id).info.artifact_uri}/{file}"
        path = artifact_places.path_below(self.artifacts, uri) if self.artifacts else None
        if path is not None:
            write_atomic(path, text.encode())
        else:
            self.client.log_text(run_id, text, file)
        return uri

    def status(self, run_id: str) -> str:
        return str(self.client.get_run(run_id).info.status)

    def end(self, run_id: str, status: Terminal, *, settled: bool = False) -> None:
        """Sets the run's end. settled: the Dagster run is over too, so that no one need look again."""
        if self.status(run_id) != status:
            self.client.set_terminated(run_id, status)
        if settled:
            self.client.set_tag(run_id, OPEN_TAG, "false")

    def open_runs(self) -> list[OpenRun]:
        """Runs whose Dagster run has not had its last word yet."""
        found: list[OpenRun] = []
        token: str | None = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id()], f"tags.{OPEN_TAG} = 'true'", max_results=500, page_token=token
            )
            found += [OpenRun(r.info.run_id, r.data.tags[DAGSTER_RUN_TAG], r.info.status) for r in page]
            token = page.token
            if not token:
                return found
