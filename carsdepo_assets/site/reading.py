"""Reads the present state of an installation, for the site's first page and for `carsdepo status`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, get_args

import pyarrow.compute as pc
from pydantic import ValidationError

from carsdepo_assets.certificates import trusted
from carsdepo_assets.lake.annotations import labelled_photographs
from carsdepo_assets.lake.datasets import latest
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.queues import QueueState, queue_state
from carsdepo_assets.lake.schemas import CHECKS_SOURCE
from carsdepo_assets.lake.training_progress import TrainingStatus, training_status
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.labels_learnt import LabelCoverage, label_coverage
from carsdepo_assets.registry.ledger import Event, LedgerHistory, Stage
from carsdepo_assets.registry.models import CANDIDATE, ModelVersion
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.reporting.publish import ReportSummary
from carsdepo_assets.settings import Settings
from carsdepo_assets.site.tracing import known_versions

KINDS = ("exploration", "evaluation", "gate", "drift", "study", "kpi")
Health = Callable[[str], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Report:
    """A stored report: a page at reports/<kind>/<id>.html, described by the JSON file beside it."""

    kind: str
    """One of KINDS."""
    id: str
    title: str
    at: datetime
    """When it was made."""
    summary: str
    """Its result in one sentence."""
    figures: dict[str, Any]
    """Its main figures by name."""
    page: str | None
    """The key of the page; None where only the JSON file is there."""
    trouble: str | None = None
    """Why the JSON file could not be read; None where it could."""


@dataclass(frozen=True)
class Serving:
    """What a stage is to serve, and what its service says."""

    stage: str
    event: Event | None
    """The ledger's event that says what is to be served; None: nothing yet."""
    health: Mapping[str, Any] | None
    """The service's answer at /healthz; None where it does not answer."""

    @property
    def trouble(self) -> str | None:
        """What is wrong with the service, for people; None where it serves what the ledger says, or nothing is due."""
        if self.event is None:
            return None
        if self.health is None:
            return f"does not answer; start it: carsdepo serve --stage {self.stage}"
        if self.health.get("status") != "serving":
            return f"is {self.health.get('status')}: {self.health.get('error') or 'no model yet'}"
        if self.health.get("ready") is False:
            return f"is not ready: {'; '.join(self.health.get('not_ready_because', []))}"
        if self.health.get("digest") != self.event.digest:
            why = f": {self.health['error']}" if self.health.get("error") else ""
            return f"serves {self.health.get('digest')}, the ledger says {self.event.digest}{why}"
        return None

    @property
    def policy_note(self) -> str | None:
        """Why the service uses another policy than the files hold; None where it does not, or does not answer."""
        return self.health.get("policy_note") if self.health else None


@dataclass(frozen=True)
class Pending:
    """A model whose promotion waits for a person."""

    digest: str
    version: int | None
    """Its version; None where MLflow does not know it."""
    verdict: str
    """The gate's verdict."""
    why: str
    """Why a person must decide."""
    asked_at: datetime
    """When the gate decided."""
    reasons: tuple[str, ...]
    """The gate's reasons."""
    report_key: str | None
    """The key of the gate's page."""


