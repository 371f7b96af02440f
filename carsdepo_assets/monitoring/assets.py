"""Assets of the monitoring step: references, profiles of answers, drift reports and their routes, live quality."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.compute.target import ComputeTarget, of_worker
from carsdepo_assets.orchestration.partitions import answer_days
from carsdepo_assets.orchestration.ui_metadata import metadata_table, picture, rounded
from carsdepo_assets.resources import LakeResource, PolicyResource

if TYPE_CHECKING:
    from carsdepo_assets.alerts.channels import Severity
    from carsdepo_assets.monitoring.drift.test import Drift
    from carsdepo_assets.monitoring.missing_inputs import MissingInput

_SOURCES = 12  # shown of those that drifted
_ROWS = 30  # of a table: there are fewer features, inputs and models than that


@dg.asset(
    group_name="monitoring",
    deps=["production_model", "dataset"],
    kinds={"parquet"},
    pool="reference_profile",
)
def reference_profile(
    context: dg.AssetExecutionContext, lake: LakeResource, policy: PolicyResource, compute: ComputeTarget
) -> dg.MaterializeResult:
    """What drift is measured against: features of the photographs in the dataset of production's model, and the model's
    answers on those that it was not trained on.

    Stored at `references/<digest>.parquet`, with a whylogs profile. Photographs that a labelling queue selected are
    left out or weighted, as the policy says. A reference that is there already and current is kept.
    """
    from carsdepo_assets.compute.worker.process import spec_json
    from carsdepo_assets.monitoring.reference import check_model_is_here, is_current, read_reference, reference_key
    from carsdepo_assets.monitoring.reference_worker import ReferenceSpec
    from carsdepo_assets.monitoring.window import answering
    from carsdepo_assets.quality.profiles import REFERENCE, merged
    from carsdepo_assets.registry.ledger import desired

    opened_lake, current_policy = lake.open(), policy.read()
    serving = desired(opened_lake, "production")
    # What answered last may be another than what is to be served next, for as long as the service loads.
    wanted = dict.fromkeys(d for d in (serving.digest if serving else None, answering(opened_lake)) if d)
    if not wanted:
        raise dg.Failure("Production serves nothing yet: release a model first (job `release`, then `promote`).")
    missing = tuple(digest for digest in wanted if not is_current(opened_lake, digest, current_policy))
    worked = []
    for digest in missing:
        check_model_is_here(opened_lake, digest)
    if missing:
        spec = ReferenceSpec(
            lake=opened_lake.url, policy=current_policy, digests=missing, dagster_run_id=context.run.run_id
        )
        module = "carsdepo_assets.monitoring.reference_worker"
        worked.append(compute.run(context, "reference", spec_json(spec), module=module))
    digest = next(iter(wanted))
    reference = read_reference(opened_lake, digest)
    assert reference is not None
    figures = merged([opened_lake.get(f"{REFERENCE}/{digest}.bin")]).reset_index()
    metadata: dict[str, Any] = {
        "digest": digest,
        "reused": digest not in missing,
        **of_worker(worked),
        "dagster/row_count": reference.rows.num_rows,
        "dagster/uri": f"{lake.url}/{reference_key(digest)}",
        "answers_on_unseen_photographs": reference.asked,
        "features": metadata_table(figures, limit=_ROWS),
        "reference": lake.link(reference_key(digest)),
        "feedback_reads": ["drift_report", "inference_log", "labelling_queue"],
    }
    if reference.left_out:
        metadata["left_out"] = dg.MetadataValue.json(dict(reference.left_out))
    return dg.MaterializeResult(data_version=dg.DataVersion(digest), metadata=metadata)


@dg.asset(group_name="monitoring", partitions_def=answer_days, deps=["inference_log"], kinds={"whylogs"})
def inference_profile(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """A whylogs profile of the photographs and answers of production on one day (UTC).

    Stored at `profiles/inference/<day>.bin`; profiles of days can be merged.
    """
    from carsdepo_assets.monitoring.profiles import day_of, write_day
    from carsdepo_assets.quality.profiles import merged

    opened_lake, day = lake.open(), date.fromisoformat(context.partition_key)
    answers = day_of(opened_lake, day)
    metadata: dict[str, Any] = {"answers": answers.num_rows}
    if answers.num_rows:
        key = write_day(opened_lake, day, answers)
        metadata["features"] = metadata_table(merged([opened_lake.get(key)]).reset_index(), limit=_ROWS)
        metadata["profile"] = lake.link(key)
    return dg.MaterializeResult(data_version=dg.DataVersion(f"{day}:{answers.num_rows}"), metadata=metadata)


class DriftConfig(dg.Config):
    """The window of answers to measure."""

    from_time: str | None = Field(
        default=None,
        description="start of the window, an ISO time (UTC where it names no zone); "
        "by default policy.monitoring.window_hours before to_time",
    )
    to_time: str | None = Field(
        default=None, description="end of the window, an ISO time that is not in the window itself; by default now"
    )


@dg.asset(
    group_name="monitoring",
    deps=[reference_profile, inference_profile],
    kinds={"html"},
)
def drift_report(
    context: dg.AssetExecutionContext, config: DriftConfig, lake: LakeResource, policy: PolicyResource
) -> dg.MaterializeResult:
    """Whether the photographs and answers of production differ from its model's reference, by default in the last day.

    All features are tested together at a family-wise alpha, on whole cars; then comes a lower bound on the share of
    traffic that changed, the features and the sources in which it changed, and what to do. What cannot be computed is
    reported as unknown, never as "no drift". The report is a page in `reports/drift/`.
    """
    from carsdepo_assets.monitoring.drift_run import measure_window

    current_policy, now = policy.read(), datetime.now(UTC)
    end = _moment(config.to_time) or now
    start = _moment(config.from_time) or end - timedelta(hours=current_policy.monitoring.window_hours)
    measured = measure_window(lake.open(), start, end, current_policy, now, context.run.run_id)
    row, drift = measured.row, measured.drift
    metadata: dict[str, Any] = {
        "summary": measured.summary,
        "recommended_action": measured.action,
        "band": row["band"],
        "photographs": drift.photographs,
        "cars": drift.groups,
        "digest": row["digest"] or "none",
        "window_from": dg.MetadataValue.timestamp(start),
        "window_to": dg.MetadataValue.timestamp(end),
        "report": lake.link(row["report_key"]),
    }
    if drift.computed:
        metadata |= {
            **rounded({"drift": drift.drift, "p_value": drift.p_value}),
            "features": metadata_table(_features(drift), limit=_ROWS),
        }
    if any(m.photographs for m in measured.missing):
        metadata["missing_inputs"] = metadata_table(_missing(measured.missing), limit=_ROWS)
    if drift.sources:
        metadata["sources"] = metadata_table(_sources(drift), limit=_ROWS)
    metadata |= {name: picture(png) for name, png in measured.pictures.items()}
    return dg.MaterializeResult(data_version=dg.DataVersion(row["report_id"]), metadata=metadata)


@dg.asset(
    group_name="monitoring",
    deps=[drift_report],
    kinds={"deltalake"},
    pool="drift_route",
)
def drift_route(
    context: dg.AssetExecutionContext, lake: LakeResource, policy: PolicyResource, alerts: AlertsResource
) -> dg.MaterializeResult:
    """What follows from each drift report: nothing, a labelling queue, a retraining, a hold, an experiment or an alert.

    Every report without a route is decided on, oldest first, by the bands in policy.monitoring. A hold on promotion is
    entered and an alert is sent here. A report that cannot be read is routed to an alert that names it; where routing
    one fails, the others are routed before the run fails. What needs runs of its own is started by sensors that read
    the table `routes`: `cut_drift_queues` for a labelling queue and its experiment, `retrain` for a retraining. The
    metadata is about the newest report.
    """
    from carsdepo_assets.monitoring.routing import latest_route, route_unrouted

    opened_lake, current_policy = lake.open(), policy.read()

    def alert(key: str, severity: "Severity", title: str, body: str) -> bool:
        return alerts.send(
            opened_lake,
            current_policy,
            kind="drift",
            key=key,
            severity=severity,
            title=title,
            body=body,
        )

    routed = route_unrouted(opened_lake, current_policy, alert, datetime.now(UTC), lake.address)
    for report, route in routed:
        say = context.log.info if route.damage is None else context.log.warning
        say(f"{report['report_id']}: {route.message}")
    latest = latest_route(opened_lake)
    if latest is None:
        raise dg.Failure("There is no drift report yet: run the job `drift` first.")
    report, route = latest
    metadata: dict[str, Any] = {
        "report_id": report["report_id"],
        "feedback_reads": ["labelling_queue"],
        "band": report["band"],
        "actions": list(route.actions),
        "message": route.message,
        "reports_routed": len(routed),
    }
    if report["report_key"]:
        metadata["report"] = lake.link(report["report_key"])
    damages = {str(report["report_id"]): route.damage for report, route in routed if route.damage is not None}
    if damages:
        metadata["damaged"] = dg.MetadataValue.json(damages)
    return dg.MaterializeResult(data_version=dg.DataVersion(str(report["report_id"])), metadata=metadata)


@dg.asset(
    group_name="monitoring",
    partitions_def=answer_days,
    deps=["inference_log", dg.AssetDep("labels", partition_mapping=dg.AllPartitionMapping())],
    kinds={"deltalake"},
)
def live_quality(context: dg.AssetExecutionContext, lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """Precision, recall and F1 of a day's answers, on those photographs that people have labelled since.

    These are no fair sample of the day: labelling queues ask for photographs that drifted and for those on which the
    model was unsure.
    """
    from carsdepo_assets.monitoring.live_quality import measure_day, store

    opened_lake, day, now = lake.open(), date.fromisoformat(context.partition_key), datetime.now(UTC)
    qualities = measure_day(opened_lake, day, policy.read())
    new = store(opened_lake, qualities, now)
    labelled = sum(q.photographs for q in qualities)
    metadata: dict[str, Any] = {
        "answered": sum(q.answered for q in qualities),
        "labelled_since": labelled,
        "new_rows": new,
    }
    if labelled:
        metadata["quality"] = metadata_table([q.row(now) for q in qualities], limit=_ROWS)
        best = qualities[0].counts
        metadata |= rounded(
            {k: v for k, v in (("precision", best.precision), ("recall", best.recall)) if v is not None}
        )
    units = "\n".join(q.unit for q in qualities) or f"{day}:none"
    version = hashlib.sha256(units.encode()).hexdigest()[:16]
    return dg.MaterializeResult(data_version=dg.DataVersion(version), metadata=metadata)


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise dg.Failure(f"{text!r} is not an ISO time such as 2026-05-06T18:00:00+00:00.") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _features(drift: "Drift") -> list[dict[str, Any]]:
    return [
        {
            "feature": f.name,
            "drift_percent": f"{100 * f.drift:.1f}" if f.significant else "not significant",
            "interval_percent": f"{100 * f.low:.1f} to {100 * f.high:.1f}" if f.significant else "",
            "p_value": f"{f.p_value:.3f}",
            "median": "" if f.window_median is None else f"{f.window_median:.4g}",
            "reference": "" if f.reference_median is None else f"{f.reference_median:.4g}",
        }
        for f in drift.features
    ]


def _missing(inputs: Sequence["MissingInput"]) -> list[dict[str, Any]]:
    return [
        {
            "rows": m.what,
            "input": m.name,
            "missing_percent": "" if m.share is None else f"{100 * m.share:.0f}",
            "before_percent": "" if m.share_before is None else f"{100 * m.share_before:.0f}",
            "risen": "yes" if m.risen else "no" if m.p_value is not None else "too few cars to tell",
        }
        for m in inputs
        if m.photographs
    ]


def _sources(drift: "Drift") -> list[dict[str, Any]]:
    return [
        {
            "source": s.attribute,
            "value": s.value,
            "photographs": s.photographs,
            "percent_of_drifted": f"{100 * s.drifted:.0f}",
            "percent_of_window": f"{100 * s.window:.0f}",
        }
        for s in drift.sources[:_SOURCES]
    ]
