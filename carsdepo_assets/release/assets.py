"""Step 4 as assets: a registered model is served at staging, found right as served, and goes to production."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from carsdepo_assets import __version__
from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.orchestration.ui_metadata import rounded
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.release.validation import CHECKS
from carsdepo_assets.resources import LakeResource, PolicyResource, ServicesResource

if TYPE_CHECKING:
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.policy import Policy
    from carsdepo_assets.registry.models import ModelVersion
    from carsdepo_assets.registry.tracking import Tracking
    from carsdepo_assets.release.gate_checks import Check
    from carsdepo_assets.release.promotion import Promotion

PRODUCTION = dg.AssetKey("production_model")


class WhichVersion(dg.Config):
    version: str | None = Field(
        default=None, description="a version's number, its digest (or first digits) or latest; None: see the asset"
    )


@dg.asset(group_name="release", deps=["registered_model"], code_version=__version__, kinds={"http"})
def staging_deployment(
    context: dg.AssetExecutionContext,
    config: WhichVersion,
    lake: LakeResource,
    policy: PolicyResource,
    services: ServicesResource,
    tracking: MlflowTracking,
) -> dg.MaterializeResult:
    """The version served at staging: exported, entered in the ledger, and waited for until the service reports it.

    config.version None: the newest with the alias `candidate`.
    """
    from carsdepo_assets.registry.aliases import project
    from carsdepo_assets.release.staging import asked_version, deploy

    rules, opened, store = policy.read(), lake.open(), tracking.tracking()
    version = asked_version(store, config.version)
    services.health("staging")  # before anything is written: no service, no deployment
    done = deploy(opened, version, rules, context.run.run_id)
    said = services.wait_for("staging", version.digest, rules.release.wait_s)
    project(store, opened)
    runtimes = [
        dg.TableRecord(
            {
                "runtime": name,
                "median ms": figures.median_ms,
                "parity": figures.parity.share if figures.parity else None,
                "note": figures.reason or ("serves" if name == done.export.chosen else ""),
            }
        )
        for name, figures in done.export.runtimes.items()
    ]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version.digest),
        metadata={
            "version": version.version,
            "digest": version.digest,
            "runtime": said["runtime"],
            "runtime_because": done.export.why,
            "runtimes": dg.MetadataValue.table(runtimes),
            "service": dg.MetadataValue.url(services.url("staging")),
            "ledger_sequence": done.event.sequence,
            "reused": done.reused,
        },
    )


@dg.asset(
    group_name="release",
    deps=[staging_deployment],
    code_version=__version__,
    kinds={"http"},
    check_specs=[
        dg.AssetCheckSpec(name, asset="staging_validation", blocking=blocks, description=said)
        for name, (blocks, said) in CHECKS.items()
    ],
)
def staging_validation(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    policy: PolicyResource,
    services: ServicesResource,
    tracking: MlflowTracking,
) -> dg.MaterializeResult:
    """Staging's model found right as served: real requests, compared with the model run here; bad input; capture."""
    from carsdepo_assets.detectors.export.runtimes import load_served
    from carsdepo_assets.evaluation.golden_photographs import golden_photographs
    from carsdepo_assets.registry import ledger
    from carsdepo_assets.registry.models import versions
    from carsdepo_assets.release.validation import validate, validation_key

    rules, opened = policy.read(), lake.open()
    event = ledger.desired(opened, "staging")
    if event is None or event.digest is None:
        raise ledger.LedgerError("Nothing was deployed to staging yet: materialize `staging_deployment`.")
    health = services.wait_for("staging", event.digest, rules.release.wait_s)
    registered = {v.version: v.digest for v in versions(tracking.tracking())}
    done = validate(
        opened,
        rules,
        golden_photographs(opened, rules, rules.release.validation_photographs),
        load_served(opened, event.digest, rules, runtime=health["runtime"]).predictor,
        url=services.url("staging"),
        headers=services.headers(),
        event=event,
        registered=registered.get(event.version) if event.version is not None else None,
        health=health,
    )
    latency = [dg.TableRecord({"of": of, "value": round(value, 1)}) for of, value in done.latency.items()]
    columns = dg.TableSchema([dg.TableColumn("of", "string"), dg.TableColumn("value", "float")])  # also without a row
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{done.digest}:{done.at.isoformat()}"),
        metadata={
            "version": event.version,
            "digest": done.digest,
            "runtime": done.runtime,
            "photographs": done.photographs,
            "boxes": done.boxes,
            "latency": dg.MetadataValue.table(latency, schema=columns),
            **rounded({f"latency_{of}_ms": value for of, value in done.latency.items() if of != "requests"}),
            "record": lake.link(validation_key(done.digest)),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=o.name,
                passed=o.passed,
                severity=dg.AssetCheckSeverity.ERROR if CHECKS[o.name][0] else dg.AssetCheckSeverity.WARN,
                description=o.said,
            )
            for o in done.outcomes
        ],
    )