@dataclass(frozen=True)
class SiteOverview:
    """The state of an installation at one moment."""

    at: datetime
    stages: tuple[Serving, ...]
    """Production, then staging."""
    models: tuple[ModelVersion, ...]
    """The registered models, newest first."""
    pending: tuple[Pending, ...]
    """Models that wait for a person's decision."""
    reports: Mapping[str, Report | None]
    """The newest report of each kind."""
    drift: Mapping[str, Any] | None
    """The newest row of the table `drift`; None before the first report."""
    queues: tuple[QueueState, ...]
    alerts: tuple[Mapping[str, Any], ...]
    """The last alerts, newest first."""
    photographs: int
    """Photographs in the lake."""
    labelled: int
    """Photographs with a label."""
    labels: LabelCoverage
    """How many labels were learnt from, and which trainings came to nothing."""
    answers: int
    """Rows of `inferences`, without those that `checks` counts."""
    dataset: str | None
    """The newest version of the dataset."""
    training: TrainingStatus | None = None
    """The training that runs, or ran last."""
    production_verdict: Mapping[str, Any] | None = None
    """The gate's newest verdict on the model in production; None where it was never asked."""
    checks: int = 0
    """Answers by which the platform checked a model at staging."""
    barred: Mapping[str, str] = field(default_factory=dict)
    """Digests of models that are not promoted automatically, with the reason."""

    @property
    def labels_waiting(self) -> int:
        """The number of label revisions that no model which met the floor was trained on."""
        return self.labels.unlearnt

    @property
    def has_candidate(self) -> bool:
        """Whether a registered model met the floor, so that a release may take it."""
        return any(CANDIDATE in m.aliases for m in self.models)

    @property
    def empty(self) -> bool:
        """Whether nothing has happened here yet."""
        happened = self.photographs or self.models or self.training or self.answers
        return not (happened or any(s.event for s in self.stages))

    @property
    def queue_length(self) -> int:
        """The number of photographs in labelling queues that have no labels yet."""
        return sum(q.open for q in self.queues)

    def to_dict(self) -> dict[str, Any]:
        """The state as JSON values, as `carsdepo status --json` prints it; times are ISO text."""
        stages = [
            {
                "stage": s.stage,
                "digest": s.event.digest if s.event else None,
                "version": s.event.version if s.event else None,
                "since": s.event.at if s.event else None,
                "actor": s.event.actor if s.event else None,
                "reason": s.event.reason if s.event else None,
                "service": dict(s.health) if s.health else None,
                "trouble": s.trouble,
                "policy_note": s.policy_note,
            }
            for s in self.stages
        ]
        kpi = self.reports.get("kpi")
        values: dict[str, Any] = {
            "at": self.at,
            "stages": stages,
            "pending_approvals": [asdict(p) for p in self.pending],
            "drift": _brief(self.drift),
            "kpis": {"at": kpi.at, "summary": kpi.summary, **kpi.figures} if kpi else None,
            "queue_length": self.queue_length,
            "labels_waiting": self.labels_waiting,
            "labels_said": self.labels.message if self.labels_waiting and not self.labels.in_trouble else None,
            "training_trouble": self.labels.to_dict() if self.labels.in_trouble else None,
            "photographs": self.photographs,
            "labelled": self.labelled,
            "answers": self.answers,
            "checks_at_staging": self.checks,
            "dataset": self.dataset,
            "training": self.training.to_dict() if self.training else None,
            "models": [
                {
                    "version": v.version,
                    "digest": v.digest,
                    "aliases": list(v.aliases),
                    "map50": v.figures.get("map50"),
                    "barred": self.barred.get(v.digest),
                }
                for v in self.models
            ],
            "last_alert": dict(self.alerts[0]) if self.alerts else None,
        }
        return dict(
            json.loads(json.dumps(values, default=lambda v: v.isoformat() if isinstance(v, datetime) else str(v)))
        )


def ask_service(settings: Settings, timeout_s: float = 1.0) -> Health:
    """A function that asks the service of a stage for its state, at /healthz.

    Args:
        settings: The installation, with the services' URLs.
        timeout_s: Seconds to wait for an answer.

    Returns:
        The function. It gives None where no service answers in time.
    """

    def ask(stage: str) -> Mapping[str, Any] | None:
        import httpx

        try:
            answer = httpx.get(f"{settings.service_url(stage)}/healthz", timeout=timeout_s, verify=trusted())
            body = answer.json() if answer.is_success else None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return None
        return body if isinstance(body, dict) else None

    return ask


def site_overview(lake: Lake, tracking: Tracking | None, policy: Policy, health: Health) -> SiteOverview:
    """Reads the present state; nothing is changed.

    Args:
        lake: The lake.
        tracking: The store of MLflow; None: there is none yet.
        policy: The policy in force.
        health: How a stage's service is asked, as `ask_service` gives it.
    """
    history, versions = LedgerHistory.read(lake), known_versions(tracking)
    stages: tuple[Stage, ...] = get_args(Stage)
    live = history.served("production")
    answered = lake.read("inferences", columns=["stage", "source"])
    of_checks = pc.and_(pc.equal(answered["stage"], "staging"), pc.equal(answered["source"], CHECKS_SOURCE))
    checks = pc.sum(of_checks).as_py() or 0
    return SiteOverview(
        at=datetime.now(UTC),
        stages=tuple(Serving(s, history.served(s), health(s)) for s in reversed(stages)),
        models=tuple(reversed(versions)),
        pending=tuple(pending(lake, history, policy, versions)),
        reports={kind: next(iter(reports(lake, kind)), None) for kind in KINDS},
        drift=last_drift(lake),
        queues=tuple(queue_state(lake)),
        alerts=tuple(alerts(lake, 5)),
        photographs=lake.read("images", columns=["image_id"]).num_rows,
        labelled=len(labelled_photographs(lake)),
        labels=label_coverage(lake, policy, history),
        answers=answered.num_rows - checks,
        checks=checks,
        barred=history.barred,
        dataset=latest(lake),
        training=training_status(lake, policy.training.silent_after_s),
        production_verdict=newest_verdict(lake, live.digest) if live and live.digest else None,
    )


