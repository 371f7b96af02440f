"""registry/stored_versions.py: the SQLite file says what MLflow says."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from carsdepo_assets.registry.models import MODEL_NAME, register, versions
from carsdepo_assets.registry.stored_versions import stored_versions
from carsdepo_assets.registry.tracking import Tracking


def add(tracking: Tracking, digest: str, alias: str | None) -> None:
    register(
        tracking,
        digest=digest,
        lake_url="lake",
        dataset_version="d1",
        detector="yolov8n",
        figures={"map50": 0.5},
        run_id=None,
        alias=alias,
    )


@pytest.mark.slow
def test_it_equals_mlflow(tmp_path: Path) -> None:
    tracking = Tracking.at_home(tmp_path)
    database = tmp_path / "mlflow.db"
    tracking.experiment_id()
    assert stored_versions(database) == []
    for number in range(1, 12):  # two digits: sorted as numbers, not as text
        add(tracking, f"digest{number}", "candidate" if number % 2 else None)
    tracking.client.set_registered_model_alias(MODEL_NAME, "production", "3")
    tracking.client.delete_model_version(MODEL_NAME, "4")
    expected = versions(tracking)
    assert len(expected) == 10
    assert expected[2].aliases == ("production",)
    assert stored_versions(database) == expected


@pytest.mark.parametrize("content", [None, b"no database", b""])
def test_what_it_cannot_read_is_left_to_mlflow(tmp_path: Path, content: bytes | None) -> None:
    database = tmp_path / "mlflow.db"
    if content is not None:
        database.write_bytes(content)
    assert stored_versions(database) is None
    assert database.exists() == (content is not None)


def test_another_schema_is_left_to_mlflow(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "mlflow.db")
    connection.execute("create table model_versions (name text, version integer)")
    connection.commit()
    connection.close()
    assert stored_versions(tmp_path / "mlflow.db") is None
