"""experiments/study/planning.py, running.py, sampling.py, told.py: a study of which something is gone or damaged."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from carsdepo_assets.compute.worker.trial import TrialTerms
from carsdepo_assets.experiments.study.conclusion import conclude
from carsdepo_assets.experiments.study.errors import StudyError
from carsdepo_assets.experiments.study.planning import TrialPlace, make_plan, open_study, read_plan
from carsdepo_assets.experiments.study.sampling import Sampler
from carsdepo_assets.experiments.study.told import study_now
from carsdepo_assets.lake import trials
from carsdepo_assets.lake.candidates import CandidateRecord, record_candidate
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.resources import StudyStorage
from carsdepo_assets_tests.experiments.study.studied_lake import NOW, formula, opened, plan_of, run_of, study_policy


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\x00b", "\udcff", "x" * 2000, "nothing"])
def test_a_name_that_is_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"no study .* Studies: none yet"):
        read_plan(Lake.open(tmp_path / "lake"), name)


def test_a_plan_that_is_gone_or_damaged_is_named(tmp_path: Path) -> None:
    lake, plan = opened(tmp_path)
    key = trials.plan_key(plan.study)
    stored = lake.get(key)
    lake.delete(key)
    for ask in (lambda: read_plan(lake, plan.study), lambda: study_now(lake)):
        with pytest.raises(StudyError, match=f"plan of study {plan.study} is gone"):
            ask()
    with pytest.raises(StudyError, match=f"no study 'nothing'.*{plan.study}"):
        read_plan(lake, "nothing")
    for damaged in (b"", b"{", b"[]", b'{"study": 1}', stored.replace(b'"trials": 5', b'"trials": "many"')):
        lake.put(key, damaged)
        with pytest.raises(StudyError, match=r"plan\.json cannot be read"):
            read_plan(lake, plan.study)
    # The others are told all the same.
    other = open_study(lake, plan_of(lake, tmp_path, seed=5))
    assert study_now(lake, other.study)["study"] == other.study


def test_a_lost_row_is_a_gap_that_ends_nothing(tmp_path: Path) -> None:
    """The number of the next trial is not that of one that there is, which would be asked for again for ever."""
    lake, plan = opened(tmp_path, trials=2)
    said: list[str] = []
    run = run_of(lake, plan, tmp_path, said=said)
    trial_0 = run._asked([]).asked
    trial_1 = trial_0.model_copy(update={"number": 1})
    trials.record_event(lake, trial_1, "1:asked")
    trials.record_event(lake, trial_1.model_copy(update={"state": "complete", "value": 0.4}), "1:ended")
    kept = [t for t in run.ledger() if t.number != 0]
    assert [t.number for t in kept] == [1]
    assert run._asked(kept).number == 2
    assert said[-1].startswith("Trial 2: ")


def test_rows_in_any_order_and_twice_are_the_same_trials(tmp_path: Path) -> None:
    lake, plan = opened(tmp_path, trials=2)
    run_of(lake, plan, tmp_path).run()
    events = trials.events(lake, plan.study)
    assert trials.trials([*events, *events]) == trials.trials(events)
    assert trials.trials(events[::-1]) == trials.trials(events)


def test_a_storage_that_cannot_be_used_says_what_to_do(tmp_path: Path) -> None:
    lake, plan = opened(tmp_path, trials=2)
    run = run_of(lake, plan, tmp_path)
    file = tmp_path / "optuna.db"
    sound = file.read_bytes()
    file.write_bytes(b"no database" * 999)
    with pytest.raises(StudyError, match=r"optuna\.db cannot be used: .*move it away"):
        Sampler(plan, f"sqlite:///{file}")
    file.write_bytes(sound)
    with sqlite3.connect(file) as connection:
        connection.execute("update alembic_version set version_num = 'v9.9.9'")
    connection.close()
    with pytest.raises(StudyError, match="another version of Optuna"):
        Sampler(plan, f"sqlite:///{file}")
    with pytest.raises(StudyError, match="Optuna's database, which CARSDEPO_STUDIES names, cannot be used") as error:
        Sampler(plan, "nosuch://ann:secret@host/studies")
    assert "secret" not in str(error.value)
    file.unlink()
    with pytest.raises(StudyError, match=r"optuna\.db cannot be used"):  # while the study runs
        run.run()
    assert [t.number for t in trials.trials(trials.events(lake, plan.study))] == [0]
    file.write_bytes(sound)
    run_of(lake, plan, tmp_path).run()
    assert [t.state for t in trials.trials(trials.events(lake, plan.study))] == ["complete"] * 2


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_a_failed_trial(value: float | None, tmp_path: Path) -> None:
    lake, plan = opened(tmp_path, trials=2)
    odd: dict[str, Any] = {
        "state": "complete",
        "why": "all 10 planned steps",
        "value": value,
        "low": value,
        "high": value,
        "curve": {},
    }
    run_of(lake, plan, tmp_path, lambda trial, terms: odd if trial.number == 0 else formula(trial, terms)).run()
    ledger = trials.trials(trials.events(lake, plan.study))
    assert [t.state for t in ledger] == ["failed", "complete"]
    assert ledger[0].ended is not None
    assert "its score is no number" in ledger[0].ended.message
    assert conclude(plan, ledger).winner == ledger[1]


def test_a_row_of_before_without_a_score_takes_part_in_nothing(tmp_path: Path) -> None:
    lake, plan = opened(tmp_path, trials=2)
    run = run_of(lake, plan, tmp_path)
    asked = run._asked([]).asked
    trials.record_event(lake, asked.model_copy(update={"state": "complete", "value": float("nan")}), "0:ended")
    run.run()
    today, other = run.ledger()
    assert today.value is None
    assert conclude(plan, [today, other]).winner == other
    assert study_now(lake)["leaderboard"][0]["trial"] == 1


def test_a_damaged_result_or_epochs_of_a_trial_is_none(tmp_path: Path) -> None:
    lake, terms = Lake.open(tmp_path / "lake"), TrialTerms(study="s", number=0)
    assert (terms.result(lake), terms.epochs(lake)) == (None, [])
    for damaged in (b"", b"{", b"[]", b"null", b'{"state": "complete"}', b"[" * 99_999, b"\xff"):
        lake.put(trials.result_key("s", 0), damaged)
        lake.put(trials.epochs_key("s", 0), damaged.replace(b"[]", b"[1]"))
        assert (terms.result(lake), terms.epochs(lake)) == (None, []), damaged
    terms.leave(lake, {"state": "failed", "why": "x"})
    assert terms.result(lake) == {"state": "failed", "why": "x"}


@pytest.mark.parametrize("name", ["a?b", "a%20b", "a#b", "a b", "ä"])
def test_the_storage_lies_in_a_home_of_any_name(name: str, tmp_path: Path) -> None:
    address = StudyStorage(home=str(tmp_path / name)).address()
    assert make_url(address).database == str(tmp_path / name / "optuna.db")
    assert (tmp_path / name).is_dir()


def test_a_study_that_was_begun_goes_on_whatever_a_new_one_would_cost(tmp_path: Path) -> None:
    lake, plan = opened(tmp_path, minutes=1, trial_minutes=1, money=5.0)
    slow = CandidateRecord(
        digest="d", at=NOW, dataset="x", recipe="r", detector="yolov8n", label_state=1, steps=1, seconds=60.0
    )
    record_candidate(lake, slow)
    policy = study_policy(minutes=1, trial_minutes=1, money=5.0)
    dear = TrialPlace(name="a machine", device="cpu", per_hour=None)
    assert make_plan(lake, policy, dear, tmp_path, NOW).study == plan.study
    with pytest.raises(StudyError, match="the price of a machine is not known"):
        make_plan(lake, study_policy(minutes=1, trial_minutes=1, money=5.0, seed=4), dear, tmp_path, NOW)


def test_who_waits_for_another_run_of_a_study_says_so(tmp_path: Path) -> None:
    lake, waited, done = Lake.open(tmp_path / "lake"), threading.Event(), threading.Event()

    def second() -> None:
        with one_writer(lake, "study-s", waited.set):
            done.set()

    with one_writer(lake, "study-s", lambda: pytest.fail("nobody has it")):
        thread = threading.Thread(target=second)
        thread.start()
        assert waited.wait(30)
        assert not done.is_set()
    thread.join(30)
    assert done.is_set()
