"""Assets of the release step: a registered model is served at staging, validated there and promoted to production."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.compute.golden_predictions import predict_missing
from carsdepo_assets.compute.target import ComputeTarget, of_worker
from carsdepo_assets.orchestration.ui_metadata import picture, rounded
from carsdepo_assets.registry.resources import MlflowTracking, ModelSigning
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
    """Which registered version an asset is about."""

    version: str | None = Field(
        default=None,
        description="the version's number, its digest (or the first digits of it) or `latest`; "
        "by default what the asset's description says",
    )


@dg.asset(group_name="release", deps=["registered_model"], kinds={"http"})
def staging_deployment(
    context: dg.AssetExecutionContext,
    config: WhichVersion,
    lake: LakeResource,
    policy: PolicyResource,
    services: ServicesResource,
    tracking: MlflowTracking,
    signing: ModelSigning,
    compute: ComputeTarget,
) -> dg.MaterializeResult:
    """A registered version, served by staging's service.

    The model is exported by the worker (verb `export`) and signed here, the deployment is entered in the ledger, and
    the run waits until the service reports that it serves that model. By default the version is the newest one with the
    alias `candidate`.
    """
    from carsdepo_assets.compute.worker.export import ExportSpec
    from carsdepo_assets.compute.worker.process import spec_json
    from carsdepo_assets.detectors.export.export_model import keep_export
    from carsdepo_assets.registry.aliases import project
    from carsdepo_assets.release.staging import asked_version, deploy

    current_policy, opened_lake, store = policy.read(), lake.open(), tracking.tracking()
    version = asked_version(store, config.version)
    services.health("staging")  # before anything is written: no service, no deployment
    exported: list[dg.MaterializeResult] = []

    def export(lake: "Lake", digest: str, policy: "Policy") -> None:
        if keep_export(lake, digest, policy) is None:
            spec = ExportSpec(lake=lake.url, policy=policy, digest=digest, dagster_run_id=context.run.run_id)
            module = "carsdepo_assets.compute.worker.export"
            exported.append(compute.run(context, "export", spec_json(spec), module=module))

    keys, run_id = signing.key_pair(), context.run.run_id
    deployment = deploy(opened_lake, version, current_policy, run_id, keys, export=export)
    health = services.wait_for("staging", version.digest, current_policy.release.wait_s)
    project(store, opened_lake)
    runtimes = [
        dg.TableRecord(
            {
                "runtime": name,
                "median_ms": figures.median_ms,
                "parity": figures.parity.share if figures.parity else None,
                "note": figures.reason or ("serves" if name == deployment.export.chosen else ""),
            }
        )
        for name, figures in deployment.export.runtimes.items()
    ]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(version.digest),
        metadata={
            "version": version.version,
            "digest": version.digest,
            "runtime": health["runtime"],
            "runtime_reason": deployment.export.why,
            "runtimes": dg.MetadataValue.table(runtimes),
            "service": dg.MetadataValue.url(services.url("staging")),
            "ledger_sequence": deployment.event.sequence,
            "reused": deployment.reused,
            **of_worker(exported),
        },
    )


@dg.asset(
    group_name="release",
    deps=[staging_deployment],
    kinds={"http"},
    check_specs=[
        dg.AssetCheckSpec(name, asset="staging_validation", blocking=blocks, description=description)
        for name, (blocks, description) in CHECKS.items()
    ],
)
def staging_validation(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    policy: PolicyResource,
    services: ServicesResource,
    tracking: MlflowTracking,
) -> dg.MaterializeResult:
    """A test of the model as staging serves it, with real requests.

    The answers are compared with those of the model itself, input that is no photograph must be refused with a reason,
    and every answer must be captured. A promotion needs a validation that passed.
    """
    from carsdepo_assets.detectors.export.runtimes import load_served
    from carsdepo_assets.evaluation.golden_photographs import golden_photographs
    from carsdepo_assets.registry import ledger
    from carsdepo_assets.registry.models import versions
    from carsdepo_assets.release.validation import validate, validation_key

    current_policy, opened_lake = policy.read(), lake.open()
    event = ledger.desired(opened_lake, "staging")
    if event is None or event.digest is None:
        raise ledger.LedgerError("No model has been deployed to staging yet: materialize `staging_deployment`.")
    health = services.wait_for("staging", event.digest, current_policy.release.wait_s)
    registered = {v.version: v.digest for v in versions(tracking.tracking())}
    validation = validate(
        opened_lake,
        current_policy,
        golden_photographs(opened_lake, current_policy, current_policy.release.validation_photographs),
        load_served(opened_lake, event.digest, current_policy, runtime=health["runtime"]).predictor,
        client=services.client("staging", 60.0),
        url=services.url("staging") if services.headers() else None,
        captured=services.captured("staging"),
        event=event,
        registered=registered.get(event.version) if event.version is not None else None,
        health=health,
    )
    latency = [dg.TableRecord({"figure": name, "value": round(value, 1)}) for name, value in validation.latency.items()]
    columns = dg.TableSchema(
        [dg.TableColumn("figure", "string"), dg.TableColumn("value", "float")]
    )  # also without a row
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{validation.digest}:{validation.at.isoformat()}"),
        metadata={
            "version": event.version,
            "digest": validation.digest,
            "runtime": validation.runtime,
            "photographs": validation.photographs,
            "boxes": validation.boxes,
            "latency": dg.MetadataValue.table(latency, schema=columns),
            **rounded(
                {f"latency_{name}_ms": value for name, value in validation.latency.items() if name != "requests"}
            ),
            "record": lake.link(validation_key(validation.digest)),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=o.name,
                passed=o.passed,
                severity=dg.AssetCheckSeverity.ERROR if CHECKS[o.name][0] else dg.AssetCheckSeverity.WARN,
                description=o.message,
            )
            for o in validation.outcomes
        ],
    )


@dg.asset(group_name="release", deps=[staging_validation], output_required=False, kinds={"http"})
def production_model(
    context: dg.AssetExecutionContext,
    config: WhichVersion,
    lake: LakeResource,
    policy: PolicyResource,
    services: ServicesResource,
    tracking: MlflowTracking,
    alerts: AlertsResource,
    compute: ComputeTarget,
) -> Iterator[dg.MaterializeResult]:
    """The model in production. Every materialization is a promotion or a rollback.

    Each run checks for itself that no decision bars the model, that it passed staging's validation, that the promotion
    gate lets it through, and that it is approved. If one of these says no, the run succeeds without a materialization,
    and an observation of this asset holds the verdict. By default the version is the one that staging serves.
    """
    from carsdepo_assets.registry.aliases import project
    from carsdepo_assets.registry.card_pages import try_card
    from carsdepo_assets.registry.ledger import desired
    from carsdepo_assets.release.promotion import promote
    from carsdepo_assets.release.staging import asked_version

    current_policy, opened_lake, store = policy.read(), lake.open(), tracking.tracking()
    staged = desired(opened_lake, "staging")
    version = asked_version(store, config.version or (staged.digest if staged else None))
    promotion = promote(
        opened_lake,
        version,
        current_policy,
        dagster_run_id=context.run.run_id,
        reachable=lambda: services.health("production"),
        predict=lambda digests, dataset, golden: predict_missing(
            context, compute, opened_lake, current_policy, digests, dataset, golden
        ),
    )
    if promotion.gated is not None and not promotion.gated.reused:
        _log_gate_to_mlflow(context, store, version, promotion.gated.verdict.figures)
    if promotion.outcome in ("wanted", "refused"):
        _report_not_promoted(context, promotion, version, opened_lake, current_policy, lake, alerts)
        return
    health = services.wait_for("production", version.digest, current_policy.release.wait_s)
    project(store, opened_lake)
    assert promotion.event is not None
    card = try_card(opened_lake, version.digest, current_policy, version.version, context.log.warning)
    if promotion.outcome == "standing" and _latest_materialization(context.instance) == (
        version.digest,
        promotion.event.sequence,
    ):
        context.log.info(f"Production serves version {version.version} already: nothing changed.")
        return
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(version.digest),
        metadata={
            **_promotion_metadata(promotion, version, lake),
            **({} if card is None else {"card": lake.link(card)}),
            "ledger_sequence": promotion.event.sequence,
            "previous": promotion.event.previous or "none",
            "runtime": health["runtime"],
            "service": dg.MetadataValue.url(services.url("production")),
        },
    )


def _log_gate_to_mlflow(
    context: dg.AssetExecutionContext, store: "Tracking", version: "ModelVersion", figures: Mapping[str, float | None]
) -> None:
    """Logs the gate's difference as metrics of the version's training run. A failure of MLflow is only a warning."""
    from mlflow.exceptions import MlflowException

    shown = ("map50_difference", "map50_difference_low", "map50_difference_high", "challenger_map50", "champion_map50")
    row = {f"gate_{name}": value for name in shown if (value := figures.get(name)) is not None}
    if version.run_id is None or not row:
        return
    try:
        store.log_row(version.run_id, row, step=0)
    except MlflowException as error:
        context.log.warning(f"The gate's figures were not logged to MLflow run {version.run_id}: {error}")


def _report_not_promoted(
    context: dg.AssetExecutionContext,
    promotion: "Promotion",
    version: "ModelVersion",
    opened_lake: "Lake",
    policy: "Policy",
    lake: LakeResource,
    alerts: AlertsResource,
) -> None:
    """Logs, observes and alerts that a version is not promoted: the decision, its reason, and what a person can do."""
    wanted = promotion.outcome == "wanted"
    title = f"Version {version.version} {'waits for approval' if wanted else 'is not promoted'}"
    reasons = list(promotion.gated.verdict.reasons) if promotion.gated else []
    context.log.warning(f"{title}: {promotion.approval.reason}")
    context.log_event(
        dg.AssetObservation(PRODUCTION, metadata={**_promotion_metadata(promotion, version, lake), "promoted": False})
    )
    lines = [f"{promotion.approval.reason.rstrip('.')}."]
    lines += [r for r in reasons if r.rstrip(".") not in promotion.approval.reason]
    if promotion.gated:
        lines.append(f"Report: {lake.address(promotion.gated.report_key)}")
    lines.append(_what_a_person_can_do(opened_lake, promotion, version))
    inputs = promotion.gated.gate_id if promotion.gated else promotion.approval.reason
    alerts.send(
        opened_lake,
        policy,
        kind="approval_wanted" if wanted else "promotion_refused",
        key=f"release:{version.digest}:{promotion.outcome}:{inputs}",
        severity="warning",
        title=title,
        body="\n".join(lines),
    )


def _what_a_person_can_do(lake: "Lake", promotion: "Promotion", version: "ModelVersion") -> str:
    from carsdepo_assets.registry.ledger import LedgerHistory

    decision = LedgerHistory.read(lake).latest_decision(version.digest)
    if decision is not None and decision.action == "approve" and promotion.validation is None:
        return (
            f"{decision.actor} has approved it: `carsdepo dev` validates it at staging and promotes it while it runs."
        )
    return f'To promote it all the same: carsdepo approve {version.version} --reason "..."'


def _promotion_metadata(promotion: "Promotion", version: "ModelVersion", lake: LakeResource) -> dict[str, Any]:
    """Metadata that a promotion and a refusal have in common."""
    from carsdepo_assets.lake.model_files import folder

    metadata: dict[str, Any] = {
        "version": version.version,
        "digest": version.digest,
        "decided_by": promotion.approval.actor,
        "reason": promotion.approval.reason,
        "lineage": lake.link(f"{folder(version.digest)}/lineage.json"),
    }
    if promotion.gated is None:
        return metadata
    from carsdepo_assets.release.gate_report import differences_png

    verdict = promotion.gated.verdict
    figures = {k: v for k, v in verdict.figures.items() if v is not None}
    metadata |= {
        "verdict": verdict.verdict,
        "checks": dg.MetadataValue.table(
            [dg.TableRecord({"message": c.says, **_check_row(c)}) for c in verdict.checks]
        ),
        "report": lake.link(promotion.gated.report_key),
        **rounded(
            {
                k: v
                for k, v in figures.items()
                if k in ("challenger_map50", "champion_map50", "latency_p95_ms", "parity")
            }
        ),
    }
    if promotion.gated.inputs.champion is not None:
        metadata["differences"] = picture(differences_png(verdict))
    return metadata


def _check_row(check: "Check") -> dict[str, Any]:
    from carsdepo_assets.release.gate_report import outcome_label

    def figure_text(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}"

    figures = {
        k: figure_text(getattr(check, k)) for k in ("champion", "challenger", "difference", "low", "high", "bar")
    }
    return {"result": outcome_label(check), **figures}


def _latest_materialization(instance: dg.DagsterInstance) -> tuple[str, int] | None:
    """(digest, ledger sequence) of the newest materialization of production_model; None without one.

    They differ from the ledger's where a run was killed after its entry in the ledger.
    """
    event = instance.get_latest_materialization_event(PRODUCTION)
    if event is None or event.asset_materialization is None:
        return None
    metadata = event.asset_materialization.metadata
    digest, sequence = metadata.get("digest"), metadata.get("ledger_sequence")
    if digest is None or sequence is None:
        return None
    return str(digest.value), int(str(sequence.value))
