"""The assets of the business step: files become tables; from them and from the platform's records come the KPIs."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from carsdepo_assets.orchestration.ui_metadata import ROWS_SHOWN, metadata_table, rounded
from carsdepo_assets.resources import LakeResource, PolicyResource

if TYPE_CHECKING:
    from carsdepo_assets.business.contracts import Kind


def rows_are_sound(kind: "Kind") -> dg.AssetCheckSpec:
    """The check of a business table; it warns and does not block, since sound rows are kept whatever the others are."""
    return dg.AssetCheckSpec(
        "rows_are_sound",
        asset=kind,
        description="Of the rows of all files that are in the folder now, the share that was put in quarantine (wrong "
        "type, or a rule of the contract broken) is at most policy.business.max_refused_share. Warns only.",
    )


def ingested(lake: LakeResource, policy: PolicyResource, kind: "Kind") -> dg.MaterializeResult:
    """Reads the new files of a kind into its table, and reports what was read, refused and left as it was."""
    import pandas as pd

    from carsdepo_assets.business.contracts import CONTRACTS
    from carsdepo_assets.business.file_states import folder
    from carsdepo_assets.business.ingest import ingest, latest

    opened_lake, thresholds = lake.open(), policy.read()
    result = ingest(opened_lake, kind, thresholds)
    contract = CONTRACTS[kind]
    share = result.refused_share()
    limit = thresholds.business.max_refused_share
    in_quarantine = pd.DataFrame(
        [(key, file.seen, file.refused) for key, file in result.standing.items() if file.refused],
        columns=["file", "rows", "in quarantine"],
    )
    columns = [
        dg.TableColumn(c.name, c.type, description=f"{c.meaning} ({c.unit})" if c.unit else c.meaning)
        for c in contract.columns
    ]
    metadata: dict[str, Any] = {
        "dagster/row_count": len(latest(opened_lake, kind)),
        "dagster/column_schema": dg.TableSchema(columns),
        "new_or_corrected_rows": result.rows.num_rows,
        "unchanged_rows": result.unchanged,
        "rows_in_quarantine": result.quarantined.num_rows,
        "files_read": len(result.files),
        "rows_no_longer_in_their_file": sum(result.standing[key].removed for key in result.files),
        "dagster/uri": f"{lake.url}/tables/{kind}",
        "folder": lake.link(folder(kind)),
    }
    if result.rows.num_rows:
        first_rows = result.rows.slice(0, ROWS_SHOWN).to_pandas()
        metadata["first_rows"] = metadata_table(first_rows[[*contract.names, "file", "line"]])
    shortened = [
        (key, file.removed, ", ".join(file.first_removed)) for key, file in result.standing.items() if file.removed
    ]
    if shortened:  # kept: a file may hold the newest rows only, and what was true does not end by being left out
        frame = pd.DataFrame(shortened, columns=["file", "rows that it has no more, kept", "first ids"])
        metadata["rows_kept_of_files_that_have_them_no_more"] = metadata_table(frame)
    if result.quarantined.num_rows:
        refused = result.quarantined.slice(0, ROWS_SHOWN).to_pandas()
        metadata["quarantine"] = metadata_table(refused[["key", "line", "reason", "detail"]])
    return dg.MaterializeResult(
        data_version=dg.DataVersion(str(result.sequence)),
        metadata=metadata,
        check_results=[
            dg.AssetCheckResult(
                check_name="rows_are_sound",
                passed=share <= limit,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"{share:.2%} of the rows of {len(result.standing)} files are in quarantine; at most "
                f"{limit:.0%} are allowed.",
                metadata={"files_with_rows_in_quarantine": metadata_table(in_quarantine)} if len(in_quarantine) else {},
            )
        ],
    )


@dg.asset(
    group_name="business",
    kinds={"deltalake"},
    pool="business",
    check_specs=[rows_are_sound("inspections")],
)
def inspections(lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """Inspections of cars, from raw/business/inspections: images, those that the model decided alone, minutes, cost."""
    return ingested(lake, policy, "inspections")


@dg.asset(
    group_name="business",
    kinds={"deltalake"},
    pool="business",
    check_specs=[rows_are_sound("transactions")],
)
def transactions(lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """Listings of cars and their sales, from raw/business/transactions: when listed, when sold, price."""
    return ingested(lake, policy, "transactions")


@dg.asset(
    group_name="business",
    kinds={"deltalake"},
    pool="business",
    check_specs=[rows_are_sound("disputes")],
)
def disputes(lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """Disputes of sales, from raw/business/disputes: when opened, cause (damage, price or other), amount."""
    return ingested(lake, policy, "disputes")


@dg.asset(
    group_name="business",
    deps=[
        inspections,
        transactions,
        disputes,
        "images",
        "inference_log",
        "evaluation",
        "drift_report",
        "live_quality",
        "production_model",
        "labels",
    ],
    kinds={"html"},
    check_specs=[
        dg.AssetCheckSpec(
            "goals_are_met",
            asset="kpi_report",
            description="No KPI misses its goal (policy.business.goals). Warns only.",
        ),
        dg.AssetCheckSpec(
            "automation_is_accurate",
            asset="kpi_report",
            description="If the model decides without a person, its precision and recall meet their goals. Warns only.",
        ),
        dg.AssetCheckSpec(
            "disputes_name_known_sales",
            asset="kpi_report",
            description="The transaction_id of each dispute is in `transactions`; others are not counted. Warns only.",
        ),
    ],
)
def kpi_report(lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """What the platform does for the business: disputes, speed, cost, automation, accuracy, latency, labels and drift,
    each with its goal.

    The report is a page that can be sent by mail, at reports/kpi/. A figure that cannot be computed is shown as a gap
    with its reason.
    """
    import pandas as pd

    from carsdepo_assets.business.kpis.inputs import gather
    from carsdepo_assets.business.kpis.summary import kpi_summary
    from carsdepo_assets.business.report import write_report
    from carsdepo_assets.reporting.page import data_uri

    opened_lake, thresholds = lake.open(), policy.read()
    inputs = gather(opened_lake, thresholds, datetime.now(UTC))
    summary = kpi_summary(inputs, thresholds)
    written = write_report(opened_lake, inputs, summary, thresholds)
    rows = [(k.title, k.value_text(), k.goal_text(), k.verdict or "", k.n, k.explanation) for k in summary.kpis]
    shown = pd.DataFrame(rows, columns=["figure", "value", "goal", "verdict", "n", "explanation"])
    metadata: dict[str, Any] = {
        "summary": summary.summary(),
        "figures": metadata_table(shown, len(shown)),
        "report": lake.link(written.html_key),
        "dagster/uri": f"{lake.url}/{written.html_key}",
        **rounded({k.name: k.value for k in summary.kpis if k.value is not None}),  # numbers get a plot over time
        **{name: dg.MetadataValue.md(f"![{name}]({data_uri(png)})") for name, png in written.pictures.items()},
    }
    missed = [k for k in summary.kpis if k.verdict == "missed"]
    message = "; ".join(f"{k.title}: {k.value_text()}, goal: {k.goal_text()}" for k in missed) or "No goal is missed."
    orphans = summary.orphans
    return dg.MaterializeResult(
        data_version=dg.DataVersion(written.json_key),
        metadata=metadata,
        check_results=[
            dg.AssetCheckResult(
                check_name="goals_are_met",
                passed=not missed,
                severity=dg.AssetCheckSeverity.WARN,
                description=message,
                metadata={v: summary.count(v) for v in ("met", "missed", "unknown")},
            ),
            dg.AssetCheckResult(
                check_name="automation_is_accurate",
                passed=not summary.warnings,
                severity=dg.AssetCheckSeverity.WARN,
                description=" ".join(summary.warnings) or "No goal of precision or recall is missed.",
            ),
            dg.AssetCheckResult(
                check_name="disputes_name_known_sales",
                passed=orphans.empty,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"{len(orphans)} of {len(inputs.disputes)} disputes name a sale that is not known.",
                metadata={"disputes": metadata_table(orphans)} if len(orphans) else {},
            ),
        ],
    )
