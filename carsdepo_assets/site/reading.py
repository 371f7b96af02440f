"""What goes on, read from lake, ledger, registry and services: for the site's first page and `carsdepo status`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, get_args

import pyarrow.compute as pc

from carsdepo_assets.certificates import trusted
from carsdepo_assets.lake.datasets import latest
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.queues import QueueState, queue_state
from carsdepo_assets.lake.schemas import CHECKS_SOURCE
from carsdepo_assets.lake.training_progress import Look, look
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.labels_learnt import LabelCoverage, label_coverage
from carsdepo_assets.registry.ledger import Event, Stage, barred, events, latest_decision, promotion_hold, served
from carsdepo_assets.registry.models import ModelVersion
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.settings import Settings
from carsdepo_assets.site.tracing import known_versions

KINDS = ("evaluation", "gate", "drift", "kpi")
Health = Callable[[str], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Report:
    """A page at reports/<kind>/<id>.html, as the JSON beside it describes it. trouble: why that could not be read."""

    kind: str
    id: str
    title: str
    at: datetime
    summary: str
    figures: dict[str, Any]
    page: str | None  # key of the page; None where only the JSON is there
    trouble: str | None = None


@dataclass(frozen=True)
class Serving:
    """A stage: what the ledger wants (event None: nothing yet) and what its service says (health None: no answer)."""

    stage: str
    event: Event | None
    health: Mapping[str, Any] | None

    @property
    def trouble(self) -> str | None:
        """What is wrong, in words; None where the service serves what the ledger wants or nothing is wanted."""
        if self.event is None:
            return None
        if self.health is None:
            return f"does not answer; start it: carsdepo serve --stage {self.stage}"
        if self.health.get("status") != "serving":
            return f"is {self.health.get('status')}: {self.health.get('error') or 'no model yet'}"
        if self.health.get("digest") != self.event.digest:
            return f"serves {self.health.get('digest')}, the ledger says {self.event.digest}"
        return None

    @property
    def policy_note(self) -> str | None:
        """Why the service goes by another policy than the one on disk; None where it does not, or does not answer."""
        return self.health.get("policy_note") if self.health else None


@dataclass(frozen=True)
class Pending:
    """A model whose promotion waits for a person. why: what asks for one. asked_at: of the gate's verdict."""

    digest: str
    version: int | None
    verdict: str
    why: str
    asked_at: datetime
    reasons: tuple[str, ...]
    report_key: str | None


@dataclass(frozen=True)
class SiteOverview:
    """drift: the last row of the table. labels: how far the labels are learnt, and what was tried.

    photographs: in the store; answers: of the table `inferences`, but the platform's own checks of a model at staging,
    which `checks` counts. barred: digests that no machine promotes, and why. training: that which runs or ran last.
    production_verdict: the gate's newest on what production is to serve, None where it was never asked.
    """

    at: datetime
    stages: tuple[Serving, ...]
    models: tuple[ModelVersion, ...]
    pending: tuple[Pending, ...]
    reports: Mapping[str, Report | None]
    drift: Mapping[str, Any] | None
    queues: tuple[QueueState, ...]
    alerts: tuple[Mapping[str, Any], ...]
    photographs: int
    labelled: int
    labels: LabelCoverage
    answers: int
    dataset: str | None
    training: Look | None = None
    production_verdict: Mapping[str, Any] | None = None
    checks: int = 0
    barred: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels_waiting(self) -> int:
        """Label revisions that no model which met the floor has seen."""
        return self.labels.unlearnt

    @property
    def empty(self) -> bool:
        """Nothing has happened here yet."""
        happened = self.photographs or self.models or self.training or self.answers
        return not (happened or any(s.event for s in self.stages))

    @property
    def queue_length(self) -> int:
        """Photographs in labelling queues that have no labels yet."""
        return sum(q.open for q in self.queues)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; times as ISO text."""
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
        said: dict[str, Any] = {
            "at": self.at,
            "stages": stages,
            "pending_approvals": [asdict(p) for p in self.pending],
            "drift": _brief(self.drift),
            "kpis": {"at": kpi.at, "summary": kpi.summary, **kpi.figures} if kpi else None,
            "queue_length": self.queue_length,
            "labels_waiting": self.labels_waiting,
            "labels_said": self.labels.said if self.labels_waiting and not self.labels.in_trouble else None,
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
            json.loads(json.dumps(said, default=lambda v: v.isoformat() if isinstance(v, datetime) else str(v)))
        )


def ask_service(settings: Settings, timeout_s: float = 1.0) -> Health:
    """/healthz of a stage; None where nothing answers in time or the answer is not the contract's."""

    def ask(stage: str) -> Mapping[str, Any] | None:
        import httpx

        try:
            answer = httpx.get(f"{settings.service_url(stage)}/healthz", timeout=timeout_s, verify=trusted())
            said = answer.json() if answer.is_success else None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return None
        return said if isinstance(said, dict) else None

    return ask


