"""The assets of step 3: recipe and dataset become a candidate, its evaluation and a registered model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.compute.golden_predictions import predict_missing
from carsdepo_assets.compute.target import ComputeTarget, of_worker
from carsdepo_assets.lake.trainings import Outcome
from carsdepo_assets.orchestration.ui_metadata import picture, rounded
from carsdepo_assets.registry.resources import MlflowTracking, ModelSigning
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets.training.checks import FINDING_CHECKS, check_results


@dg.asset(
    group_name="training",
    deps=["dataset", "recipe"],
    kinds={"pytorch"},
    pool="training",
    check_specs=FINDING_CHECKS,
)
def candidate_model(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    policy: PolicyResource,
    compute: ComputeTarget,
    tracking: MlflowTracking,
    alerts: AlertsResource,
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Weights trained by the recipe on the dataset, with their card and `lineage.json`, at `models/<digest>/`.

    A worker trains, on the compute target that this run has; meanwhile it reports to this run's log, to MLflow and to
    `training/progress.json`. Where a model of the same dataset and recipe was evaluated before, nothing is trained and
    that model is taken again. What is found wrong with the training is a check each; one that is hopeless is stopped,
    told to people, and recorded, so that the sensor `retrain` tries the policy's fallbacks.
    """
    from carsdepo_assets.detectors.trainable import check_trainable
    from carsdepo_assets.detectors.weights_for_workers import keep_initial_weights
    from carsdepo_assets.lake.dataset_files import LOOKED_AT, check_photographs
    from carsdepo_assets.lake.datasets import read_manifest
    from carsdepo_assets.lake.model_files import folder
    from carsdepo_assets.lake.models import findings_of
    from carsdepo_assets.training import candidates
    from carsdepo_assets.training.hopeless import record_hopeless, stopped
    from carsdepo_assets.training.mlflow_run_name import run_name
    from carsdepo_assets.training.refused import refused
    from carsdepo_assets.training.training_alerts import hopeless
    from carsdepo_assets.training.worker import MlflowSpec, TrainingSpec, spec_json

    opened_lake, current_policy = lake.open(), policy.read()
    plan = candidates.plan(opened_lake)
    standing = candidates.standing(opened_lake, plan)
    if standing is not None:
        context.log.info(f"Model {standing} was trained on this dataset by this recipe: reused.")
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(standing),
            metadata={
                "digest": standing,
                "reused": True,
                "dataset_version": plan.dataset,
                "dagster/uri": f"{lake.url}/{folder(standing)}",
            },
            check_results=check_results(findings_of(opened_lake, standing)),
        )
        return
    manifest = read_manifest(opened_lake, plan.dataset)
    with refused(opened_lake, plan):
        check_trainable(manifest, plan.dataset, current_policy)
        check_photographs(opened_lake, plan.dataset, manifest, LOOKED_AT)
    name = run_name(opened_lake, plan.dataset, plan.recipe)
    with tracking.during(context, tags={"dataset_version": plan.dataset}, name=name) as mlflow_run:
        spec = TrainingSpec(
            lake=lake.url,
            policy=current_policy,
            dataset_version=plan.dataset,
            recipe=plan.recipe,
            initial_weights=keep_initial_weights(opened_lake, plan.recipe, Path(lake.home)),
            mlflow=MlflowSpec(experiment=tracking.experiment, run_id=mlflow_run),
            dagster_run_id=context.run.run_id,
        )
        try:
            result = compute.run(context, "train", spec_json(spec), module="carsdepo_assets.training.worker")
        except dg.Failure as failure:
            diagnosis = stopped(opened_lake, spec.key(), context.run.run_id)
            if diagnosis is None:
                manifest = read_manifest(opened_lake, plan.dataset)  # erased meanwhile?
                with refused(opened_lake, plan):
                    check_photographs(opened_lake, plan.dataset, manifest)
                raise
            url, name = alerts.run_url(context.run.run_id), diagnosis.hopeless[0].name
            outcome = record_hopeless(
                opened_lake,
                plan,
                diagnosis,
                current_policy.evaluation.floor_map50,
                lambda told: alerts.send(opened_lake, current_policy, **hopeless(told, plan, name, url)),
            )
            yield from check_results(diagnosis.findings)
            raise dg.Failure(outcome.reason, metadata=failure.metadata, allow_retries=False) from failure
    assert result.metadata is not None
    value = result.metadata["digest"]
    digest = str(getattr(value, "value", value))
    candidates.write(opened_lake, plan, digest)
    yield result._replace(check_results=check_results(findings_of(opened_lake, digest)))


