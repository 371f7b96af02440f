"""experiments/study/running.py, sampling.py, budget.py: a study is run once, whatever kills it and whatever is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest

from carsdepo_assets.compute.worker.trial import TrialTerms
from carsdepo_assets.experiments.study.errors import StudyError
from carsdepo_assets.experiments.study.planning import TrialPlace
from carsdepo_assets.experiments.study.running import TrialInterrupted
from carsdepo_assets.lake import trials
from carsdepo_assets.lake.datasets import manifest_key
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trials import Trial
from carsdepo_assets_tests.experiments.study.studied_lake import formula, opened, run_of

pytestmark = pytest.mark.slow


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


def told(lake: Lake, study: str) -> list[tuple[Any, ...]]:
    """What is to be the same however often a study was killed."""
    return [
        (t.number, t.state, tuple(sorted(t.asked.params.items())), t.value)
        for t in trials.trials(trials.events(lake, study))
    ]


def test_trial_0_is_todays_recipe_and_the_rest_are_optunas(tmp_path: Path) -> None:
    lake, plan = opened(tmp_path)
    why = run_of(lake, plan, tmp_path).run()
    ledger = trials.trials(trials.events(lake, plan.study))
    assert why == "All 5 trials of the plan were begun."
    assert [t.number for t in ledger] == [0, 1, 2, 3, 4]
    assert ledger[0].asked.recipe == plan.today.model_dump(mode="json")
    assert ledger[0].asked.params == {"family": "yolov8n", "lr": 1.0, "weight_decay": 1.0}
    factors = {t.asked.params["lr"] for t in ledger[1:]}
    assert len(factors) == 4
    assert all(0.3 <= f <= 3 for f in factors)
    for t in ledger[1:]:
        assert t.asked.recipe["lr"] == pytest.approx(plan.today.lr * t.asked.params["lr"])
        assert t.asked.recipe["steps"] == 10
    stored = optuna.load_study(study_name=plan.study, storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert [t.value for t in stored.trials] == [t.value for t in ledger]


@pytest.mark.parametrize(
    "dimension",
    [
        {"field": "image_size", "low": 512, "high": 1024},  # today's is below it
        {"field": "image_size", "low": 64, "high": 1088, "step": 1024},  # today's is between two steps
        {"field": "image_size", "choices": [512, 1024]},
    ],
)
def test_todays_recipe_may_lie_outside_of_the_space(dimension: dict[str, Any], tmp_path: Path) -> None:
    lake, plan = opened(tmp_path, trials=2, space=[dimension])
    assert plan.today.image_size not in (64, 512, 1024, 1088)
    run_of(lake, plan, tmp_path).run()
    [today, other] = trials.trials(trials.events(lake, plan.study))
    assert today.asked.params["image_size"] == plan.today.image_size
    assert other.asked.params["image_size"] >= 64
    stored = optuna.load_study(study_name=plan.study, storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert stored.trials[0].params == {}
    assert stored.trials[0].value == today.value


def test_killed_at_every_event_it_ends_with_the_same_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies after every write, and around every training; a fresh one goes on each time."""
    straight_lake, straight = opened(tmp_path / "straight")
    run_of(straight_lake, straight, tmp_path / "straight").run()

    home = tmp_path / "killed"
    lake, plan = opened(home)
    assert plan.study == straight.study
    trained: Counter[int] = Counter()
    real, writes = trials.record_event, [0]
    dying_at = 1

    def record_and_die(of: Lake, event: trials.TrialEvent, unit: str) -> bool:
        written = real(of, event, unit)
        writes[0] += 1
        if writes[0] == dying_at:
            raise Killed
        return written

    def train(trial: Trial, terms: TrialTerms) -> Mapping[str, Any]:
        if terms.result(lake) is None:
            trained[trial.number] += 1
            terms.leave(lake, dict(formula(trial, terms)))
        result = terms.result(lake)
        assert result is not None
        return result

    monkeypatch.setattr(trials, "record_event", record_and_die)
    kills = 0
    while True:
        writes[0] = 0
        try:
            run_of(lake, plan, home, train).run()
            break
        except Killed:
            kills += 1
    assert kills == 10  # 5 trials, each asked and ended
    assert trained == dict.fromkeys(range(5), 1)
    assert told(lake, plan.study) == told(straight_lake, straight.study)


