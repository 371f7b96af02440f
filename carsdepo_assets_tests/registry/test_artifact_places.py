"""registry/artifact_places.py: what MLflow's store says of places holds wherever the home lies.

Absolute places of an earlier version are replaced.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from carsdepo_assets.registry import artifact_places, models
from carsdepo_assets.registry.tracking import Tracking


def texts(home: Path) -> set[str]:
    """Every text in every row of the store."""
    with sqlite3.connect(home / "mlflow.db") as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for name in tables for row in connection.execute(f'SELECT * FROM "{name}"')]
    return {value for row in rows for value in row if isinstance(value, str)}


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    places = (p for p in folder.rglob("*") if p.is_file())
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in places}


def register(tracking: Tracking, run: str, digest: str, home: Path) -> models.ModelVersion:
    return models.register(
        tracking, digest=digest, lake_url=str(home / "lake"), dataset_version="d1", detector="yolov8n", figures={},
        run_id=run,
    )  # fmt: skip


@pytest.fixture
def old(empty_store: Path, tmp_path: Path) -> Path:
    """A home as the version before made it, in a folder whose name is that of the lake's; one run, one model."""
    home = tmp_path / "models" / "ol d"
    home.mkdir(parents=True)
    shutil.copy(empty_store, home / "mlflow.db")
    client = Tracking(f"sqlite:///{home / 'mlflow.db'}").client
    place = (home / "mlartifacts").as_uri()
    experiment = client.create_experiment("carsdepo", artifact_location=place)
    run = client.create_run(experiment, run_name="train").info.run_id
    client.log_text(run, "{}", "model/where.json")
    folder = home / "lake/models/aaaa1111"
    tags = {"digest": "aaaa1111", "lake_uri": str(folder), "lineage_uri": f"{folder}/lineage.json"}
    tags |= {"dataset_version": "d1", "figures": "{}"}
    client.create_registered_model("carsdepo")
    client.create_model_version("carsdepo", f"{place}/{run}/artifacts/model", run_id=run, tags=tags)
    mine = client.create_experiment("mine", artifact_location=(tmp_path / "mine").as_uri())
    client.log_text(client.create_run(mine).info.run_id, "of a person", "own.txt")
    with sqlite3.connect(home / "mlflow.db") as connection:
        connection.execute("UPDATE experiments SET artifact_location = '/somewhere/mlruns/0' WHERE experiment_id = 0")
    return home


def test_no_place_of_the_home_is_kept(tracking: Tracking, home: Path) -> None:
    run = tracking.begin("dagster-1", "train")
    register(tracking, run, "aaaa1111", home)
    assert [text for text in texts(home) if str(home) in text] == []
    assert [str(home) in data.decode() for name, (_, data) in files(home).items() if name.endswith(".json")] == [False]


@pytest.mark.parametrize("stays", [True, False])
def test_a_home_of_the_version_before_works_where_it_lies_now(old: Path, tmp_path: Path, stays: bool) -> None:
    new, before = tmp_path / "new", files(old)
    if stays:
        shutil.copytree(old, new)
    else:
        old.rename(new)
    tracking = Tracking.at_home(new)
    (version,) = models.versions(tracking)
    assert (version.lake_uri, version.lineage_uri) == ("models/aaaa1111", "models/aaaa1111/lineage.json")
    run = tracking.begin("dagster-2", "train")
    register(tracking, run, "bbbb2222", new)
    for version in models.versions(tracking):
        source = tracking.client.get_model_version("carsdepo", str(version.version)).source
        assert source == tracking.client.get_run(version.run_id).info.artifact_uri + "/model"
        folder = artifact_places.path_below(new / "mlartifacts", source)
        assert folder is not None
        assert (folder / "where.json").is_file()
    assert [text for text in texts(new) if str(old) in text or str(new) in text or "somewhere" in text] == []
    assert files(old) == (before if stays else {})
    assert old.exists() is stays
    # What a person logged elsewhere is there still.
    (mine,) = tracking.client.search_runs([tracking.client.get_experiment_by_name("mine").experiment_id])
    assert [f.path for f in tracking.client.list_artifacts(mine.info.run_id)] == ["own.txt"]


def test_once_is_enough(old: Path) -> None:
    # Of experiments (Default and ours), a run, a version's source and its storage, and two tags.
    assert artifact_places.make_relative(old / "mlflow.db") == 7
    before = files(old)
    assert artifact_places.make_relative(old / "mlflow.db") == 0
    assert files(old) == before


def test_killed_in_the_middle_nothing_has_changed(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, before = artifact_places._rewrite, texts(old)

    def killed(connection: sqlite3.Connection) -> int:
        real(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr(artifact_places, "_rewrite", killed)
    with pytest.raises(KeyboardInterrupt):
        artifact_places.make_relative(old / "mlflow.db")
    assert texts(old) == before