@dg.asset(group_name="training", deps=[candidate_model, "dataset"], kinds={"html"})
def evaluation(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    policy: PolicyResource,
    tracking: MlflowTracking,
    compute: ComputeTarget,
) -> dg.MaterializeResult:
    """The candidate's figures on the golden set, which no model was trained on, and a report for people.

    Precision, recall and F1 are at IoU 0.5 and at the threshold that was chosen on the validation split; AP is COCO's.
    The photographs are decoded as the service decodes them. The model in production is scored on the same photographs.
    What a model has not predicted there yet is predicted by the worker (verb `evaluate`). The figures stand in the
    table `evaluations`. Materialize it again after `extend_golden`.
    """
    from carsdepo_assets.training import candidates
    from carsdepo_assets.training.evaluate_candidate import basis_now, evaluate_candidate
    from carsdepo_assets.training.evaluation_tables import figure_text

    opened_lake, current_policy = lake.open(), policy.read()
    candidate = candidates.current(opened_lake)
    basis = basis_now(opened_lake, candidate)  # once: what changes meanwhile would be predicted in this process
    ran = predict_missing(context, compute, opened_lake, current_policy, basis.digests, basis.dataset, basis.golden)
    evaluated = evaluate_candidate(opened_lake, candidate, current_policy, context.run.run_id, basis)
    logged = {f"test_{k}": v for k, v in evaluated.figures.items()} | {"golden_version": float(evaluated.golden)}
    if evaluated.comparison:
        logged |= {f"champion_{k}": v for k, v in evaluated.comparison.figures.items()}
    with tracking.during(context) as mlflow_run:
        tracking.tracking().log_row(mlflow_run, logged, step=0)
    metadata: dict[str, Any] = {
        **rounded(evaluated.figures),
        "photographs": evaluated.photographs,
        "boxes": evaluated.boxes,
        "groups": evaluated.groups,
        "verdict": evaluated.verdict,
        "dataset_version": evaluated.dataset,
        "golden_version": evaluated.golden,
        "report": lake.link(evaluated.report_key),
        "dagster/uri": f"{lake.url}/{evaluated.report_key}",
        "feedback_reads": ["production_model"],
        **of_worker([ran] if ran else []),
    }
    metadata["classes"] = dg.MetadataValue.table([dg.TableRecord(row) for row in evaluated.per_class])
    if evaluated.by_cause:
        metadata["false_alarms_by_cause"] = dg.MetadataValue.table([dg.TableRecord(row) for row in evaluated.by_cause])
    if evaluated.comparison:
        metadata["champion"] = evaluated.comparison.champion
        metadata["champion_comparison"] = dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "what": row.what,
                        "boxes": row.boxes,
                        "AP@.5 champion": figure_text(row.champion_ap50),
                        "AP@.5 candidate": figure_text(row.candidate_ap50),
                        "recall champion": figure_text(row.champion_recall),
                        "recall candidate": figure_text(row.candidate_recall),
                    }
                )
                for row in evaluated.comparison.rows
            ]
        )
    metadata |= {name: picture(png) for name, png in evaluated.pictures.items()}
    return dg.MaterializeResult(data_version=dg.DataVersion(evaluated.data_version), metadata=metadata)


@dg.asset(
    group_name="training",
    deps=[evaluation],
    kinds={"mlflow"},
    check_specs=[
        dg.AssetCheckSpec(
            "floors_are_met",
            asset="registered_model",
            description="The figures meet the floors of policy.evaluation; a model under them gets no alias.",
        )
    ],
)
def registered_model(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    policy: PolicyResource,
    tracking: MlflowTracking,
    alerts: AlertsResource,
    signing: ModelSigning,
) -> dg.MaterializeResult:
    """The signed model's version in MLflow's registry, with the alias `candidate` where the policy's floor is met.

    Under the floor an alert is sent and the labels do not count as learnt: the sensor `retrain` tries the policy's
    fallbacks.
    """
    from carsdepo_assets.lake.model_files import folder
    from carsdepo_assets.registry.card_pages import markdown_key, try_card
    from carsdepo_assets.training import candidates
    from carsdepo_assets.training.register import register_candidate
    from carsdepo_assets.training.training_alerts import under_floor

    opened_lake, current_policy = lake.open(), policy.read()
    candidate = candidates.current(opened_lake)

    def tell(outcome: Outcome) -> None:
        alerts.send(opened_lake, current_policy, **under_floor(outcome, candidate, alerts.run_url(context.run.run_id)))

    signing.key_pair().sign(opened_lake, candidate.digest)
    with tracking.during(context, last=True) as mlflow_run:
        registered = register_candidate(opened_lake, tracking.tracking(), candidate, current_policy, mlflow_run, tell)
        card = try_card(opened_lake, candidate.digest, current_policy, registered.version, context.log.warning)
        if card is not None:
            text = opened_lake.get(markdown_key(candidate.digest)).decode()
            tracking.tracking().log_text(mlflow_run, text, "card.md")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{registered.version}:{candidate.digest}"),
        metadata={
            "version": registered.version,
            "digest": candidate.digest,
            "alias": registered.alias or "none",
            "verdict": registered.verdict,
            **rounded(registered.figures),
            "lineage": lake.link(f"{folder(candidate.digest)}/lineage.json"),
            **({} if card is None else {"card": lake.link(card)}),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="floors_are_met",
                passed=registered.passed,
                description=registered.verdict,
                severity=dg.AssetCheckSeverity.WARN,
            )
        ],
    )
