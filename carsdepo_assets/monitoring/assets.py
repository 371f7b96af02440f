"""Step 6 as assets: what a model knows, what it met, whether that has changed, and how good the answers were."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from carsdepo_assets import __version__
from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.orchestration.ui_metadata import picture, rounded
from carsdepo_assets.resources import LakeResource, PolicyResource

if TYPE_CHECKING:
    from carsdepo_assets.monitoring.drift.test import Drift
    from carsdepo_assets.monitoring.missing_inputs import MissingInput

# The days of inference_log: with today's partition, which is written all day long.
days = dg.DailyPartitionsDefinition(start_date="2026-01-01", timezone="UTC", end_offset=1)
_ROWS = 12


def table(rows: Sequence[Mapping[Any, Any]]) -> dg.TableMetadataValue:
    """Values as text; rows must not be empty."""
    records = [dg.TableRecord({str(k): "" if v is None else str(v) for k, v in row.items()}) for row in rows]
    return dg.MetadataValue.table(records, schema=dg.TableSchema([dg.TableColumn(str(name)) for name in rows[0]]))


@dg.asset(
    group_name="monitoring",
    deps=["production_model", "dataset"],
    code_version=__version__,
    kinds={"parquet"},
    pool="reference_profile",
)
def reference_profile(
    context: dg.AssetExecutionContext, lake: LakeResource, policy: PolicyResource
) -> dg.MaterializeResult:
    """What the model in production knows: features of its dataset's photographs and its answers on unseen ones.

    At `references/<digest>.parquet`, with a whylogs profile. Photographs that a labelling queue selected are left out
    or weighted, as the policy says. A reference that stands is kept.
    """
    from carsdepo_assets.monitoring.reference import build_reference, is_current, read_reference, reference_key
    from carsdepo_assets.monitoring.window import answering
    from carsdepo_assets.quality.profiles import REFERENCE, merged
    from carsdepo_assets.registry.ledger import desired

    opened, rules = lake.open(), policy.read()
    serving = desired(opened, "production")
    # What answered last may be another than what is to be served next, for as long as the service loads.
    wanted = dict.fromkeys(d for d in (serving.digest if serving else None, answering(opened)) if d)
    if not wanted:
        raise dg.Failure("Production serves nothing yet: release a model first (job `release`, then `promote`).")
    reused = []
    for digest in wanted:
        if is_current(opened, digest, rules):
            reused.append(digest)
            continue
        context.log.info(f"Reference of model {digest}: its photographs, and its answers on those it has not seen.")
        build_reference(opened, digest, rules)
    digest = next(iter(wanted))
    made = read_reference(opened, digest)
    assert made is not None
    figures = merged([opened.get(f"{REFERENCE}/{digest}.bin")]).reset_index()
    metadata: dict[str, Any] = {
        "digest": digest,
        "reused": digest in reused,
        "photographs": made.rows.num_rows,
        "answers on unseen photographs": made.asked,
        "features (whylogs profile)": table(figures.to_dict("records")),
        "reference": lake.link(reference_key(digest)),
    }
    if made.left_out:
        metadata["left out"] = dg.MetadataValue.json(dict(made.left_out))
    return dg.MaterializeResult(data_version=dg.DataVersion(digest), metadata=metadata)


@dg.asset(
    group_name="monitoring", partitions_def=days, deps=["inference_log"], code_version=__version__, kinds={"whylogs"}
)
def inference_profile(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """A whylogs profile of what production met on this day (UTC), at `profiles/inference/<day>.bin`; mergeable."""
    from carsdepo_assets.monitoring.profiles import day_of, write_day
    from carsdepo_assets.quality.profiles import merged

    opened, day = lake.open(), date.fromisoformat(context.partition_key)
    answers = day_of(opened, day)
    metadata: dict[str, Any] = {"answers": answers.num_rows}
    if answers.num_rows:
        key = write_day(opened, day, answers)
        metadata["features (whylogs profile)"] = table(merged([opened.get(key)]).reset_index().to_dict("records"))
        metadata["profile"] = lake.link(key)
    return dg.MaterializeResult(data_version=dg.DataVersion(f"{day}:{answers.num_rows}"), metadata=metadata)


class DriftConfig(dg.Config):
    """ISO times, UTC where they name no zone; the window is [from_time, to_time)."""

    from_time: str | None = Field(default=None, description="None: policy.monitoring.window_hours before to_time")
    to_time: str | None = Field(default=None, description="None: now")


@dg.asset(
    group_name="monitoring",
    deps=[reference_profile, inference_profile],
    code_version=__version__,
    kinds={"html"},
)
def drift_report(
    context: dg.AssetExecutionContext, config: DriftConfig, lake: LakeResource, policy: PolicyResource
) -> dg.MaterializeResult:
    """Is it drift, how much, of what, from where, what to do: production's last day against what its model knows.

    A test over all features at a family-wise alpha, on whole cars; then a lower bound on the share of traffic that
    changed. What cannot be computed is unknown, never "no drift". The report is a page at `reports/drift/`.
    """
    from carsdepo_assets.monitoring.drift_run import measure_window

    rules, now = policy.read(), datetime.now(UTC)
    end = _moment(config.to_time) or now
    start = _moment(config.from_time) or end - timedelta(hours=rules.monitoring.window_hours)
    done = measure_window(lake.open(), start, end, rules, now, context.run.run_id)
    row, found = done.row, done.found
    metadata: dict[str, Any] = {
        "said": done.said,
        "what to do": done.action,
        "band": row["band"],
        "photographs": found.photographs,
        "cars": found.groups,
        "model": row["digest"] or "none",
        "window": f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC",
        "report": lake.link(row["report_key"]),
    }
    if found.computed:
        metadata |= {**rounded({"drift": found.drift, "p-value": found.p_value}), "features": table(_features(found))}
    if any(m.photographs for m in done.missing):
        metadata["missing inputs"] = table(_missing(done.missing))
    if found.sources:
        metadata["sources"] = table(_sources(found))
    metadata |= {name: picture(png) for name, png in done.pictures.items()}
    return dg.MaterializeResult(data_version=dg.DataVersion(row["report_id"]), metadata=metadata)


@dg.asset(
    group_name="monitoring",
    deps=[drift_report],
    code_version=__version__,
    kinds={"deltalake"},
    pool="drift_route",
)
def drift_route(
    context: dg.AssetExecutionContext, lake: LakeResource, policy: PolicyResource, alerts: AlertsResource
) -> dg.MaterializeResult:
    """What follows from each drift report: nothing, a labelling queue, a retraining, a hold, an experiment or an alert.

    Every report without a route is decided on, oldest first, by the bands in policy.monitoring. A hold on promotion is
    entered and an alert is sent here. What needs runs of its own is started by sensors that read the table `routes`:
    `cut_drift_queues` for a labelling queue and its experiment, `retrain` for a retraining. The metadata is about the
    newest report.
    """
    from carsdepo_assets.monitoring.routing import latest_route, route_unrouted

    opened_lake, current_policy = lake.open(), policy.read()

    def alert(key: str, severity: str, title: str, body: str) -> bool:
        return alerts.send(
            opened_lake,
            current_policy,
            kind="drift",
            key=key,
            severity=severity,  # type: ignore[arg-type]
            title=title,
            body=body,
        )

    routed = route_unrouted(opened_lake, current_policy, alert, datetime.now(UTC), lake.address)
    for report, route in routed:
        context.log.info(f"{report['report_id']}: {route.message}")
    latest = latest_route(opened_lake)
    if latest is None:
        raise dg.Failure("There is no drift report yet: run the job `drift` first.")
    report, route = latest
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report["report_id"]),
        metadata={
            "report_id": report["report_id"],
            "band": report["band"],
            "actions": list(route.actions),
            "message": route.message,
            "report": lake.link(report["report_key"]),
            "reports_routed": len(routed),
        },
    )


@dg.asset(
    group_name="monitoring",
    partitions_def=days,
    deps=["inference_log", dg.AssetDep("labels", partition_mapping=dg.AllPartitionMapping())],
    code_version=__version__,
    kinds={"deltalake"},
)
def live_quality(context: dg.AssetExecutionContext, lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """How good a day's answers were on those photographs that people have labelled since: precision, recall, F1.

    Not a fair sample of the day: queues ask for what drifted and what the model was unsure of.
    """
    from carsdepo_assets.monitoring.live_quality import measure_day, store

    opened, day, now = lake.open(), date.fromisoformat(context.partition_key), datetime.now(UTC)
    found = measure_day(opened, day, policy.read())
    new = store(opened, found, now)
    labelled = sum(q.photographs for q in found)
    metadata: dict[str, Any] = {
        "answered": sum(q.answered for q in found),
        "labelled since": labelled,
        "new rows": new,
    }
    if labelled:
        metadata["quality"] = table([q.row(now) for q in found])
        best = found[0].counts
        metadata |= rounded(
            {k: v for k, v in (("precision", best.precision), ("recall", best.recall)) if v is not None}
        )
    version = ",".join(q.unit for q in found) or f"{day}:none"
    return dg.MaterializeResult(data_version=dg.DataVersion(version[:200]), metadata=metadata)


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise dg.Failure(f"{text!r} is not an ISO time such as 2026-05-06T18:00:00+00:00.") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _features(found: "Drift") -> list[dict[str, Any]]:
    return [
        {
            "feature": f.name,
            "drift %": f"{100 * f.drift:.1f}" if f.significant else "not significant",
            "interval %": f"{100 * f.low:.1f} to {100 * f.high:.1f}" if f.significant else "",
            "p": f"{f.p_value:.3f}",
            "median": "" if f.window_median is None else f"{f.window_median:.4g}",
            "reference": "" if f.reference_median is None else f"{f.reference_median:.4g}",
        }
        for f in found.features
    ]


def _missing(inputs: Sequence["MissingInput"]) -> list[dict[str, Any]]:
    return [
        {
            "of": m.what,
            "input": m.name,
            "missing %": "" if m.share is None else f"{100 * m.share:.0f}",
            "before %": "" if m.share_before is None else f"{100 * m.share_before:.0f}",
            "risen": "yes" if m.risen else "no" if m.p_value is not None else "too few cars to tell",
        }
        for m in inputs
        if m.photographs
    ]


def _sources(found: "Drift") -> list[dict[str, Any]]:
    return [
        {
            "source": s.attribute,
            "value": s.value,
            "photographs": s.photographs,
            "of the drifted %": f"{100 * s.drifted:.0f}",
            "of the window %": f"{100 * s.window:.0f}",
        }
        for s in found.sources[:_ROWS]
    ]
