"""Step 3 as assets: recipe and dataset become a candidate, its evaluation and a registered model."""

from typing import Any

import dagster as dg

from carsdepo_assets import __version__
from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.compute.target import ComputeTarget
from carsdepo_assets.lake.trainings import Outcome
from carsdepo_assets.orchestration.ui_metadata import picture, rounded
from carsdepo_assets.registry.resources import MlflowTracking
from carsdepo_assets.resources import LakeResource, PolicyResource


@dg.asset(
    group_name="training", deps=["dataset", "recipe"], code_version=__version__, kinds={"pytorch"}, pool="training"
)
def candidate_model(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    policy: PolicyResource,
    compute: ComputeTarget,
    tracking: MlflowTracking,
) -> dg.MaterializeResult:
    """Weights trained by the recipe on the dataset, with their card and `lineage.json`, at `models/<digest>/`.

    A worker process trains and reports to this run's log, to MLflow and to `training/progress.json` while it does.
    The same dataset and recipe as a judged model's give that model again.
    """
    from carsdepo_assets.training import candidates
    from carsdepo_assets.training.mlflow_run_name import run_name
    from carsdepo_assets.training.worker import MlflowSpec, TrainingSpec, spec_json

    opened = lake.open()
    plan = candidates.plan(opened)
    standing = candidates.standing(opened, plan)
    if standing is not None:
        context.log.info(f"Model {standing} was trained on this dataset by this recipe: reused.")
        return dg.MaterializeResult(
            data_version=dg.DataVersion(standing),
            metadata={"digest": standing, "reused": True, "dataset_version": plan.dataset},
        )
    name = run_name(opened, plan.dataset, plan.recipe)
    with tracking.during(context, tags={"dataset_version": plan.dataset}, name=name) as mlflow_run:
        store = tracking.tracking()
        spec = TrainingSpec(
            lake=lake.url,
            dataset_version=plan.dataset,
            recipe=plan.recipe,
            work=str(lake.work("training")),
            home=lake.home,
            mlflow=MlflowSpec(
                uri=store.uri if tracking.uri is None else None,
                experiment=store.experiment,
                run_id=mlflow_run,
                artifacts=str(store.artifacts) if store.artifacts else None,
            ),
            dagster_run_id=context.run.run_id,
            policy=policy.read(),
        )
        result = compute.run(context, "carsdepo_assets.training.worker", spec_json(spec))
    assert result.metadata is not None
    digest = result.metadata["digest"]
    candidates.write(opened, plan, str(getattr(digest, "value", digest)))
    return result


@dg.asset(group_name="training", deps=[candidate_model, "dataset"], code_version=__version__, kinds={"html"})
def evaluation(
    context: dg.AssetExecutionContext, lake: LakeResource, policy: PolicyResource, tracking: MlflowTracking
) -> dg.MaterializeResult:
    """The candidate on the golden set, which no model was trained on: every figure, and a report one can show.

    Precision, recall and F1 at the threshold chosen on val, IoU 0.5; AP as COCO. Original bytes, serving decoder. The
    model in production is scored beside it on the very same photographs. Materialize again after `extend_golden`.
    """
    from carsdepo_assets.training import candidates
    from carsdepo_assets.training.evaluate_candidate import evaluate_candidate, said

    opened = lake.open()
    judged = evaluate_candidate(opened, candidates.current(opened), policy.read())
    logged = {f"test_{k}": v for k, v in judged.figures.items()} | {"golden_version": float(judged.golden)}
    if judged.comparison:
        logged |= {f"champion_{k}": v for k, v in judged.comparison.figures.items()}
    with tracking.during(context) as mlflow_run:
        tracking.tracking().log_row(mlflow_run, logged, step=0)
    metadata: dict[str, Any] = {
        **rounded(judged.figures),
        "photographs": judged.photographs,
        "boxes": judged.boxes,
        "groups": judged.groups,
        "verdict": judged.verdict,
        "dataset_version": judged.dataset,
        "golden_version": judged.golden,
        "report": lake.link(judged.report_key),
    }
    metadata["classes"] = dg.MetadataValue.table([dg.TableRecord(row) for row in judged.per_class])
    if judged.comparison:
        metadata["champion"] = judged.comparison.champion
        metadata["champion and candidate"] = dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "what": row.what,
                        "boxes": row.boxes,
                        "AP@.5 champion": said(row.champion_ap50),
                        "AP@.5 candidate": said(row.candidate_ap50),
                        "recall champion": said(row.champion_recall),
                        "recall candidate": said(row.candidate_recall),
                    }
                )
                for row in judged.comparison.rows
            ]
        )
    metadata |= {name: picture(png) for name, png in judged.pictures.items()}
    return dg.MaterializeResult(data_version=dg.DataVersion(judged.data_version), metadata=metadata)


@dg.asset(
    group_name="training",
    deps=[evaluation],
    code_version=__version__,
    kinds={"mlflow"},
    check_specs=[
        dg.AssetCheckSpec(
            "floors_are_met",
            asset="registered_model",
            description="policy.evaluation's floors; under them no alias is set.",
        )
    ],
)
def registered_model(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    policy: PolicyResource,
    tracking: MlflowTracking,
    alerts: AlertsResource,
) -> dg.MaterializeResult:
    """The model's version in MLflow's registry; alias `candidate` where the policy's floor is met.

    Under it people are told, and the labels do not count as learnt: `retrain` tries the policy's fallbacks.
    """
    from carsdepo_assets.lake.models import folder
    from carsdepo_assets.training import candidates
    from carsdepo_assets.training.register import register_candidate
    from carsdepo_assets.training.training_alerts import under_floor

    opened, rules = lake.open(), policy.read()
    candidate = candidates.current(opened)

    def tell(outcome: Outcome) -> None:
        alerts.send(opened, rules, **under_floor(outcome, candidate, alerts.run_url(context.run.run_id)))

    with tracking.during(context, last=True) as mlflow_run:
        done = register_candidate(opened, tracking.tracking(), candidate, rules, mlflow_run, tell)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{done.version}:{candidate.digest}"),
        metadata={
            "version": done.version,
            "digest": candidate.digest,
            "alias": done.alias or "none",
            "verdict": done.verdict,
            **rounded(done.figures),
            "lineage": lake.link(f"{folder(candidate.digest)}/lineage.json"),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="floors_are_met",
                passed=done.passed,
                description=done.verdict,
                severity=dg.AssetCheckSeverity.WARN,
            )
        ],
    )
