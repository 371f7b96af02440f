"""The asset `exploration` of step 1: what photographs and labels look like, before anything is trained on them."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from carsdepo_assets.compute.target import ComputeTarget, of_worker
from carsdepo_assets.orchestration.ui_metadata import metadata_table, picture
from carsdepo_assets.resources import LakeResource, PolicyResource

_ROWS = 14
_WORKER = "carsdepo_assets.experiments.exploration.feature_worker"


class ExplorationConfig(dg.Config):
    """What is explored; empty: the newest dataset, or all photographs where there is none."""

    dataset: str | None = Field(None, description="a version of the dataset")
    batch: str | None = Field(None, description="the id of an upload batch")
    from_time: str | None = Field(
        None, description="start of a window of production's answers, an ISO time (UTC where it names no zone)"
    )
    to_time: str | None = Field(None, description="end of the window, an ISO time that is not in the window itself")
    most: int = Field(
        5000, ge=1, description="photographs whose features are measured; of more a random sample, the same each time"
    )


@dg.asset(
    group_name="experiments",
    deps=["dataset"],
    kinds={"html"},
    pool="exploration",
    check_specs=[
        dg.AssetCheckSpec(
            "nothing_leaks",
            asset="exploration",
            description="No car and no pair of near-duplicates is in two of train, val and test. All photographs are "
            "looked at, none is sampled.",
        )
    ],
)
def exploration(
    context: dg.AssetExecutionContext,
    config: ExplorationConfig,
    lake: LakeResource,
    policy: PolicyResource,
    compute: ComputeTarget,
) -> dg.MaterializeResult:
    """What the photographs and labels of a dataset, an upload batch or a window of traffic look like.

    Classes, boxes, quality and light by source, splits and what leaks between them, a map of the photographs, and those
    that differ from all others: as tables here and as a page in `reports/exploration/`. Features of photographs are
    measured once, by a job on the compute target, and kept in the table `photograph_features`.
    """
    from carsdepo_assets.compute.worker.process import spec_json
    from carsdepo_assets.experiments.exploration.exploring import explore
    from carsdepo_assets.experiments.exploration.feature_worker import EXTRACTOR, FeatureSpec, sampled
    from carsdepo_assets.experiments.exploration.selection import Scope, moment, select
    from carsdepo_assets.lake.photograph_features import photographs_without

    opened_lake, current_policy = lake.open(), policy.read()
    scope = Scope(
        dataset=config.dataset or None,
        batch=config.batch or None,
        start=moment(config.from_time) if config.from_time else None,
        end=moment(config.to_time) if config.to_time else None,
    )
    selection = select(opened_lake, scope, current_policy)
    worked = []
    if photographs_without(opened_lake, EXTRACTOR, list(sampled(selection.photographs, config.most))):
        spec = FeatureSpec(
            lake=opened_lake.url,
            policy=current_policy,
            scope=scope,
            most=config.most,
            dagster_run_id=context.run.run_id,
        )
        worked.append(compute.run(context, "reference", spec_json(spec), module=_WORKER))
    explored = explore(opened_lake, selection, current_policy, datetime.now(UTC), context.run.run_id, config.most)
    metadata: dict[str, Any] = {
        "summary": explored.summary,
        "explored": selection.title,
        **of_worker(worked),
        **{name: value for name, value in explored.figures.items() if value is not None},
        "report": lake.link(explored.page),
        "report_key": explored.page,
        "feedback_reads": ["inference_log"],
    }
    if explored.findings:
        shown = [{"severity": f.severity, "finding": f.text} for f in explored.findings]
        metadata["findings"] = metadata_table(shown, limit=_ROWS)
    metadata |= {name: metadata_table(table, limit=_ROWS) for name, table in explored.tables.items() if table}
    metadata |= {name: picture(png) for name, png in explored.pictures.items()}
    leaks = explored.leakage
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{selection.kind}:{selection.name}"),
        metadata=metadata,
        check_results=[
            dg.AssetCheckResult(
                check_name="nothing_leaks",
                passed=leaks.count == 0,
                severity=dg.AssetCheckSeverity.ERROR,
                description=f"{len(leaks.crossing_groups)} of {leaks.groups} cars and {len(leaks.crossing_pairs)} of "
                f"{len(leaks.pairs)} pairs of near-duplicates are in two splits.",
                metadata={
                    "photographs": leaks.photographs,
                    "hashed": leaks.hashed,
                    "unread": leaks.unread,
                    "cars": leaks.groups,
                },
            )
        ],
    )
