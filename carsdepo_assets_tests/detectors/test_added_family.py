"""detectors/looped_detector.py, training_loop.py and families/registry.py: a family that is added in under 60 lines.

It keeps the contract of the built-in ones, in this process by `register` and in others by an entry point.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from carsdepo_assets.detectors.checkpoints import CHECKPOINT_FORMAT, fingerprint, write_torch
from carsdepo_assets.families.registry import register, unregister
from carsdepo_assets_tests.detectors import cells_family
from carsdepo_assets_tests.detectors.family_contract import check_champion, check_export, check_training, recipe_of
from carsdepo_assets_tests.detectors.scenes import scenes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _cells() -> Iterator[None]:
    register(cells_family.FAMILY)
    yield
    unregister("cells")


def test_its_code_has_under_60_lines() -> None:
    lines = inspect.getsource(cells_family).splitlines()
    assert len([line for line in lines if line.strip()]) < 60


def test_it_trains_resumes_exports_and_serves(tmp_path: Path) -> None:
    model = check_training("cells", tmp_path, lr=0.01)
    check_champion("cells", model, tmp_path, 96, ("scratch", "dent", "crack"))
    check_export("cells", model, tmp_path)


def test_a_validation_without_boxes_is_no_figure(tmp_path: Path) -> None:
    data = scenes(tmp_path / "images", 4, 0)
    empty = scenes(tmp_path / "empty", 0, 0, n_empty=2).images
    val = [type(i)(**{**vars(i), "split": "val", "image_id": f"val{n}"}) for n, i in enumerate(empty)]
    data = type(data)(data.class_names, [*data.images, *val])
    trained = cells_family.Cells("cells").train(data, recipe_of("cells"), tmp_path / "out", lambda row: None)
    assert "val_map50" not in trained.history[0]


@pytest.mark.parametrize("what", ["of another program", "of other weights", "torn"])
def test_a_checkpoint_that_does_not_fit_begins_the_training_anew(tmp_path: Path, what: str) -> None:
    data, recipe, out = scenes(tmp_path / "images", 4, 1), recipe_of("cells"), tmp_path / "out"
    out.mkdir()
    mark = {"format": CHECKPOINT_FORMAT, "fingerprint": fingerprint(data, recipe)}
    write_torch(out / "checkpoint.pt", {**mark, **({"model": {}} if what == "of other weights" else {})})
    if what == "torn":
        (out / "checkpoint.pt").write_bytes((out / "checkpoint.pt").read_bytes()[:-30])
    trained = cells_family.Cells("cells").train(data, recipe, out, lambda row: None)
    assert trained.steps == trained.planned_steps == 2
    assert (out / "checkpoint.pt.unreadable").exists()


def test_another_process_finds_it_by_its_entry_point(tmp_path: Path) -> None:
    """A worker, an export or a service that somebody starts imports nothing of the family's package by itself."""
    for name, target in (("cells", "carsdepo_assets_tests.detectors.cells_family:FAMILY"), ("ill", "nowhere:FAMILY")):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[carsdepo.detectors]\n{name} = {target}\n")
    code = """
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.catalogue import get_detector
from carsdepo_assets.policy import TrainingPolicy
print(Recipe(detector="cells").detector, TrainingPolicy(detector="cells").detector)
print(type(get_detector("cells")).__name__)
try:
    Recipe(detector="cell")
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.startswith("cells cells\nCells\n")
    assert "no detector named 'cell': there are yolov8n, " in done.stdout
    assert "The entry point ill could not be read: ModuleNotFoundError" in done.stdout
