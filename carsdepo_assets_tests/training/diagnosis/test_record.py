"""training/diagnosis/record.py, diagnosis.py: the record is bounded, and a killed training goes on with it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

import pytest

from carsdepo_assets.detectors.signals import StepSignals, ValidationSignals
from carsdepo_assets.lake.training_findings import StoredDiagnosis
from carsdepo_assets.policy_diagnosis import DiagnosisPolicy
from carsdepo_assets.training.diagnosis.diagnosis import Diagnosis, HopelessTraining
from carsdepo_assets_tests.training.diagnosis.histories import FAULTS, History

OVERFITS = FAULTS["overfitting"][0]


def fresh() -> Diagnosis:
    return Diagnosis(DiagnosisPolicy(), fresh=True, floor=0.02)


def tell(diagnosis: Diagnosis, signals: Iterable[StepSignals | ValidationSignals]) -> Diagnosis:
    for one in signals:
        if isinstance(one, StepSignals):
            diagnosis.stepped(one)
        else:
            diagnosis.validated(one)
    return diagnosis


def test_its_size_does_not_grow_with_the_training() -> None:
    sizes = [
        len(tell(fresh(), History(steps=steps, every=4).signals()).stored("k", None).model_dump_json())
        for steps in (2_000, 6_000)
    ]
    assert sizes[1] < 1.1 * sizes[0]
    assert sizes[1] < 150_000


def test_a_killed_training_goes_on_to_the_same_findings() -> None:
    whole = tell(fresh(), OVERFITS.signals())
    assert set(whole.by_name) == {"overfitting"}
    for killed_at, checkpoint in ((150, 150), (290, 260), (399, 380), (399, 0)):
        first = tell(fresh(), [s for s in OVERFITS.signals() if s.step <= killed_at])
        stored = StoredDiagnosis.model_validate_json(first.stored("k", "run").model_dump_json())
        second = fresh()
        second.restore(stored)
        rest = [s for s in OVERFITS.signals() if s.step > checkpoint]
        tell(second, rest)
        assert second.findings == whole.findings
        assert second.record.to_dict() == whole.record.to_dict()


def test_what_a_killed_attempt_found_after_its_checkpoint_is_found_anew_or_not_at_all() -> None:
    first = tell(fresh(), OVERFITS.signals())
    since = first.by_name["overfitting"].since
    stored = first.stored("k", "run")
    second = fresh()
    second.restore(stored)
    assert second.findings == first.findings
    healthy = replace(OVERFITS, val_loss=(1.1, 0.6, 0.5))
    tell(second, (s for s in healthy.signals() if s.step >= since - 40))
    assert second.findings == ()


def test_a_validation_loss_that_is_no_number_hides_no_later_one() -> None:
    diagnosis = fresh()
    for number, signals in enumerate(OVERFITS.signals()):
        if isinstance(signals, ValidationSignals) and number < 25:
            signals = replace(signals, val_loss=float("nan"))
        tell(diagnosis, [signals])
    assert set(diagnosis.by_name) == {"overfitting"}
    text = diagnosis.stored("k", None).model_dump_json()
    assert StoredDiagnosis.model_validate_json(text).signals["lowest"]["value"] > 0


def test_a_training_that_diverged_at_its_first_step_diverges_anew() -> None:
    """What another run finds is told as its own, also where the record holds no step."""
    broken = StepSignals(1, float("nan"), 0.1, None, None, 0.0, 0.0)
    first = fresh()
    with pytest.raises(HopelessTraining):
        first.stepped(broken)
    told: list[str] = []
    second = Diagnosis(DiagnosisPolicy(), fresh=True, floor=0.02, on_finding=lambda finding: told.append(finding.name))
    second.restore(first.stored("k", "run"))
    with pytest.raises(HopelessTraining):
        second.stepped(broken)
    assert told == ["diverged"]


def test_a_class_that_is_learnt_late_is_no_finding_in_the_end() -> None:
    missing = FAULTS["class_never_predicted"][0]
    diagnosis = tell(fresh(), (s for s in missing.signals() if s.step <= 300))
    assert set(diagnosis.by_name) == {"class_never_predicted"}
    tell(diagnosis, (s for s in History().signals() if s.step > 300))
    assert diagnosis.findings == ()


def test_a_record_of_another_form_is_left_out() -> None:
    other = fresh()
    stored = tell(fresh(), History(steps=50).signals()).stored("k", "run")
    other.restore(stored.model_copy(update={"signals": {"first": [[1, 2]]}}))
    assert (other.findings, other.record.step) == ((), 0)
    later = json.loads(stored.model_dump_json()) | {"colour": "red"}
    other.restore(StoredDiagnosis.model_validate(later))  # a later release's file
    assert other.record.step == 50


def test_without_the_training_s_beginning_nothing_is_said_about_its_loss() -> None:
    """A checkpoint of an earlier release has no signals."""
    still = FAULTS["loss_not_falling"][0]
    diagnosis = tell(fresh(), (s for s in still.signals() if s.step > 120))
    assert diagnosis.findings == ()