def test_a_lost_storage_is_built_anew_and_asks_for_the_same(tmp_path: Path) -> None:
    lake, plan = opened(tmp_path, trials=7)
    with pytest.raises(Killed):
        run_of(lake, plan, tmp_path, _dies_at(4)).run()
    (tmp_path / "optuna.db").unlink()
    run_of(lake, plan, tmp_path).run()

    other = tmp_path / "straight"
    straight_lake, straight = opened(other, trials=7)
    run_of(straight_lake, straight, other).run()
    assert told(lake, plan.study) == told(straight_lake, straight.study)
    stored = optuna.load_study(study_name=plan.study, storage=f"sqlite:///{tmp_path / 'optuna.db'}")
    assert [t.state.name for t in stored.trials] == ["COMPLETE"] * 7
    assert stored.trials[5].intermediate_values  # of a trial that this process told of
    assert stored.trials[2].intermediate_values  # of one that was built from the ledger


def _dies_at(number: int) -> Any:
    def train(trial: Trial, terms: TrialTerms) -> Mapping[str, Any]:
        if trial.number == number:
            raise Killed
        return formula(trial, terms)

    return train


def test_another_seed_asks_for_others(tmp_path: Path) -> None:
    ledgers = []
    for seed in (0, 0, 1):
        home = tmp_path / str(len(ledgers))
        lake, plan = opened(home, seed=seed, trials=4)
        run_of(lake, plan, home).run()
        ledgers.append([t[2] for t in told(lake, plan.study)])
    assert ledgers[0] == ledgers[1]
    assert ledgers[0][1:] != ledgers[2][1:]


@pytest.mark.parametrize(
    ("study", "place", "begun", "why"),
    [
        ({"trials": 3}, {}, 3, "All 3 trials"),
        ({"trials": 9, "minutes": 0.35}, {}, 3, "beyond its 0.35 minutes: 0.3 were used"),  # 6 s each
        ({"trials": 9, "money": 0.05}, {"per_hour": 10.0}, 3, "beyond its 0.05 USD: 0.05 were spent"),
        ({"trials": 5, "money": 0.05}, {"per_hour": 0.0}, 5, "All 5 trials"),
    ],
)
def test_budgets_end_it(study: dict[str, Any], place: dict[str, Any], begun: int, why: str, tmp_path: Path) -> None:
    lake, plan = opened(tmp_path, TrialPlace(name="a machine", device="cpu", **place), **study)
    stopped = run_of(lake, plan, tmp_path).run()
    assert why in stopped
    assert len(told(lake, plan.study)) == begun


def test_what_fails_and_what_is_killed(tmp_path: Path) -> None:
    calls: Counter[int] = Counter()

    def train(trial: Trial, terms: TrialTerms) -> Mapping[str, Any]:
        calls[trial.number] += 1
        if trial.number == 1:
            raise TrialInterrupted("ended by signal -9")  # each time: too much memory, perhaps
        if trial.number == 2 and calls[2] == 1:
            raise TrialInterrupted("ended by signal -9")  # once: it goes on
        if trial.number == 3:
            return {"state": "failed", "why": "training diverged", "seconds": 2.0, "curve": {}}
        return formula(trial, terms)

    lake, plan = opened(tmp_path)
    said: list[str] = []
    run_of(lake, plan, tmp_path, train, said).run()
    ledger = trials.trials(trials.events(lake, plan.study))
    assert [t.state for t in ledger] == ["complete", "failed", "complete", "failed", "complete"]
    assert [t.interruptions for t in ledger] == [0, 3, 1, 0, 0]
    assert calls == {0: 1, 1: 3, 2: 2, 3: 1, 4: 1}
    assert ledger[1].ended is not None
    assert ledger[1].ended.message == "Its training was ended from outside 3 times: ended by signal -9"
    assert any("Trial 2 was ended from outside and goes on" in line for line in said)


def test_a_study_whose_first_trials_all_fail_stops(tmp_path: Path) -> None:
    def train(trial: Trial, terms: TrialTerms) -> Mapping[str, Any]:
        return {"state": "failed", "why": "no memory", "curve": {}}

    lake, plan = opened(tmp_path, trials=9)
    assert "The first 3 trials all failed" in run_of(lake, plan, tmp_path, train).run()


