"""detectors/: every family keeps one contract, from an interrupted training to the service."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets.families.built_in import BUILT_IN
from carsdepo_assets_tests.detectors.family_contract import check_champion, check_export, check_training

LONG = {"dfine_m", "faster_rcnn_resnet50", "yolov8m", "yolov8l", "yolov8x"}  # over half a minute of one core
NAMES = [pytest.param(f.name, marks=[pytest.mark.long] if f.name in LONG else []) for f in BUILT_IN]


@pytest.mark.slow
@pytest.mark.parametrize("family", NAMES)
def test_a_family_trains_resumes_exports_and_serves(family: str, tmp_path: Path) -> None:
    model = check_training(family, tmp_path)
    check_champion(family, model, tmp_path, 96, ("scratch", "dent", "crack"))
    check_export(family, model, tmp_path)
