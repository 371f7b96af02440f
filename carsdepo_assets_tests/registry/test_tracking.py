"""registry/tracking.py and resources.py: one MLflow run for a Dagster run, with the same status."""

import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import dagster as dg
import httpx
import pytest

from carsdepo_assets.registry.resources import MlflowTracking, find_by_dagster_mlflow
from carsdepo_assets.registry.tracking import Tracking


def test_a_run_is_found_again_and_runs_again(tracking: Tracking) -> None:
    first = tracking.begin("dagster-1", "train", {"why": "test"})
    tracking.end(first, "FAILED")
    assert tracking.status(first) == "FAILED"
    assert tracking.begin("dagster-1", "train") == first
    assert tracking.status(first) == "RUNNING"
    assert tracking.begin("dagster-2", "train") != first
    assert tracking.client.get_run(first).info.run_name == "train"
    assert tracking.begin("dagster-1", "yolov8n, 700 photographs", rename=True) == first
    assert tracking.client.get_run(first).info.run_name == "yolov8n, 700 photographs"
    tracking.begin("dagster-1", "train")  # a later step, which does not know what the run is
    assert tracking.client.get_run(first).info.run_name == "yolov8n, 700 photographs"
    assert tracking.find("dagster-1") == first
    assert tracking.find("dagster-3") is None


