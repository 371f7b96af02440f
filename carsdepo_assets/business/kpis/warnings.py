"""Notes and warnings of the KPI report: invented rows, gains before any model, automation without accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import PurePosixPath

import pandas as pd

from carsdepo_assets.business.kpis.base import Kpi
from carsdepo_assets.business.kpis.inputs import KpiInputs
from carsdepo_assets.reporting.invented import INVENTED_FILE

# Automation says how much is decided without a person; these say whether it is decided right, the live one first.
AUTOMATION = ("automation_pct", "automation_answers_pct")
ACCURACY = ("precision", "recall")


def invented(inputs: KpiInputs) -> list[str]:
    """A note with the number of rows from files that the demo invented; no note where there are none."""
    counts = {
        kind: (int(_from_sample(rows).sum()), len(rows))
        for kind, rows in (
            ("inspections", inputs.inspections),
            ("transactions", inputs.transactions),
            ("disputes", inputs.disputes),
        )
    }
    if not any(n for n, _ in counts.values()):
        return []
    shares = ", ".join(f"{n:,} of {of:,} {kind}" for kind, (n, of) in counts.items())
    return [
        f"Invented rows: {shares} come from files named {INVENTED_FILE}*, which the demo writes. They show how this "
        "page works and say nothing about a real business."
    ]


def _from_sample(rows: pd.DataFrame) -> pd.Series:
    return rows["file"].map(lambda key: PurePosixPath(str(key)).name.startswith(INVENTED_FILE)).astype(bool)


def gains_without_a_model(inputs: KpiInputs, baseline_until: str) -> list[str]:
    """A note where the period since the platform begins before production served any model."""
    if not inputs.changes:
        return []
    first = inputs.changes[0].at.date()
    begins = date.fromisoformat(baseline_until)
    if (first - begins).days <= 1:
        return []
    return [
        f"policy.business.baseline_until is {baseline_until}, and production served its first model on {first}. What "
        "lies between counts as the platform's although no model was live."
    ]


def automation_without_accuracy(kpis: Sequence[Kpi], goals: Mapping[str, float]) -> list[str]:
    """A warning for each automation figure of a model whose precision or recall misses its goal or was not measured.

    Figures of live use count where there are any, else those on test photographs. A figure without a goal is not
    asked for.
    """
    by_name = {k.name: k for k in kpis}
    faults = []
    for name in ACCURACY:
        if name not in goals:
            continue
        live, tested = by_name[f"{name}_live"], by_name[name]
        measured = live if live.value is not None else tested
        if measured.value is None:
            faults.append(f"its {name} is not known")
        elif measured.value < goals[name]:
            where = "in live use" if measured is live else "on test photographs"
            faults.append(
                f"its {name} is {measured.value_text()} {where}, and the goal is at least {100 * goals[name]:g} %"
            )
    if not faults:
        return []
    return [
        f"{k.title}: {k.value_text()} are decided without a person by a model that should not decide alone: "
        f"{'; '.join(faults)}."
        for k in (by_name[name] for name in AUTOMATION)
        if k.value
    ]