def site_overview(lake: Lake, tracking: Tracking | None, policy: Policy, health: Health) -> SiteOverview:
    """Reads everything anew; nothing is changed. health: as ask_service gives it."""
    history, known = events(lake), known_versions(tracking)
    stages: tuple[Stage, ...] = get_args(Stage)
    live = served(history, "production")
    answered = lake.read("inferences", columns=["stage", "source"])
    of_checks = pc.and_(pc.equal(answered["stage"], "staging"), pc.equal(answered["source"], CHECKS_SOURCE))
    checks = pc.sum(of_checks).as_py() or 0
    return SiteOverview(
        at=datetime.now(UTC),
        stages=tuple(Serving(s, served(history, s), health(s)) for s in reversed(stages)),
        models=tuple(reversed(known)),
        pending=tuple(pending(lake, history, policy, known)),
        reports={kind: next(iter(reports(lake, kind)), None) for kind in KINDS},
        drift=last_drift(lake),
        queues=tuple(queue_state(lake)),
        alerts=tuple(alerts(lake, 5)),
        photographs=lake.read("images", columns=["image_id"]).num_rows,
        labelled=len(lake.read("annotations", columns=["image_id"])["image_id"].unique()),
        labels=label_coverage(lake, policy, history),
        answers=answered.num_rows - checks,
        checks=checks,
        barred=barred(history),
        dataset=latest(lake),
        training=look(lake, policy.training.silent_after_s),
        production_verdict=newest_verdict(lake, live.digest) if live and live.digest else None,
    )


def pending(lake: Lake, history: Sequence[Event], policy: Policy, known: Sequence[ModelVersion]) -> list[Pending]:
    """Models that the gate let through or left undecided since production last changed and that need a person's word.

    `promote` needs one where the policy says so, while a hold stands, and for a barred digest; `undecided` always.
    A standing word on the digest settles it. Newest first.
    """
    now = served(list(history), "production")
    hold, out = promotion_hold(list(history)), barred(list(history))
    versions = {v.digest: v.version for v in known}
    columns = ["challenger", "at", "verdict", "reasons", "report_key"]
    newest: dict[str, dict[str, Any]] = {}
    for row in sorted(lake.read("gates", columns=columns).to_pylist(), key=lambda r: r["at"]):
        newest[row["challenger"]] = row
    found = []
    for digest, row in newest.items():
        if (now and (digest == now.digest or row["at"] <= now.at)) or latest_decision(
            list(history), digest
        ) is not None:
            continue
        if row["verdict"] == "undecided":
            why = "the gate could not decide"
        elif row["verdict"] != "promote":
            continue
        elif digest in out:
            why = f"it is barred from automatic promotion ({out[digest]})"
        elif hold is not None:
            why = f"a hold stands: {hold.reason}"
        elif policy.release.approval == "person":
            why = "the policy asks for a person (release.approval)"
        else:
            continue
        reasons = tuple(row["reasons"] or ())
        found.append(Pending(digest, versions.get(digest), row["verdict"], why, row["at"], reasons, row["report_key"]))
    return sorted(found, key=lambda p: p.asked_at, reverse=True)


def newest_verdict(lake: Lake, digest: str) -> dict[str, Any] | None:
    """The gate's newest word on a model: verdict, at, champion, reasons, report_key; None where it was never asked."""
    columns = ["challenger", "at", "verdict", "champion", "reasons", "report_key"]
    rows = [r for r in lake.read("gates", columns=columns).to_pylist() if r["challenger"] == digest]
    return max(rows, key=lambda r: r["at"]) if rows else None


def reports(lake: Lake, kind: str) -> list[Report]:
    """Newest first. A report whose JSON is damaged or missing is listed with its trouble, by its time in the lake."""
    found: dict[str, dict[str, datetime]] = {}
    for info in lake.list(f"reports/{kind}"):
        base, dot, suffix = info.key.rpartition(".")
        if dot and suffix in ("html", "json"):
            found.setdefault(base, {})[suffix] = info.modified_at
    listed = [_report(lake, kind, base, times) for base, times in found.items()]
    return sorted(listed, key=lambda r: (r.at, r.id), reverse=True)


def _report(lake: Lake, kind: str, base: str, times: Mapping[str, datetime]) -> Report:
    identity = base.removeprefix(f"reports/{kind}/")
    page = f"{base}.html" if "html" in times else None
    at, trouble = max(times.values()), None
    said: dict[str, Any] = {}
    try:
        read = json.loads(lake.get(f"{base}.json"))
        if not isinstance(read, dict):
            raise ValueError("not an object")
        said = read
        if "at" in said:
            at = datetime.fromisoformat(said["at"])
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
    except (LakeError, ValueError, TypeError) as error:
        trouble = f"{base}.json cannot be read: {error}"
    figures = said.get("figures")
    return Report(
        kind,
        identity,
        str(said.get("title") or f"{kind.capitalize()} {identity}"),
        at,
        str(said.get("summary") or said.get("verdict") or ""),
        figures if isinstance(figures, dict) else {},
        page,
        trouble,
    )


def last_drift(lake: Lake) -> dict[str, Any] | None:
    """The newest row of `drift`; None before the first report."""
    rows = lake.read("drift").to_pylist()
    return dict(max(rows, key=lambda r: r["at"])) if rows else None


def alerts(lake: Lake, count: int) -> list[dict[str, Any]]:
    """Newest first."""
    return sorted(lake.read("alerts").to_pylist(), key=lambda r: r["at"], reverse=True)[:count]


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _brief(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    kept = ("report_id", "at", "window_from", "window_to", "digest", "photographs", "computed", "drift", "band")
    return {k: row[k] for k in (*kept, "worst_feature", "report_key")}