@pytest.mark.parametrize("place", ["/nobody", ":9/", "me:secret-word@"])
def test_a_server_that_is_away_is_named_without_mlflows_patience(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(url: str, **given: object) -> httpx.Response:
        assert url.endswith("/health")
        raise httpx.ConnectError("Connection refused")

    monkeypatch.setattr(httpx, "get", refused)
    host = f"{place}mlflow.internal" if place.endswith("@") else f"mlflow.internal{place}"
    absence = Tracking(f"http://{host}").absence()
    assert absence is not None
    assert "mlflow.internal" in absence
    assert "does not answer (ConnectError): start it, or correct CARSDEPO_MLFLOW" in absence
    assert "secret-word" not in absence


@pytest.mark.parametrize(("address", "error"), [("mlflow:port", "InvalidURL"), ("..mlflow", "UnicodeError")])
def test_an_address_that_names_no_server_is_one_that_is_away(address: str, error: str) -> None:
    assert f"does not answer ({error})" in str(Tracking(f"http://{address}").absence())


@pytest.mark.parametrize("status", [200, 403, 404, 503])
def test_a_server_that_answers_anything_is_there(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpx, "get", lambda url, **given: httpx.Response(status))
    assert Tracking("http://mlflow.internal:5000").absence() is None


def test_sqlite_is_never_away(tracking: Tracking) -> None:
    assert tracking.absence() is None


def test_runs_begun_at_once_are_one(tracking: Tracking) -> None:
    runs: list[str] = []
    threads = [threading.Thread(target=lambda: runs.append(tracking.begin("dagster-1", "train"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs) == 4
    assert len(set(runs)) == 1


def test_everything_lies_at_home(tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    run = tracking.begin(None, "own")
    uri = tracking.log_text(run, "small", "model/where.json")
    assert uri == f"mlflow-artifacts:/{run}/artifacts/model/where.json"
    assert (tmp_path / "mlartifacts" / run / "artifacts/model/where.json").read_text() == "small"
    assert list(elsewhere.iterdir()) == []


def test_rows_are_metrics_by_epoch_and_nan_is_left_out(tracking: Tracking) -> None:
    run = tracking.begin(None, "own")
    for epoch, loss in [(1, 2.0), (2, math.nan), (3, 1.0)]:
        tracking.log_row(run, {"loss": loss, "val_map50": 0.1 * epoch}, step=epoch)
    losses = [(m.step, m.value) for m in tracking.client.get_metric_history(run, "loss")]
    assert losses == [(1, 2.0), (3, 1.0)]
    assert len(tracking.client.get_metric_history(run, "val_map50")) == 3
    tracking.log_row(run, {}, step=4)


def test_parameters_may_be_said_again_unchanged(tracking: Tracking) -> None:
    run = tracking.begin(None, "own")
    many = {f"p{i}": i for i in range(150)}
    tracking.log_params(run, many)
    tracking.log_params(run, many)
    assert len(tracking.client.get_run(run).data.params) == 150


def test_parameters_are_cut_to_what_mlflow_takes(tracking: Tracking) -> None:
    run = tracking.begin(None, "own")
    for _ in range(2):
        tracking.log_params(run, {"study." + "é$(" * 200: "v" * 9000})
    [(name, value)] = tracking.client.get_run(run).data.params.items()
    assert (len(name), len(value)) == (250, 5000)
    assert name.startswith("study.é__é__")


@pytest.mark.parametrize(("fails", "expected"), [(False, "FINISHED"), (True, "FAILED")])
@pytest.mark.parametrize("last", [True, False])
def test_mlflow_says_what_dagster_says(fails: bool, expected: str, last: bool, home: Path) -> None:
    """The second asset fails, after the first has ended its part well."""
    seen: list[str] = []

    @dg.asset
    def first(context: dg.AssetExecutionContext, mlflow: MlflowTracking) -> None:
        with mlflow.during(context) as run_id:
            seen.append(run_id)
        assert mlflow.tracking().status(run_id) == "RUNNING"

    @dg.asset(deps=[first])
    def second(context: dg.AssetExecutionContext, mlflow: MlflowTracking) -> None:
        with mlflow.during(context, last=last) as run_id:
            seen.append(run_id)
            if fails:
                raise ValueError("on purpose")

    mlflow = MlflowTracking(home=str(home))
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([first, second], instance=instance, resources={"mlflow": mlflow}, raise_on_error=False)
        assert result.success is not fails
        assert seen[0] == seen[1] == mlflow.find(result.run_id)
        status = mlflow.tracking().status(seen[0])
        assert status == expected or (not last and status == "RUNNING")
        mlflow.reconcile(instance)
        assert mlflow.tracking().status(seen[0]) == expected
        assert mlflow.tracking().open_runs() == []
        assert mlflow.reconcile(instance) == {}


@pytest.mark.filterwarnings("ignore:Function `_create_mlflow_run_hook` is currently in beta")  # on its first import
def test_the_run_is_found_by_dagster_mlflow_and_its_address_stays_in_this_process(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow exports the address of its store, which may hold a password, to child processes."""
    from dagster_mlflow.resources import MlFlow

    lookup, asked = MlFlow._get_current_run_id, []

    def recorded(self: MlFlow, experiment: object, dagster_run_id: str) -> str | None:
        asked.append((dagster_run_id, os.environ["MLFLOW_TRACKING_URI"]))
        return lookup(self, experiment, dagster_run_id)

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(MlFlow, "_get_current_run_id", recorded)

    @dg.asset
    def model(context: dg.AssetExecutionContext, mlflow: MlflowTracking) -> None:
        with mlflow.during(context, last=True):
            assert "MLFLOW_TRACKING_URI" not in os.environ

    mlflow = MlflowTracking(home=str(home))
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([model], instance=instance, resources={"mlflow": mlflow})
    assert asked == [(result.run_id, mlflow.tracking().uri)]


def test_threads_that_look_at_once_each_ask_their_own_store(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    stores = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(empty_store, tmp_path / name / "mlflow.db")
        stores.append(Tracking.at_home(tmp_path / name))
    runs = [store.begin("run", "train") for store in stores]

    def look(n: int) -> bool:
        return find_by_dagster_mlflow(stores[n % 2], "run") == runs[n % 2]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(look, range(12)))
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_a_failure_outside_the_block_is_told_by_reconcile(home: Path) -> None:
    @dg.asset
    def model(context: dg.AssetExecutionContext, mlflow: MlflowTracking) -> None:
        with mlflow.during(context, last=True):
            pass
        raise ValueError("after MLflow was told that all is well")

    mlflow = MlflowTracking(home=str(home))
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([model], instance=instance, resources={"mlflow": mlflow}, raise_on_error=False)
        run_id = mlflow.find(result.run_id)
        assert run_id is not None
        assert mlflow.reconcile(instance) == {run_id: "FAILED"}
        assert mlflow.tracking().status(run_id) == "FAILED"


def test_runs_of_another_instance_are_left_alone(home: Path) -> None:
    mlflow = MlflowTracking(home=str(home))
    run = mlflow.tracking().begin("of-another-instance", "train")
    with dg.DagsterInstance.ephemeral() as instance:
        assert mlflow.reconcile(instance) == {}
    assert mlflow.tracking().status(run) == "RUNNING"


_FIRST_USE = """
import sys
from pathlib import Path
from carsdepo_assets.registry.tracking import Tracking
print(Tracking.at_home(Path(sys.argv[1])).client.search_experiments()[0].name)
"""


@pytest.mark.slow
@pytest.mark.parametrize("tables", [1, 12])
def test_a_first_use_that_is_killed_leaves_nothing_that_breaks_the_next(tmp_path: Path, tables: int) -> None:
    home = tmp_path / "home"
    first = subprocess.Popen([sys.executable, "-c", _FIRST_USE, str(home)], stdout=subprocess.DEVNULL)
    while first.poll() is None:  # until MLflow has created some of its tables
        built = next(iter(home.glob(".mlflow-*/mlflow.db")), None)
        if built is not None and _tables(built) >= tables:
            first.kill()
    assert first.wait() == -signal.SIGKILL
    assert not (home / "mlflow.db").exists()
    tracking = Tracking.at_home(home)
    assert tracking.begin("dagster-1", "train") == tracking.begin("dagster-1", "train")


def _tables(file: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=0)) as database:
            return int(database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0])
    except sqlite3.Error:
        return 0
