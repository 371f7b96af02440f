"""experiments/study/conclusion.py, importance.py, charts.py, report.py: what is said of a study's trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.experiments.study.conclusion import conclude, record_conclusion
from carsdepo_assets.experiments.study.importance import importances
from carsdepo_assets.experiments.study.planning import StudyPlan
from carsdepo_assets.experiments.study.report import leaderboard, pictures, publish_study
from carsdepo_assets.lake import trials
from carsdepo_assets.lake.trials import Trial, TrialEvent
from carsdepo_assets_tests.experiments.study.studied_lake import NOW, opened

pytestmark = pytest.mark.slow


def trial(number: int, value: float | None, state: str = "complete", money: float = 0.0, **params: Any) -> Trial:
    asked = TrialEvent(
        study="s", at=NOW, state="asked", number=number, params={"family": "yolov8n", **params}, message="x"
    )
    ended = asked.model_copy(
        update={
            "state": state,
            "value": value,
            "money": money,
            "message": "why",
            "curve": {3: 0.1},
            "digest": f"m{number}",
        }
    )
    return Trial(asked, ended)


@pytest.fixture
def plan(tmp_path: Path) -> StudyPlan:
    return opened(tmp_path)[1]


ONE, TWO = [trial(0, 0.30), trial(1, 0.40)], [trial(0, 0.30), trial(1, 0.315), trial(2, 0.319)]


@pytest.mark.parametrize(
    ("ledger", "winner", "tied", "sentences"),
    [
        (ONE, 1, 1, ["Trial 1 wins: mAP@.5 0.400", "no other is within 2 points", "gains 10.0 points"]),
        (TWO, 0, 3, ["All 3 trials", "tie", "By rule trial 0", "today's recipe wins a tie", "stays as it is"]),
        # Today's recipe is behind, and two others tie: the cheaper, else the first.
        ([trial(0, 0.2), trial(1, 0.4, money=3.0), trial(2, 0.39, money=1.0)], 2, 2, ["the cheapest wins a tie"]),
        ([trial(0, 0.2), trial(1, 0.39), trial(2, 0.4)], 1, 2, ["2 of 3 trials", "the first wins a tie"]),
        # At the very edge of the tolerance it is a tie, a hair beyond it is not.
        ([trial(0, 0.30), trial(1, 0.32)], 0, 2, ["today's recipe wins"]),
        ([trial(0, 0.2999), trial(1, 0.32)], 1, 1, ["Trial 1 wins"]),
        ([trial(0, None, "failed"), trial(1, 0.1)], 1, 1, ["is better than it is not known", "1 of 2 trials failed"]),
        ([trial(0, 0.3), trial(1, None, "pruned")], 0, 1, ["stays as it is", "1 of 2 trials were stopped early"]),
        ([trial(0, 0.0), trial(1, 0.0)], 0, 2, ["today's recipe wins a tie"]),
        ([trial(0, None, "failed"), trial(1, None, "pruned")], None, 0, ["no winner", "trial 0: why"]),
        ([], None, 0, ["None of the 0 trials"]),
    ],
)
def test_the_rule(plan: StudyPlan, ledger: list[Trial], winner: int | None, tied: int, sentences: list[str]) -> None:
    result = conclude(plan, ledger, "The budget is used up.")
    assert (None if result.winner is None else result.winner.number) == winner
    assert len(result.tied) == tied
    for sentence in (*sentences, "The budget is used up."):
        assert sentence in result.text, result.text


def test_a_tolerance_of_0_ties_equals_alone(tmp_path: Path) -> None:
    _, plan = opened(tmp_path, tolerance_points=0)
    assert len(conclude(plan, TWO).tied) == 1
    assert len(conclude(plan, [trial(0, 0.3), trial(1, 0.3)]).tied) == 2


def test_the_first_conclusion_stands(tmp_path: Path) -> None:
    lake, plan = opened(tmp_path)
    first = record_conclusion(lake, plan, conclude(plan, ONE), NOW)
    assert record_conclusion(lake, plan, conclude(plan, TWO), NOW) == first
    assert (first.number, first.state) == (1, "concluded")
    assert trials.conclusion(trials.events(lake, plan.study)) == first
    assert trials.chosen(lake) is not None
    assert trials.chosen(lake, automatic=False) is None


def test_without_a_winner_nothing_is_chosen(tmp_path: Path) -> None:
    lake, plan = opened(tmp_path)
    event = record_conclusion(lake, plan, conclude(plan, [trial(0, None, "failed")]), NOW)
    assert (event.state, event.number) == ("concluded", None)
    assert trials.chosen(lake) is None


def test_importance_is_the_size_of_the_rank_correlation() -> None:
    ledger = [trial(n, v, lr=f, family=c) for n, (v, f, c) in enumerate([
        (0.1, 9.0, "a"), (0.2, 4.0, "b"), (0.3, 2.0, "a"), (0.4, 1.0, "b"), (0.5, 0.5, "b")
    ])]  # fmt: skip
    figures = importances(ledger)
    assert figures["lr"] == pytest.approx(1.0)
    assert 0 < figures["family"] < 1
    assert list(figures) == ["lr", "family"]
    assert importances(ledger[:3]) == {}
    assert importances([trial(n, 0.2, lr=float(n)) for n in range(5)]) == {"lr": 0.0}


def test_the_page_names_the_winner_and_escapes_what_it_shows(tmp_path: Path) -> None:
    lake, plan = opened(tmp_path)
    ledger = [*ONE, trial(2, None, "failed"), trial(3, None, "pruned")]
    ledger[2] = Trial(ledger[2].asked, ledger[2].ended.model_copy(update={"message": "<b>no memory</b>"}))  # type: ignore[union-attr]
    result = conclude(plan, ledger)
    rows = leaderboard(ledger, result)
    assert [r["trial"] for r in rows] == [1, 0, 3, 2]
    assert [r["marks"] for r in rows] == ["winner", "today's recipe", "", ""]
    page = lake.get(publish_study(lake, plan, ledger, result, NOW, over=True)).decode()
    assert "&lt;b&gt;no memory" in page
    assert "<b>no memory" not in page
    assert page.count("<img ") == 3
    assert 'src="http' not in page
    under_way = publish_study(lake, plan, ledger[:1], conclude(plan, ledger[:1]), NOW, over=False)
    assert "winner" not in lake.get(under_way).decode().partition("Leaderboard")[2].partition("<p>")[0]


@pytest.mark.parametrize("n", [0, 1, 60])
def test_pictures_for_dagster_are_small(plan: StudyPlan, n: int) -> None:
    ledger = [trial(i, 0.2 + i / 500, lr=1.0 + i, weight_decay=2.0 / (1 + i)) for i in range(n)]
    for png in pictures(plan, ledger).values():
        assert png.startswith(b"\x89PNG")
        assert len(png) < 100_000
