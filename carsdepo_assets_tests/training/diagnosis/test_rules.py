"""training/diagnosis/rules.py: each fault is named by its rule alone, and healthy histories by none."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from carsdepo_assets.detectors.signals import StepSignals
from carsdepo_assets.policy_diagnosis import DiagnosisPolicy
from carsdepo_assets.training.diagnosis.diagnosis import Diagnosis, HopelessTraining
from carsdepo_assets.training.diagnosis.kinds import BY_NAME, KINDS
from carsdepo_assets_tests.training.diagnosis.histories import FAULTS, HEALTHY, History

HOPELESS = {"diverged", "loss_not_falling", "dead_gradients"}


def told(history: History, policy: DiagnosisPolicy | None = None, *, fresh: bool = True) -> tuple[Diagnosis, bool]:
    """The diagnosis of a history, and whether it stopped the training."""
    diagnosis = Diagnosis(policy or DiagnosisPolicy(), fresh=fresh, floor=0.02)
    try:
        for signals in history.signals():
            if isinstance(signals, StepSignals):
                diagnosis.stepped(signals)
            else:
                diagnosis.validated(signals)
        diagnosis.ended()
    except HopelessTraining:
        return diagnosis, True
    return diagnosis, False


@pytest.mark.parametrize("history", HEALTHY, ids=range(len(HEALTHY)))
def test_healthy_trainings_raise_none(history: History) -> None:
    diagnosis, stopped = told(history, fresh=history.val_map50 is None or history.val_map50[0] < 0.02)
    assert [f.text for f in diagnosis.findings] == []
    assert not stopped


CASES = [(name, history) for name, histories in FAULTS.items() for history in histories]


@pytest.mark.parametrize(("name", "history"), CASES, ids=[name for name, _ in CASES])
def test_each_fault_has_its_name_and_its_advice(name: str, history: History) -> None:
    diagnosis, stopped = told(history)
    assert set(diagnosis.by_name) == {name}
    found = diagnosis.by_name[name]
    assert (stopped, found.severity) == ((True, "hopeless") if name in HOPELESS else (False, "warning"))
    assert found.advice == BY_NAME[name].advice
    assert found.since <= history.steps
    assert found.figures
    json.dumps(found.model_dump(mode="json"), allow_nan=False)


def test_every_kind_has_a_case() -> None:
    assert set(FAULTS) == set(BY_NAME)
    assert {kind.name for kind in KINDS if kind.hopeless} == HOPELESS


@pytest.mark.parametrize("name", sorted(HOPELESS))
def test_a_person_can_have_it_told_only(name: str) -> None:
    diagnosis, stopped = told(FAULTS[name][0], DiagnosisPolicy(stop_hopeless=False))
    assert not stopped
    assert name in diagnosis.by_name
    assert not diagnosis.stored("k", None).stopped


@pytest.mark.parametrize(
    ("changes", "fresh", "severity"),
    [
        ({"val_map50": None, "val_loss": None, "boxes": None}, True, "hopeless"),
        ({"val_map50": None, "val_loss": None, "boxes": None}, False, "warning"),  # it may be a good model already
        ({"val_map50": (0.0, 0.01, 0.0)}, False, "hopeless"),  # val shows that it is not
        ({"val_map50": (0.5, 0.5, 0.5)}, False, None),
        ({"val_map50": (0.03, 0.03, 0.03)}, True, "hopeless"),  # random weights are above the floor by chance
        ({"val_map50": (0.03, 0.3, 0.3)}, True, None),
    ],
)
def test_a_loss_that_stands_still_is_judged_by_the_model(
    changes: dict[str, object], fresh: bool, severity: str | None
) -> None:
    diagnosis, _ = told(replace(FAULTS["loss_not_falling"][0], **changes), fresh=fresh)  # type: ignore[arg-type]
    found = diagnosis.by_name.get("loss_not_falling")
    assert (found.severity if found else None) == severity


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number_stops_at_once(loss: float) -> None:
    diagnosis = Diagnosis(DiagnosisPolicy(), fresh=True, floor=0.02)
    with pytest.raises(HopelessTraining, match=f"hopeless, diverged since step 3: The loss is {loss}"):
        diagnosis.stepped(StepSignals(3, loss, 0.1, None, None, 0.0, 0.0))
    stored = diagnosis.stored("k", "run")
    assert (stored.stopped, stored.hopeless[0].name) == (True, "diverged")
    with pytest.raises(HopelessTraining, match="norm is nan at step 4"):
        Diagnosis(DiagnosisPolicy(), fresh=True, floor=0.02).stepped(
            StepSignals(4, 1.0, 0.1, float("nan"), 0.0, 0.0, 0.0)
        )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lr_min": 0.2}, "lr_min must lie below lr_max"),
        ({"class_score": 0.5}, "class_score must lie below"),
        ({"loss_fall": 1.5}, "less than 1"),
        ({"window": 2}, "greater than or equal to 10"),
        ({"patience": 3}, "Extra inputs"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(changes: dict[str, float], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        DiagnosisPolicy.model_validate(changes)