def test_the_same_recipe_is_not_trained_twice(tmp_path: Path) -> None:
    calls: Counter[int] = Counter()

    def train(trial: Trial, terms: TrialTerms) -> Mapping[str, Any]:
        calls[trial.number] += 1
        return formula(trial, terms)

    lake, plan = opened(tmp_path, trials=6, space=[{"field": "image_size", "choices": [96, 128]}])
    run_of(lake, plan, tmp_path, train).run()
    ledger = trials.trials(trials.events(lake, plan.study))
    assert len({t.asked.recipe_digest for t in ledger}) == sum(calls.values()) < 6
    again = next(t for t in ledger if t.ended is not None and "whose result is taken" in t.ended.message)
    assert again.ended is not None
    assert again.ended.seconds == 0
    assert again.value == ledger[int(again.ended.message.split("trial ")[1].split(",")[0])].value


def test_an_erased_dataset_ends_it_by_name(tmp_path: Path) -> None:
    lake, plan = opened(tmp_path)

    def train(trial: Trial, terms: TrialTerms) -> Mapping[str, Any]:
        if trial.number == 1:
            lake.delete(manifest_key(plan.dataset))
        return formula(trial, terms)

    with pytest.raises(StudyError, match=f"Dataset {plan.dataset} is not in the lake"):
        run_of(lake, plan, tmp_path, train).run()
    assert [t[:2] for t in told(lake, plan.study)] == [(0, "complete"), (1, "complete")]


@pytest.mark.parametrize("slots", [1, 2])
def test_a_photograph_erased_meanwhile_ends_it_after_one_attempt(slots: int, tmp_path: Path) -> None:
    """A worker that does not find it leaves no result; neither the trial nor those to come are tried in vain."""
    place = TrialPlace(name="m", device="cpu", slots=slots)
    lake, plan = opened(tmp_path, place, trials=4, parallel=slots)
    calls: Counter[int] = Counter()
    kept = lake.get("raw/uploads/val0.png")

    def train(trial: Trial, terms: TrialTerms) -> Mapping[str, Any]:
        calls[trial.number] += 1
        if trial.number == 2 and lake.exists("raw/uploads/val0.png") and calls[2] == 1:
            lake.delete("raw/uploads/val0.png")
            raise TrialInterrupted("the worker ended with code 1")
        return formula(trial, terms)

    with pytest.raises(StudyError, match=r"cannot go on\. Photographs of .*: raw/uploads/val0\.png\. .*Put them back"):
        run_of(lake, plan, tmp_path, train).run()
    assert calls[2] == 1
    lake.put("raw/uploads/val0.png", kept)
    run_of(lake, plan, tmp_path, train).run()  # it goes on where it was, and the trial has used up no attempt
    assert [t[:2] for t in told(lake, plan.study)] == [(n, "complete") for n in range(4)]
    assert all(t.interruptions == 0 for t in trials.trials(trials.events(lake, plan.study)))


def test_slots_train_at_once_and_an_interruption_reaches_them(tmp_path: Path) -> None:
    import threading
    import time

    lake, plan = opened(tmp_path, TrialPlace(name="m", device="cpu", slots=3), trials=6, parallel=2)
    together = threading.Barrier(2, timeout=60)

    def train(trial: Trial, terms: TrialTerms) -> Mapping[str, Any]:
        if trial.number < 2:
            together.wait()  # neither ends before the other has begun
        return formula(trial, terms)

    run_of(lake, plan, tmp_path, train).run()
    assert [t[:2] for t in told(lake, plan.study)] == [(n, "complete") for n in range(6)]

    lake, plan = opened(tmp_path / "b", TrialPlace(name="m", device="cpu", slots=2), trials=4)
    begun, reached = threading.Barrier(2, timeout=60), []

    def waits(trial: Trial, terms: TrialTerms) -> Mapping[str, Any]:
        begun.wait()
        if trial.number == 0:
            raise Killed  # as where the dataset is erased, or the run is terminated
        try:
            while True:
                time.sleep(0.01)
        finally:
            reached.append(trial.number)

    with pytest.raises(Killed):
        run_of(lake, plan, tmp_path / "b", waits).run()
    assert reached == [1]