@dg.asset(
    group_name="release", deps=[staging_validation], code_version=__version__, output_required=False, kinds={"http"}
)
def production_model(
    context: dg.AssetExecutionContext,
    config: WhichVersion,
    lake: LakeResource,
    policy: PolicyResource,
    services: ServicesResource,
    tracking: MlflowTracking,
    alerts: AlertsResource,
) -> Iterator[dg.MaterializeResult]:
    """The model in production: every materialization is a promotion or a rollback, its upstream is the lineage.

    Asks everything again by itself: bars, staging's validation, the gate, approval. Where the answer is no the run
    succeeds, nothing is materialized, and an observation here has the verdict. config.version None: staging's model.
    """
    from carsdepo_assets.registry.aliases import project
    from carsdepo_assets.registry.ledger import desired
    from carsdepo_assets.release.promotion import promote
    from carsdepo_assets.release.staging import asked_version

    rules, opened, store = policy.read(), lake.open(), tracking.tracking()
    staged = desired(opened, "staging")
    version = asked_version(store, config.version or (staged.digest if staged else None))
    done = promote(
        opened, version, rules, dagster_run_id=context.run.run_id, reachable=lambda: services.health("production")
    )
    if done.gated is not None and not done.gated.reused:
        _log_gate(context, store, version, done.gated.verdict.figures)
    if done.outcome in ("wanted", "refused"):
        _say_no(context, done, version, opened, rules, lake, alerts)
        return
    said = services.wait_for("production", version.digest, rules.release.wait_s)
    project(store, opened)
    assert done.event is not None
    if done.outcome == "standing" and _shown(context.instance) == (version.digest, done.event.sequence):
        context.log.info(f"Production serves version {version.version} already: nothing changed.")
        return
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version.digest),
        metadata={
            **_metadata(done, version, lake),
            "ledger_sequence": done.event.sequence,
            "previous": done.event.previous or "none",
            "runtime": said["runtime"],
            "service": dg.MetadataValue.url(services.url("production")),
        },
    )


def _log_gate(
    context: dg.AssetExecutionContext, store: "Tracking", version: "ModelVersion", figures: Mapping[str, float | None]
) -> None:
    """The gate's difference as metrics of the version's training. The verdict stands without them: trouble is told."""
    from mlflow.exceptions import MlflowException

    shown = ("map50_difference", "map50_difference_low", "map50_difference_high", "challenger_map50", "champion_map50")
    row = {f"gate_{name}": value for name in shown if (value := figures.get(name)) is not None}
    if version.run_id is None or not row:
        return
    try:
        store.log_row(version.run_id, row, step=0)
    except MlflowException as error:
        context.log.warning(f"The gate's figures were not logged to MLflow run {version.run_id}: {error}")


def _say_no(
    context: dg.AssetExecutionContext,
    done: "Promotion",
    version: "ModelVersion",
    opened: "Lake",
    policy: "Policy",
    lake: LakeResource,
    alerts: AlertsResource,
) -> None:
    """Log, observation and alert: what was decided, why, and what a person can do."""
    wanted = done.outcome == "wanted"
    title = f"Version {version.version} {'waits for approval' if wanted else 'is not promoted'}"
    reasons = list(done.gated.verdict.reasons) if done.gated else []
    context.log.warning(f"{title}: {done.approval.reason}")
    context.log_event(dg.AssetObservation(PRODUCTION, metadata={**_metadata(done, version, lake), "promoted": False}))
    lines = [f"{done.approval.reason}."]
    lines += [r for r in reasons if r.rstrip(".") not in done.approval.reason]
    if done.gated:
        lines.append(f"Report: {lake.address(done.gated.report_key)}")
    lines.append(f'To promote it all the same: carsdepo approve {version.version} --reason "..."')
    state = done.gated.gate_id if done.gated else done.approval.reason
    alerts.send(
        opened,
        policy,
        kind="approval_wanted" if wanted else "promotion_refused",
        key=f"release:{version.digest}:{done.outcome}:{state}",
        severity="warning",
        title=title,
        body="\n".join(lines),
    )


def _metadata(done: "Promotion", version: "ModelVersion", lake: LakeResource) -> dict[str, Any]:
    """What a promotion and a refusal both show."""
    from carsdepo_assets.lake.models import folder

    found: dict[str, Any] = {
        "version": version.version,
        "digest": version.digest,
        "decided_by": done.approval.actor,
        "reason": done.approval.reason,
        "lineage": lake.link(f"{folder(version.digest)}/lineage.json"),
    }
    if done.gated is None:
        return found
    from carsdepo_assets.release.gate_report import differences_png
    from carsdepo_assets.reporting.page import data_uri

    verdict = done.gated.verdict
    figures = {k: v for k, v in verdict.figures.items() if v is not None}
    found |= {
        "verdict": verdict.verdict,
        "checks": dg.MetadataValue.table([dg.TableRecord({"says": c.says, **_row(c)}) for c in verdict.checks]),
        "report": lake.link(done.gated.report_key),
        **rounded(
            {
                k: v
                for k, v in figures.items()
                if k in ("challenger_map50", "champion_map50", "latency_p95_ms", "parity")
            }
        ),
    }
    if done.gated.state.champion is not None:
        found["differences"] = dg.MetadataValue.md(f"![picture]({data_uri(differences_png(verdict))})")
    return found


def _row(check: "Check") -> dict[str, Any]:
    from carsdepo_assets.release.gate_report import outcome_label

    def said(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    figures = {k: said(getattr(check, k)) for k in ("champion", "challenger", "difference", "low", "high", "bar")}
    return {"result": outcome_label(check), **figures}


def _shown(instance: dg.DagsterInstance) -> tuple[str, int] | None:
    """(digest, ledger sequence) of the newest materialization: a run killed after the ledger left none for its own."""
    event = instance.get_latest_materialization_event(PRODUCTION)
    if event is None or event.asset_materialization is None:
        return None
    metadata = event.asset_materialization.metadata
    digest, sequence = metadata.get("digest"), metadata.get("ledger_sequence")
    if digest is None or sequence is None:
        return None
    return str(digest.value), int(str(sequence.value))
