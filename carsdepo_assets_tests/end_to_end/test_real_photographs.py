"""demo/train_loop.py on real photographs: a registered model, true figures, and no scene on both sides of a split."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from pathlib import Path, PurePosixPath

import pytest

from carsdepo_assets.commands.pipeline import Pipeline
from carsdepo_assets.demo import train_loop
from carsdepo_assets.environments import resources
from carsdepo_assets.lake.datasets import latest, read_manifest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry.models import versions
from carsdepo_assets.settings import Settings


@pytest.fixture
def photographs() -> Path:
    """The folder `cardamage`. Unset: skipped. Set and without photographs: a mistake that must not look like a pass."""
    root = os.environ.get("CARSDEPO_REAL_DATA")
    if root is None:
        pytest.skip("CARSDEPO_REAL_DATA is not set")
    folder = Path(root).resolve() / "cardamage"
    if not (folder / "images").is_dir() or not any((folder / "images").iterdir()):
        pytest.fail("CARSDEPO_REAL_DATA is set, but there are no photographs in cardamage/images below it")
    return folder


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.real
@pytest.mark.timeout(1200)
def test_the_loop_runs_on_real_photographs(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings.read({"CARSDEPO_POLICY_FOLDER": str(tmp_path)}, home=tmp_path / "home")
    for name, value in settings.variables().items():
        monkeypatch.setenv(name, value)  # Pipeline.open sets them too; this puts them back
    with Pipeline.open(settings) as pipeline:
        loop = train_loop.run(pipeline, photographs, minutes=0.5, detector="faster_rcnn", say=lambda text: None)

    [version] = versions(resources(settings)["tracking"].tracking())
    lake = Lake.open(settings.lake)
    dataset = latest(lake)
    assert dataset is not None
    assert version.dataset_version == dataset
    assert [step.name for step in loop.steps][-1] == "registered_model"

    with (photographs / "manifest.csv").open(newline="") as file:
        group = {row["file"]: row["group"] for row in csv.DictReader(file)}
    rows = read_manifest(lake, dataset).to_pylist()
    splits: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        splits[group[PurePosixPath(row["key"]).name]].add(row["split"])
    assert {name: sorted(found) for name, found in splits.items() if len(found) > 1} == {}
    assert {row["split"] for row in rows} == {"train", "val", "test"}

    tested = [row for row in rows if row["split"] == "test"]
    assert loop.figures["photographs"] == len(tested)
    assert loop.figures["boxes"] == sum(len(row["boxes"] or []) for row in tested) >= 100
    # A seventh of the folder's 109 groups are test: enough to resample whole groups for the interval.
    assert loop.figures["groups"] == len({row["group_id"] for row in tested}) >= 10
    assert 0 <= loop.figures["map50_low"] <= loop.figures["map50_high"] <= 1
    with capsys.disabled():
        print(f"\nreal-data: {len(list((photographs / 'images').iterdir()))} photographs")
