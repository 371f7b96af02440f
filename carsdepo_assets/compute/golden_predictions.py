"""Has a compute target predict on the golden set what no model has predicted there yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from carsdepo_assets.compute.target import ComputeTarget
from carsdepo_assets.compute.worker.process import spec_json
from carsdepo_assets.lake.golden import Golden
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy


def predict_missing(
    context: dg.AssetExecutionContext,
    compute: ComputeTarget,
    lake: Lake,
    policy: Policy,
    digests: Sequence[str],
    dataset: str,
    golden: Golden | None,
) -> dg.MaterializeResult[Any] | None:
    """Starts the worker's verb `evaluate` for the models whose detections the prediction cache lacks.

    Args:
        context: of the asset that needs the detections.
        compute: where the worker runs.
        lake: where models, photographs and the cache are.
        policy: gives the limits of the decoder.
        digests: the models.
        dataset: version of the dataset that has the photographs.
        golden: version of the golden set; None: the dataset's split `test`.

    Returns:
        What the worker reported; None where nothing was missing.

    Raises:
        NothingToScore: there is no photograph, or the dataset lacks some of the golden set.
        dagster.Failure: the worker failed.
    """
    from carsdepo_assets.compute.worker.evaluate import EvaluationSpec
    from carsdepo_assets.evaluation.golden import count_missing

    needed = [d for d in dict.fromkeys(digests) if count_missing(lake, d, dataset, policy, of=golden)]
    if not needed:
        return None
    spec = EvaluationSpec(
        lake=lake.url,
        policy=policy,
        digests=tuple(needed),
        dataset_version=dataset,
        golden=golden.version if golden else None,
        dagster_run_id=context.run.run_id,
    )
    return compute.run(context, "evaluate", spec_json(spec), module="carsdepo_assets.compute.worker.evaluate")
