"""The page of a study on the site, and the rows of its leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from carsdepo_assets.experiments.study.charts import history_chart, importance_chart, parallel_chart
from carsdepo_assets.experiments.study.conclusion import Conclusion
from carsdepo_assets.experiments.study.importance import importances
from carsdepo_assets.experiments.study.planning import StudyPlan, described
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.trials import Trial, TrialEvent, report_key
from carsdepo_assets.reporting.page import data_uri, render
from carsdepo_assets.reporting.publish import ReportSummary, publish


def leaderboard(
    ledger: Sequence[Trial], result: Conclusion, pinned: TrialEvent | None = None, *, over: bool = True
) -> list[dict[str, Any]]:
    """The trials, the best first, then those that were stopped, failed or run; one row each.

    Args:
        ledger: the trials.
        result: what follows from them as they are now.
        pinned: the pin that counts; None: none.
        over: whether the study is concluded; else there is no winner yet.
    """
    tied = {t.number for t in result.tied}
    order = {"complete": 0, "pruned": 1, "failed": 2, "asked": 3}
    rows = []
    for t in sorted(ledger, key=lambda t: (order[t.state], -(t.value or 0.0), t.number)):
        ended = t.ended
        marks = []
        if over and result.winner is not None and t.number == result.winner.number:
            marks.append("winner")
        if pinned is not None and pinned.number == t.number:
            marks.append("pinned")
        if len(tied) > 1 and t.number in tied:
            marks.append("tied")
        if t.number == 0:
            marks.append("today's recipe")
        rows.append(
            {
                "trial": t.number,
                "state": "under way" if t.state == "asked" else t.state,
                "map50": t.value,
                "low": None if ended is None else ended.low,
                "high": None if ended is None else ended.high,
                "marks": ", ".join(marks),
                "detector": t.asked.recipe.get("detector"),
                "changed": _changed(t),
                "steps": None if ended is None else ended.steps,
                "seconds": None if ended is None else ended.seconds,
                "money": None if ended is None else ended.money,
                "model": None if ended is None else ended.digest,
                "message": "" if ended is None else ended.message,
            }
        )
    return rows


def _changed(trial: Trial) -> str:
    """What a trial changes of its family's usual recipe, in words; the family stands beside it."""
    text = trial.asked.message.removeprefix(str(trial.asked.recipe.get("detector"))).removeprefix(", ")
    return "its usual recipe." if text == "." else text


def pictures(plan: StudyPlan, ledger: Sequence[Trial]) -> dict[str, bytes]:
    """The charts as PNG by name, for Dagster's UI."""
    return {
        "history": history_chart(ledger, plan.tolerance),
        "importance": importance_chart(importances(ledger)),
        "parallel_coordinates": parallel_chart(ledger),
    }


def publish_study(
    lake: Lake,
    plan: StudyPlan,
    ledger: Sequence[Trial],
    result: Conclusion,
    now: datetime,
    *,
    over: bool,
    pinned: TrialEvent | None = None,
) -> str:
    """Stores the study's page, over that of an earlier moment.

    Args:
        over: whether the study is concluded.

    Returns:
        The key of the page.
    """
    figures = importances(ledger)
    charts = {
        "History": (history_chart(ledger, plan.tolerance, "svg"), "Score of each trial with its 95 % interval."),
        "What mattered": (
            importance_chart(figures, "svg"),
            "Spearman's rank correlation with the score, without its sign; for choices eta of the ranks.",
        ),
        "Parallel coordinates": (parallel_chart(ledger, "svg"), "A line a trial; the darker, the better."),
    }
    title = f"Study {plan.study} on dataset {plan.dataset[:12]}"
    summary = result.text if over else f"Under way: {sum(t.ended is not None for t in ledger)} trials have ended."
    html = render(
        Path(__file__).parent,
        "report.html",
        plan=plan,
        lines=described(plan),
        rows=leaderboard(ledger, result, pinned, over=over),
        sentences=result.sentences if over else (summary,),
        over=over,
        failed=over and result.winner is None,
        pinned=pinned,
        charts={name: (data_uri(svg), about) for name, (svg, about) in charts.items()},
        title=title,
        now=now,
    )
    best = None if not result.tied else result.tied[0].value
    told = ReportSummary(title=title, at=plan.at, summary=summary, figures={"trials": len(ledger), "best_map50": best})
    details = {"study": plan.study, "winner": None if not over or result.winner is None else result.winner.number}
    return publish(lake, report_key(plan.study), html, told, details)
