"""training/register.py: an evaluated candidate is registered and recorded once, whatever is killed in between."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.lake.label_state import trained_state
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trainings import Outcome, outcomes
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.models import CANDIDATE, versions
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.training import candidates, register
from carsdepo_assets.training.candidates import Candidate
from carsdepo_assets.training.evaluate_candidate import EVALUATION
from carsdepo_assets.training.register import Registered, register_candidate
from carsdepo_assets.training.training_alerts import under_floor
from carsdepo_assets_tests.detectors.rectangles import made_up_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Killed(BaseException):
    """The process is gone."""


class Judge:
    """A candidate with an evaluation, and who was told of it."""

    def __init__(self, folder: Path) -> None:
        self.lake, self.tracking = Lake.open(folder / "lake"), Tracking.at_home(folder)
        self.told: list[Outcome] = []

    def candidate(self, map50: float, **more: object) -> Candidate:
        digest = made_up_model(self.lake, f"model {map50}".encode())
        fields = {"digest": digest, "dataset": "d", "recipe": Recipe(), "label_state": 7, "asked_by": "retrain"}
        candidate = Candidate.model_validate(fields | more)
        self.lake.put("figures.json", json.dumps({"figures": {"map50": map50}}).encode())
        pointer = {"digest": digest, "trained_on": "d", "figures_key": "figures.json"}
        self.lake.put(EVALUATION, json.dumps(pointer).encode())
        return candidate

    def register(self, candidate: Candidate) -> Registered:
        run_id = self.tracking.begin(None, "test")
        return register_candidate(self.lake, self.tracking, candidate, Policy(), run_id, self.told.append)


@pytest.fixture
def judge(empty_store: Path, tmp_path: Path) -> Judge:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return Judge(tmp_path)


@pytest.mark.parametrize("where", ["register", "tell", "record_outcome"])
def test_under_the_floor_a_kill_repeats_and_never_doubles(
    judge: Judge, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    candidate = judge.candidate(0.001, fallback="longer-3")

    def killed(*given: object, **named: object) -> None:
        raise Killed

    if where == "tell":
        monkeypatch.setattr(judge, "told", type("Gone", (), {"append": killed})())
    else:
        monkeypatch.setattr(register, where, killed)
    with pytest.raises(Killed):
        judge.register(candidate)
    monkeypatch.undo()
    assert outcomes(judge.lake, 7) == []
    for _ in range(2):  # and a run by hand of what stands changes nothing more
        assert not judge.register(candidate).passed
    (row,) = outcomes(judge.lake, 7)
    assert (row.tried, row.outcome, row.digest, row.map50, row.floor) == (
        "longer-3", "under_floor", candidate.digest, 0.001, 0.02,
    )  # fmt: skip
    assert 1 <= len(judge.told) <= 2  # told before the row: killed between the two, people are told twice, never not
    (version,) = versions(judge.tracking)
    assert (version.version, version.aliases) == (row.version, ())
    assert trained_state(judge.lake) == 0
    alert = under_floor(row, candidate, "http://runs/1")
    assert "mAP@.5 0.001 is under the floor of 0.020" in alert["body"]
    assert "fallback longer-3" in alert["body"]


@pytest.mark.parametrize("where", ["register", "mark_trained", "record_outcome"])
def test_at_the_floor_labels_are_learnt_whatever_is_killed(
    judge: Judge, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    candidate = judge.candidate(0.02)

    def killed(*given: object, **named: object) -> None:
        raise Killed

    monkeypatch.setattr(register, where, killed)
    with pytest.raises(Killed):
        judge.register(candidate)
    monkeypatch.undo()
    assert trained_state(judge.lake) == (7 if where == "record_outcome" else 0)
    assert judge.register(candidate).passed
    assert trained_state(judge.lake) == 7
    assert [o.outcome for o in outcomes(judge.lake, 7)] == ["met"]
    (version,) = versions(judge.tracking)
    assert version.aliases == (CANDIDATE,)
    assert judge.told == []


def test_a_model_that_was_judged_before_stands_though_others_came_since(judge: Judge) -> None:
    """The usual recipe after its fallbacks, or after labels that changed nothing: no training, and a row of its own."""
    usual = judge.candidate(0.001)
    judge.register(usual)
    other = judge.candidate(0.002, recipe=Recipe(epochs=30), fallback="longer-3")
    judge.register(other)
    candidates.write(judge.lake, other, other.digest)
    wanted = candidates.Plan(dataset="d", recipe=Recipe(), label_state=9, asked_by="retrain")
    assert candidates.standing(judge.lake, wanted) == usual.digest
    assert candidates.current(judge.lake) == Candidate(**wanted.model_dump(), digest=usual.digest)
    assert candidates.standing(judge.lake, wanted.model_copy(update={"dataset": "other"})) is None
    assert candidates.standing(judge.lake, wanted.model_copy(update={"recipe": Recipe(epochs=2)})) is None
