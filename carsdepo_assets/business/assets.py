"""The business step as assets: files become tables, tables and the platform's own record become KPIs."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from carsdepo_assets import __version__
from carsdepo_assets.orchestration.ui_metadata import ROWS_SHOWN, rounded, table
from carsdepo_assets.resources import LakeResource, PolicyResource

if TYPE_CHECKING:
    from carsdepo_assets.business.contracts import Kind


def rows_are_sound(kind: "Kind") -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        "rows_are_sound",
        asset=kind,
        description="Great Expectations and types, file by file: the share of rows in quarantine, of all files that "
        "lie in the folder now, stays under policy.business.max_refused_share. Warns; sound rows are kept.",
    )


def ingested(lake: LakeResource, policy: PolicyResource, kind: "Kind") -> dg.MaterializeResult:
    """Reads the kind's new files and says what came of them."""
    import pandas as pd

    from carsdepo_assets.business.contracts import CONTRACTS
    from carsdepo_assets.business.ingest import folder, ingest, latest

    opened, rules = lake.open(), policy.read()
    done = ingest(opened, kind, rules)
    contract = CONTRACTS[kind]
    counting = latest(opened, kind)
    share = done.refused_share()
    limit = rules.business.max_refused_share
    in_quarantine = pd.DataFrame(
        [(key, s.seen, s.refused) for key, s in done.standing.items() if s.refused],
        columns=["file", "rows", "in quarantine"],
    )
    columns = pd.DataFrame([(c.name, c.type, c.unit, c.meaning) for c in contract.columns])
    metadata: dict[str, Any] = {
        "rows": len(counting),
        "new or corrected rows": done.rows.num_rows,
        "unchanged rows": done.unchanged,
        "quarantined": done.quarantined.num_rows,
        "files read": len(done.files),
        "contract": table(columns.set_axis(["column", "type", "unit", "meaning"], axis=1), len(columns)),
        "folder": lake.link(folder(kind)),
    }
    if done.rows.num_rows:
        metadata["first rows"] = table(done.rows.slice(0, ROWS_SHOWN).to_pandas()[[*contract.names, "file", "line"]])
    if done.quarantined.num_rows:
        refused = done.quarantined.slice(0, ROWS_SHOWN).to_pandas()
        metadata["quarantine"] = table(refused[["key", "line", "reason", "detail"]])
    said = f"{share:.2%} of the rows of {len(done.standing)} files are in quarantine; {limit:.0%} are borne."
    return dg.MaterializeResult(
        data_version=dg.DataVersion(str(done.sequence)),
        metadata=metadata,
        check_results=[
            dg.AssetCheckResult(
                check_name="rows_are_sound",
                passed=share <= limit,
                severity=dg.AssetCheckSeverity.WARN,
                description=said,
                metadata={"files with rows in quarantine": table(in_quarantine)} if len(in_quarantine) else {},
            )
        ],
    )


@dg.asset(
    group_name="business",
    code_version=__version__,
    kinds={"deltalake"},
    pool="business",
    check_specs=[rows_are_sound("inspections")],
)
def inspections(lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """Inspections of cars, from raw/business/inspections: images, those that ML decided, minutes, cost."""
    return ingested(lake, policy, "inspections")


@dg.asset(
    group_name="business",
    code_version=__version__,
    kinds={"deltalake"},
    pool="business",
    check_specs=[rows_are_sound("transactions")],
)
def transactions(lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """Listings and their sales, from raw/business/transactions: when listed, when sold, price."""
    return ingested(lake, policy, "transactions")


@dg.asset(
    group_name="business",
    code_version=__version__,
    kinds={"deltalake"},
    pool="business",
    check_specs=[rows_are_sound("disputes")],
)
def disputes(lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """Disputes of sales, from raw/business/disputes: when opened, cause (damage, price, other), amount."""
    return ingested(lake, policy, "disputes")


@dg.asset(
    group_name="business",
    deps=[
        inspections,
        transactions,
        disputes,
        "inference_log",
        "evaluation",
        "drift_report",
        "live_quality",
        "production_model",
        "labels",
    ],
    code_version=__version__,
    kinds={"html"},
    check_specs=[
        dg.AssetCheckSpec(
            "goals_are_met", asset="kpi_report", description="policy.business.goals: no goal is missed. Warns."
        ),
        dg.AssetCheckSpec(
            "automation_is_accurate",
            asset="kpi_report",
            description="What is decided without a person meets the goals of precision and recall. Warns.",
        ),
        dg.AssetCheckSpec(
            "disputes_name_known_sales",
            asset="kpi_report",
            description="transaction_id of each dispute is a known transaction; others count nowhere. Warns.",
        ),
    ],
)
def kpi_report(lake: LakeResource, policy: PolicyResource) -> dg.MaterializeResult:
    """What the platform is worth: disputes, speed, cost, automation, accuracy, latency, labels, drift, with goals.

    A page that one can send, at reports/kpi/. What cannot be computed is a gap with its reason.
    """
    import pandas as pd

    from carsdepo_assets.business.kpis.inputs import gather
    from carsdepo_assets.business.kpis.summary import kpi_summary
    from carsdepo_assets.business.report import write_report
    from carsdepo_assets.reporting.page import data_uri

    opened, rules = lake.open(), policy.read()
    facts = gather(opened, rules, datetime.now(UTC))
    found = kpi_summary(facts, rules)
    written = write_report(opened, facts, found, rules)
    rows = [(k.title, k.said(), k.goal_said(), k.verdict or "", k.n, k.explanation) for k in found.kpis]
    shown = pd.DataFrame(rows, columns=["figure", "value", "goal", "verdict", "n", "explanation"])
    metadata: dict[str, Any] = {
        "summary": found.summary(),
        "figures": table(shown, len(shown)),
        "report": lake.link(written.html_key),
        **rounded({k.name: k.value for k in found.kpis if k.value is not None}),  # numbers get a plot over time
        **{name: dg.MetadataValue.md(f"![{name}]({data_uri(png)})") for name, png in written.pictures.items()},
    }
    missed = [k for k in found.kpis if k.verdict == "missed"]
    said = "; ".join(f"{k.title}: {k.said()}, wanted {k.goal_said()}" for k in missed) or "No goal is missed."
    orphans = found.orphans
    return dg.MaterializeResult(
        data_version=dg.DataVersion(written.json_key),
        metadata=metadata,
        check_results=[
            dg.AssetCheckResult(
                check_name="goals_are_met",
                passed=not missed,
                severity=dg.AssetCheckSeverity.WARN,
                description=said,
                metadata={v: found.count(v) for v in ("met", "missed", "unknown")},
            ),
            dg.AssetCheckResult(
                check_name="automation_is_accurate",
                passed=not found.warnings,
                severity=dg.AssetCheckSeverity.WARN,
                description=" ".join(found.warnings) or "No goal of precision or recall is missed.",
            ),
            dg.AssetCheckResult(
                check_name="disputes_name_known_sales",
                passed=orphans.empty,
                severity=dg.AssetCheckSeverity.WARN,
                description=f"Disputes of a sale that is not known: {len(orphans)} of {len(facts.disputes)}.",
                metadata={"disputes": table(orphans)} if len(orphans) else {},
            ),
        ],
    )
