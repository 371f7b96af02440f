"""`carsdepo status`: shows the state of an installation, and changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from carsdepo_assets.settings import Settings


def read_status(settings: Settings) -> dict[str, Any]:
    """The state of an installation as `carsdepo status --json` prints it."""
    from carsdepo_assets.commands.quarantine_cli import files_in_quarantine
    from carsdepo_assets.data.batches.quarantine import selected
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.site.reading import ask_service, site_overview
    from carsdepo_assets.site.tracing import open_tracking

    if not settings.lake.startswith("s3://") and not settings.home.exists():
        return {"home": str(settings.home), "state": "nothing here yet: run `make demo`, or `carsdepo import FOLDER`"}
    lake = Lake.open(settings.lake)
    reasons = Counter(file.reasons[0] for file in selected(files_in_quarantine(lake)))
    overview = site_overview(lake, open_tracking(settings), settings.policy(), ask_service(settings)).to_dict()
    return {
        "home": str(settings.home),
        "lake": settings.lake,
        **overview,
        "quarantine": dict(sorted(reasons.items())),
    }


def show(state: Mapping[str, Any], console: Console) -> None:
    """Prints the state for people."""
    table = Table("what", title="Carsdepo", title_justify="left", show_header=False)
    table.add_column("value", overflow="fold")
    for name, value in _rows(state):
        table.add_row(name, escape(value))
    console.print(table)


def _rows(state: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "state" in state:
        return [("home", state["home"]), ("state", state["state"])]
    rows = [("lake", state["lake"])]
    for stage in state["stages"]:
        text = "nothing deployed yet"
        if stage["digest"]:
            text = f"version {stage['version']} ({stage['digest']}) since {stage['since'][:16]}, by {stage['actor']}"
        rows.append((stage["stage"], text + (f"\n{stage['trouble']}" if stage["trouble"] else "")))
        if stage["policy_note"]:
            rows.append((f"{stage['stage']} policy", stage["policy_note"]))
    for asked in state["pending_approvals"]:
        how = f"`carsdepo approve {asked['version'] or asked['digest']} --reason ...`"
        rows.append(("approval wanted", f"version {asked['version']} ({asked['digest']}): {asked['why']}; {how}"))
    drift = state["drift"]
    if drift is None:
        rows.append(("drift", "not measured yet"))
    elif not drift["computed"]:
        rows.append(("drift", f"{drift['at'][:16]}: not computed from {drift['photographs']} photographs"))
    else:
        from carsdepo_assets.monitoring.features import NAMES

        worst = NAMES.get(drift["worst_feature"], drift["worst_feature"])
        share = f"{100 * (drift['drift'] or 0):.1f} %, {worst}" if drift["drift"] else "none"
        rows.append(
            ("drift", f"{drift['at'][:16]}: {share} (band {drift['band']}, {drift['photographs']} photographs)")
        )
    kpis = state["kpis"]
    rows.append(("KPIs", f"{kpis['at'][:16]}: {kpis['summary']}" if kpis else "no report yet"))
    rows.append(("labelling queue", f"{state['queue_length']} photographs wait for labels"))
    rows.append(("photographs", f"{state['photographs']:,}, {state['labelled']:,} labelled"))
    if state["training_trouble"] is None:  # else its row below says it
        rows.append(("labels not learnt yet", state["labels_said"] or f"{state['labels_waiting']:,}"))
    if state["training"]:
        rows.append(("training", state["training"]["text"]))
        rows += [("training finding", _finding(f)) for f in state["training"]["findings"]]
    rows += _training_trouble(state["training_trouble"])
    checks = f", and {state['checks_at_staging']:,} checks at staging" if state["checks_at_staging"] else ""
    rows.append(("answers", f"{state['answers']:,}{checks}"))
    rows.append(("dataset", state["dataset"] or "none yet"))
    for model in state["models"]:
        figure = "" if model["map50"] is None else f", mAP@.5 {model['map50']:.3f}"
        line = f"{model['digest']}{figure} {' '.join(model['aliases'])}".strip()
        if model["barred"]:
            line += f"; barred ({model['barred']}): `carsdepo approve {model['version']} --reason ...` lifts it"
        rows.append((f"model {model['version']}", line))
    if state["quarantine"]:
        rows.append(
            (
                "quarantine",
                ", ".join(f"{n} {reason}" for reason, n in state["quarantine"].items())
                + "; `carsdepo quarantine list`",
            )
        )
    if state["last_alert"]:
        rows.append(("last alert", f"{state['last_alert']['at'][:16]}: {state['last_alert']['title']}"))
    return rows


def _finding(one: Mapping[str, Any]) -> str:
    """A finding about the newest training, and what to do."""
    return f"{one['name']} ({one['severity']}) since step {one['since']:,}: {one['evidence']} {one['advice']}"


def _tried(one: Mapping[str, Any]) -> str:
    usual = "the usual training" if one["asked_by"] == "retrain" else "a training that a person started"
    return f"fallback {one['fallback']}" if one["fallback"] else usual


def _training_trouble(trouble: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """The trainings without a usable model since the last success; no row where there are none."""
    if trouble is None:
        return []
    lines = [trouble["said"], *(f"{_tried(t)}: {t['reason']}" for t in trouble["tries"])]
    return [("a person is asked" if trouble["needs_person"] else "labels not learnt yet", "\n".join(lines))]
