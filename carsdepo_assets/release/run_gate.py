"""Runs the promotion gate for a model and stores its verdict: a row of the table `gates` and a report in the lake."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from carsdepo_assets.detectors.export.export_card import ExportCard, read_export
from carsdepo_assets.evaluation.golden_photographs import golden_versions
from carsdepo_assets.lake import golden as sets
from carsdepo_assets.lake.image_metadata import read_images
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import read_card
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.licences_learnt import non_commercial
from carsdepo_assets.release.gate import GateDecision, GateInputs, NotComparable, Verdict, gate_verdict
from carsdepo_assets.release.gate_checks import Check
from carsdepo_assets.release.validation import Validation
from carsdepo_assets.reporting.publish import ReportSummary, publish
from carsdepo_assets.scoring.paired import AtFooting, Footing

if TYPE_CHECKING:
    from carsdepo_assets.evaluation.predict import Scored


Predict = Callable[[Sequence[str], str, sets.Golden], object]
"""Given the models' digests, the dataset's version and the golden set."""


def predicted_here(digests: Sequence[str], dataset: str, golden: sets.Golden) -> None:
    """Leaves it to the scoring to predict what is missing, in this process."""


@dataclass(frozen=True)
class GateResult:
    """A stored verdict."""

    gate_id: str
    inputs: GateInputs
    verdict: Verdict
    report_key: str
    """The key of its page in the lake."""
    reused: bool
    """The verdict was there already; nothing was evaluated."""


def newest_verdict_on(
    lake: Lake, challenger: str, champion: str | None, golden: int | None = None, policy_digest: str | None = None
) -> GateResult | None:
    """Finds the newest stored verdict on a pair of models.

    Args:
        lake: whose table `gates` is read.
        challenger: digest of the challenger.
        champion: digest of the champion; None for verdicts on a first model.
        golden: only verdicts on this version of the golden set.
        policy_digest: only verdicts under this policy.

    Returns:
        The verdict, or None where there is none.
    """
    rows = [
        r
        for r in lake.read("gates").to_pylist()
        if (r["challenger"], r["champion"]) == (challenger, champion)
        and golden in (None, r["golden"])
        and policy_digest in (None, r["policy_digest"])
    ]
    return _kept(max(rows, key=lambda r: r["at"])) if rows else None


def run_gate(
    lake: Lake,
    challenger: str,
    champion: str | None,
    policy: Policy,
    validation: Validation,
    *,
    version: int | None,
    champion_version: int | None,
    dagster_run_id: str | None,
    predict: Predict = predicted_here,
) -> GateResult:
    """Returns the stored verdict if nothing that it rests on has changed, else evaluates and stores a new one.

    The report is stored first and the row last. Only one caller at a time may run this (`promote` holds a lock).

    Args:
        lake: where models, golden set and verdicts are.
        challenger: digest of the model that is to be promoted.
        champion: digest of the model in production; None before the first.
        policy: the policy in force.
        validation: the challenger's validation at staging, for its latency and runtime.
        version: the challenger's version in the registry, for the report.
        champion_version: the champion's version, for the report.
        dagster_run_id: of the run that asks; None outside of Dagster.
        predict: called before the models are scored, to have their missing detections predicted elsewhere.

    Raises:
        NoGoldenSet: there is no golden set yet.
        NotComparable: the models were trained on other classes than the policy's.
    """
    from carsdepo_assets.evaluation.golden import golden_scores
    from carsdepo_assets.release.gate_report import Page, render_gate

    golden, dataset = golden_versions(lake)
    inputs = GateInputs(challenger, champion, golden, dataset, policy.digest(), validation.at.isoformat())
    standing = newest_verdict_on(lake, challenger, champion, golden, policy.digest())
    if standing is not None and standing.inputs == inputs:
        return standing
    names = policy.class_map.names
    cards = {d: read_card(lake, d) for d in (challenger, champion) if d is not None}
    for digest, card in cards.items():
        if tuple(names[: len(card.class_names)]) != card.class_names:
            raise NotComparable(f"Model {digest} has the classes {card.class_names}, the policy has {names}.")
    chosen = sets.read(lake, golden)  # once: it may be extended meanwhile
    predict(list(cards), dataset, chosen)
    scored = golden_scores(lake, challenger, dataset, policy, of=chosen)
    verdict = gate_verdict(
        None if champion is None else golden_scores(lake, champion, dataset, policy, of=chosen),
        scored,
        names,
        (None if champion is None else cards[champion].threshold, cards[challenger].threshold),
        policy,
        latency_p95_ms=validation.latency.get("p95"),
        parity=served_parity(read_export(lake, challenger), validation.runtime),
        slices=_slices(lake, scored),
        champion_classes=None if champion is None else cards[champion].class_names,
    )
    if (licences := non_commercial(lake, challenger, policy)) is not None:
        verdict = replace(verdict, notes=(*verdict.notes, f"A person decides about it in any case: {licences}."))
    count = sum(r["challenger"] == challenger and r["golden"] == golden for r in lake.read("gates").to_pylist())
    gate_id = f"{challenger}-{golden}-{count + 1}"
    base, now = f"reports/gate/{gate_id}", datetime.now(UTC)
    page = Page(
        gate_id, inputs, verdict, now, version=version, champion_version=champion_version, runtime=validation.runtime
    )
    summary = ReportSummary(
        title=f"Gate: version {version} against {champion_version or 'no champion'}",
        at=now,
        summary=f"{verdict.verdict}: {verdict.reasons[0] if verdict.reasons else ''}",
        figures={k: v for k, v in verdict.figures.items() if v is not None},
    )
    publish(lake, base, render_gate(page), summary)
    lake.append("gates", [gate_row(gate_id, inputs, verdict, now, f"{base}.html", dagster_run_id)], gate_id)
    return GateResult(gate_id, inputs, verdict, f"{base}.html", False)


def served_parity(export: ExportCard | None, runtime: str) -> float | None:
    """Share of torch's boxes that the served runtime reproduces; 1 for torch itself, None where it was not measured."""
    if runtime == "torch":
        return 1.0
    figures = {str(name): f for name, f in export.runtimes.items()}.get(runtime) if export else None
    return figures.parity.share if figures and figures.parity else None