def pending(lake: Lake, history: LedgerHistory, policy: Policy, models: Sequence[ModelVersion]) -> list[Pending]:
    """The models that wait for a person's decision, newest first.

    These are models that the gate passed or left undecided since production last changed, and on which no person has
    decided. An undecided model always needs a person. A passed one needs a person where the policy says so, while
    promotions are on hold, and where the model is barred.

    Args:
        lake: The lake.
        history: The events of the ledger.
        policy: The policy in force.
        models: The registered models.
    """
    now = history.served("production")
    hold = history.promotion_hold
    versions = {v.digest: v.version for v in models}
    columns = ["challenger", "at", "verdict", "reasons", "report_key"]
    newest: dict[str, dict[str, Any]] = {}
    for row in sorted(lake.read("gates", columns=columns).to_pylist(), key=lambda r: r["at"]):
        newest[row["challenger"]] = row
    waiting = []
    for digest, row in newest.items():
        if now and (digest == now.digest or row["at"] <= now.at):
            continue
        if history.latest_decision(digest) is not None:
            continue
        if row["verdict"] == "undecided":
            why = "the gate could not decide"
        elif row["verdict"] != "promote":
            continue
        elif digest in history.barred:
            why = f"it is barred from automatic promotion ({history.barred[digest]})"
        elif hold is not None:
            why = f"promotions are on hold: {hold.reason}"
        elif policy.release.approval == "person":
            why = "the policy asks for a person (release.approval)"
        else:
            continue
        reasons = tuple(row["reasons"] or ())
        waiting.append(
            Pending(digest, versions.get(digest), row["verdict"], why, row["at"], reasons, row["report_key"])
        )
    return sorted(waiting, key=lambda p: p.asked_at, reverse=True)


def newest_verdict(lake: Lake, digest: str) -> dict[str, Any] | None:
    """The gate's newest verdict on a model, as a row of `gates`; None where it was never asked."""
    columns = ["challenger", "at", "verdict", "champion", "reasons", "report_key"]
    rows = [r for r in lake.read("gates", columns=columns).to_pylist() if r["challenger"] == digest]
    return max(rows, key=lambda r: r["at"]) if rows else None


def reports(lake: Lake, kind: str) -> list[Report]:
    """The reports of a kind, newest first.

    A report whose JSON file is damaged or missing is listed with its trouble, by its time in the lake.
    """
    times_by_base: dict[str, dict[str, datetime]] = {}
    for info in lake.list(f"reports/{kind}"):
        base, dot, suffix = info.key.rpartition(".")
        if dot and suffix in ("html", "json"):
            times_by_base.setdefault(base, {})[suffix] = info.modified_at
    listed = [_report(lake, kind, base, times) for base, times in times_by_base.items()]
    return sorted(listed, key=lambda r: (r.at, r.id), reverse=True)


def _report(lake: Lake, kind: str, base: str, times: Mapping[str, datetime]) -> Report:
    identity = base.removeprefix(f"reports/{kind}/")
    page = f"{base}.html" if "html" in times else None
    summary, trouble = ReportSummary(), None
    try:
        summary = ReportSummary.model_validate_json(lake.get(f"{base}.json"))
    except ValidationError as error:
        trouble = f"{base}.json cannot be read: {error.errors()[0]['msg']}"
    except LakeError as error:
        trouble = f"{base}.json cannot be read: {error}"
    return Report(
        kind,
        identity,
        summary.title or f"{kind.capitalize()} {identity}",
        summary.at or max(times.values()),
        summary.summary,
        dict(summary.figures),
        page,
        trouble,
    )


def last_drift(lake: Lake) -> dict[str, Any] | None:
    """The newest row of the table `drift`; None before the first report."""
    rows = lake.read("drift").to_pylist()
    return dict(max(rows, key=lambda r: r["at"])) if rows else None


def alerts(lake: Lake, count: int) -> list[dict[str, Any]]:
    """The last alerts as rows of `alerts`, newest first."""
    return sorted(lake.read("alerts").to_pylist(), key=lambda r: r["at"], reverse=True)[:count]


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _brief(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    kept = ("report_id", "at", "window_from", "window_to", "digest", "photographs", "computed", "drift", "band")
    return {k: row[k] for k in (*kept, "worst_feature", "report_key")}
