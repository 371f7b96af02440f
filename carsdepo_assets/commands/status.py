"""The state of one installation, read from lake, ledger, registry and services; changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from carsdepo_assets.settings import Settings


def read_status(settings: Settings) -> dict[str, Any]:
    """What serves where, last drift, pending approvals, queue length, last KPIs, and what is in the lake."""
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.site.reading import ask_service, site_overview
    from carsdepo_assets.site.tracing import open_tracking

    if not settings.lake.startswith("s3://") and not settings.home.exists():
        return {"home": str(settings.home), "state": "nothing here yet: `make demo`, or `carsdepo import FOLDER`"}
    lake = Lake.open(settings.lake)
    # Counted here: a query would import DuckDB and pandas, a second of every call.
    reasons = Counter(lake.read("quarantine", columns=["reason"])["reason"].to_pylist())
    found = site_overview(lake, open_tracking(settings), settings.policy(), ask_service(settings)).to_dict()
    return {
        "home": str(settings.home),
        "lake": settings.lake,
        **found,
        "quarantine": dict(sorted(reasons.items())),
    }


def show(found: Mapping[str, Any], console: Console) -> None:
    """The same for people."""
    table = Table("what", title="Carsdepo", title_justify="left", show_header=False)
    table.add_column("value", overflow="fold")
    for name, value in _rows(found):
        table.add_row(name, escape(value))
    console.print(table)


def _rows(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "state" in found:
        return [("home", found["home"]), ("state", found["state"])]
    rows = [("lake", found["lake"])]
    for stage in found["stages"]:
        said = "nothing deployed yet"
        if stage["digest"]:
            said = f"version {stage['version']} ({stage['digest']}) since {stage['since'][:16]}, by {stage['actor']}"
        rows.append((stage["stage"], said + (f"\n{stage['trouble']}" if stage["trouble"] else "")))
        if stage["policy_note"]:
            rows.append((f"{stage['stage']} policy", stage["policy_note"]))
    for asked in found["pending_approvals"]:
        how = f"`carsdepo approve {asked['version'] or asked['digest']} --reason ...`"
        rows.append(("approval wanted", f"version {asked['version']} ({asked['digest']}): {asked['why']}; {how}"))
    drift = found["drift"]
    if drift is None:
        rows.append(("drift", "not measured yet"))
    elif not drift["computed"]:
        rows.append(("drift", f"{drift['at'][:16]}: could not be told from {drift['photographs']} photographs"))
    else:
        from carsdepo_assets.monitoring.features import NAMES

        worst = NAMES.get(drift["worst_feature"], drift["worst_feature"])
        share = f"{100 * (drift['drift'] or 0):.1f} %, {worst}" if drift["drift"] else "none"
        rows.append(
            ("drift", f"{drift['at'][:16]}: {share} (band {drift['band']}, {drift['photographs']} photographs)")
        )
    kpis = found["kpis"]
    rows.append(("KPIs", f"{kpis['at'][:16]}: {kpis['summary']}" if kpis else "no report yet"))
    rows.append(("labelling queue", f"{found['queue_length']} photographs wait for labels"))
    rows.append(("photographs", f"{found['photographs']:,}, {found['labelled']:,} labelled"))
    rows.append(("labels not trained on", found["labels_said"] or f"{found['labels_waiting']:,}"))
    if found["training"]:
        rows.append(("training", found["training"]["text"]))
    rows += _training_trouble(found["training_trouble"])
    checks = f", beside {found['checks_at_staging']:,} checks at staging" if found["checks_at_staging"] else ""
    rows.append(("answers", f"{found['answers']:,}{checks}"))
    rows.append(("dataset", found["dataset"] or "none yet"))
    for model in found["models"]:
        figure = "" if model["map50"] is None else f", mAP@.5 {model['map50']:.3f}"
        line = f"{model['digest']}{figure} {' '.join(model['aliases'])}".strip()
        if model["barred"]:
            line += f"; barred ({model['barred']}): `carsdepo approve {model['version']} --reason ...` lifts it"
        rows.append((f"model {model['version']}", line))
    if found["quarantine"]:
        rows.append(("quarantine", ", ".join(f"{n} {reason}" for reason, n in found["quarantine"].items())))
    if found["last_alert"]:
        rows.append(("last alert", f"{found['last_alert']['at'][:16]}: {found['last_alert']['title']}"))
    return rows


def _tried(one: Mapping[str, Any]) -> str:
    usual = "the usual training" if one["asked_by"] == "retrain" else "a training that a person started"
    return f"fallback {one['fallback']}" if one["fallback"] else usual


def _training_trouble(trouble: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Trainings that came to nothing and that no one has settled; no row where there are none."""
    if trouble is None:
        return []
    lines = [trouble["said"], *(f"{_tried(t)}: {t['reason']}" for t in trouble["tries"])]
    return [("a person is asked" if trouble["needs_person"] else "labels not learnt yet", "\n".join(lines))]
