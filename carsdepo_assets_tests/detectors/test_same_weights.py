"""detectors/clock.py: the same data, recipe, seed and threads give the same weights, bit for bit.

In another process, after a kill, and where the clock had ended the first training.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from carsdepo_assets.detectors.base import Recipe, Trained
from carsdepo_assets.detectors.catalogue import get_detector
from carsdepo_assets.detectors.clock import ClockDecisions, replaying
from carsdepo_assets.detectors.numerics import cpu_flags, numerics
from carsdepo_assets.detectors.pace import Pace
from carsdepo_assets_tests.detectors.detector_contract import ROOT, kill_and_resume
from carsdepo_assets_tests.detectors.killed_training import RECIPES
from carsdepo_assets_tests.detectors.scenes import scenes
from carsdepo_assets_tests.detectors.test_budget import on_clock, recipe

_TRAIN = """
import hashlib, sys
from pathlib import Path
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.catalogue import get_detector
from carsdepo_assets_tests.detectors.scenes import scenes
folder, recipe = Path(sys.argv[1]), Recipe.model_validate_json(sys.argv[2])
trained = get_detector(recipe.detector).train(scenes(folder / "images", 4, 1), recipe, folder / "out", print)
print(hashlib.sha256(trained.weights.read_bytes()).hexdigest())
"""


def digest(weights: Path) -> str:
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def in_a_process(settings: Recipe, folder: Path, hash_seed: str) -> str:
    process = subprocess.run(
        [sys.executable, "-c", _TRAIN, str(folder), settings.model_dump_json()],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", RECIPES)
def test_another_process_and_a_killed_training_come_to_the_same_bytes(name: str, tmp_path: Path) -> None:
    first = in_a_process(RECIPES[name], tmp_path / "a", "1")
    assert in_a_process(RECIPES[name], tmp_path / "b", "2") == first
    *_, weights = kill_and_resume(get_detector(name), tmp_path / "killed")
    assert digest(weights) == first
    other = RECIPES[name].model_copy(update={"seed": 1})
    assert in_a_process(other, tmp_path / "c", "1") != first  # else the above says nothing


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(("seconds", "steps"), [(150, 10), (165, 12)], ids=["inside an epoch", "at an epoch's end"])
def test_what_the_clock_ended_is_made_again_at_another_pace(
    name: str, seconds: float, steps: int, tmp_path: Path
) -> None:
    """The learning rates that fell with the minutes, too."""
    settings = recipe(name, minutes=seconds / 60)

    def train(out: str) -> Trained:
        data = scenes(tmp_path / "images", 12, 1)
        return get_detector(name).train(data, settings, tmp_path / out, lambda row: None)

    step = seconds / (steps - 0.5)
    with on_clock(step=step):
        first = train("first")
    assert first.clock is not None
    assert first.steps == first.clock.steps == steps
    decisions = ClockDecisions.of_state(json.loads(json.dumps(first.clock.state())))
    with on_clock(step=step / 7), replaying(decisions):
        again = train("again")
    assert again.steps == steps
    assert digest(again.weights) == digest(first.weights)
    assert again.clock == first.clock
    with on_clock(step=step / 7):
        assert digest(train("without").weights) != digest(first.weights)


def test_a_history_says_what_the_clock_planned() -> None:
    rows = [{"epoch": 1.0, "epochs_planned": 9.0}, {"epoch": 2.0, "epochs_planned": 7.0}, {"epoch": 3.0}]
    assert ClockDecisions.of_history(11, rows) == ClockDecisions(11, {1: 9, 2: 7}, [])
    assert ClockDecisions.of_state(None) == ClockDecisions()


def test_a_replayed_pace_asks_no_clock() -> None:
    with replaying(ClockDecisions(3, {1: 4}, [0.0, 0.25, 0.5])):
        pace = Pace(minutes=0.0001, epochs=9)
    assert Pace(minutes=1.0, epochs=9).replay is None
    said = []
    for epochs_done in (0.0, 0.5, 1.0):
        share = pace.progress(epochs_done)
        said.append((share, pace.step()))
    assert said == [(0.0, False), (0.25, False), (0.5, True)]
    assert pace.planned(1) == 4
    assert pace.clock == ClockDecisions(3, {1: 4}, [0.0, 0.25, 0.5])


def test_what_decides_the_last_bits_is_named(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("model name : X\nflags\t\t: fpu amx_bf16 avx2 sse fma\nflags\t\t: avx512f\n")
    assert cpu_flags(info) == ["avx2", "fma", "amx_bf16"]
    assert cpu_flags(tmp_path / "none") == []
    found = numerics("cpu")
    assert int(found["threads"]) >= 1
    assert found["device"] == "cpu"
    assert found["cpu_kernels"]
