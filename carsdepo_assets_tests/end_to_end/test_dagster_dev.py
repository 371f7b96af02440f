"""definitions.py under `dagster dev`: photographs and labels are dropped into raw/, and a candidate is registered."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from carsdepo_assets.demo.sample.write import write_sample
from carsdepo_assets.environments import resources
from carsdepo_assets.registry.models import versions
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.end_to_end.dagster_server import dagster_dev, free_port

POLICY = """
[data]
batch_max_age_s = 1
[training]
minutes = 0.3
debounce_s = 1
[evaluation]
floor_map50 = 0.0
"""


def _drop(sample: Path, settings: Settings, names: list[str], kind: str) -> None:
    suffix = ".jpg" if kind == "images" else ".txt"
    target = Path(settings.lake, "raw", "uploads" if kind == "images" else "labels", "web")
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(sample / kind / f"{name}{suffix}", target / f"{name}{suffix}")
    if kind == "images":
        shutil.copy(sample / "manifest.csv", target / "manifest.csv")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
def test_dropped_photographs_and_labels_become_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = tmp_path / "sample"
    write_sample(sample, 24, 5)
    names = sorted(p.stem for p in (sample / "images").iterdir())
    policy = tmp_path / "carsdepo.toml"
    policy.write_text(POLICY)
    settings = Settings.read(
        {"CARSDEPO_POLICY": str(policy), "CARSDEPO_DAGSTER_PORT": str(free_port())}, home=tmp_path / "home"
    )
    tracking = resources(settings)["tracking"].tracking()
    with dagster_dev(settings, tmp_path / "dagster.log") as server:
        _drop(sample, settings, names[:20], "images")
        _drop(sample, settings, names[:20], "labels")

        def succeeded(job: str, count: int) -> bool:
            statuses = [r["status"] for r in server.runs(job)]
            assert "FAILURE" not in statuses, server.log.read_text()[-6000:]
            return statuses.count("SUCCESS") >= count

        server.wait("an ingest of photographs", lambda: succeeded("ingest_uploads", 1), 120)
        server.wait("an ingest of labels", lambda: succeeded("ingest_labels", 1), 120)
        server.wait("a training under way", lambda: any(r["status"] == "STARTED" for r in server.runs("train")), 120)
        _drop(sample, settings, names[20:], "images")
        _drop(sample, settings, names[20:], "labels")  # while it trains
        server.wait("two trainings", lambda: succeeded("train", 2), 300)
        for sensor in ("new_uploads", "new_labels", "retrain"):
            ticks = server.ticks(sensor)
            assert "SUCCESS" in ticks, (sensor, ticks)
            assert "FAILURE" not in ticks, (sensor, ticks)
        first, second = sorted(server.runs("train"), key=lambda r: r["startTime"])[:2]
        late = server.runs("ingest_labels")[0]
        assert first["startTime"] < late["startTime"] < second["startTime"]
        assert len(server.materializations("registered_model")) >= 2
    found = versions(tracking)
    assert len(found) == 2
    assert found[-1].aliases == ("candidate",)
    assert len({v.dataset_version for v in found}) == 2