def _slices(lake: Lake, scored: Scored) -> dict[str, Sequence[str | None]]:
    """Light (as the evaluation slices by it) and camera of each golden photograph."""
    from carsdepo_assets.evaluation.slices import lights

    cameras = {r["image_id"]: r["camera"] for r in read_images(lake, ["image_id", "camera"]).to_pylist()}
    return {"light": lights(lake, scored.rows), "camera": [cameras.get(r["image_id"]) for r in scored.rows]}


def gate_row(
    gate_id: str, inputs: GateInputs, verdict: Verdict, at: datetime, report_key: str, run_id: str | None
) -> dict[str, Any]:
    """A verdict as a row of the table `gates`; `newest_verdict_on` reads it back."""
    columns = ("verdict", "mode", "reasons", "figures")  # of the table; figures: flat, for people and plots
    kept = {k: v for k, v in asdict(verdict).items() if k not in columns}
    kept |= {"dataset": inputs.dataset, "validated_at": inputs.validated_at}
    return {
        "gate_id": gate_id,
        "at": at,
        "challenger": inputs.challenger,
        "champion": inputs.champion,
        "golden": inputs.golden,
        "verdict": verdict.verdict,
        "mode": verdict.mode,
        "reasons": list(verdict.reasons),
        "figures": json.dumps({**verdict.figures, "detail": kept}),
        "policy_digest": inputs.policy_digest,
        "report_key": report_key,
        "dagster_run_id": run_id,
    }


def _kept(row: Mapping[str, Any]) -> GateResult:
    figures = json.loads(row["figures"])
    kept = figures.pop("detail")
    decision: GateDecision = row["verdict"]
    verdict = Verdict(
        verdict=decision,
        mode=row["mode"],
        reasons=tuple(row["reasons"]),
        checks=tuple(Check(**c) for c in kept["checks"]),
        figures=figures,
        photographs=kept["photographs"],
        boxes=kept["boxes"],
        groups=kept["groups"],
        needed=kept["needed"],
        notes=tuple(kept["notes"]),
        footing=_footing(kept.get("footing")),  # None in rows of before there was one
    )
    inputs = GateInputs(
        row["challenger"], row["champion"], row["golden"], kept["dataset"], row["policy_digest"], kept["validated_at"]
    )
    return GateResult(row["gate_id"], inputs, verdict, row["report_key"], True)


def _footing(kept: Mapping[str, Any] | None) -> Footing | None:
    if kept is None:
        return None
    first, second = (AtFooting(**{**side, "curve": tuple(side["curve"])}) for side in (kept["first"], kept["second"]))
    return Footing(kept["false_alarms"], first, second)
