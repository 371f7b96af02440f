"""Which job on AWS belongs to a piece of work, so that a run takes up the job of a run whose process died.

The name is the same for every try of the same step with the same spec, in a run and in its re-executions. A step that
succeeded and is executed again on purpose gets a new job.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.execution.stats import StepEventStatus
from dagster._core.storage.tags import ROOT_RUN_ID_TAG

PER_RUN = ("dagster_run_id", "run_id")  # fields of a spec that differ between the tries of the same work


def job_name_of(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, verb: str, module: str, spec: Mapping[str, Any]
) -> str:
    """A name such as `carsdepo-train-0f8e2c1a-5b1d9c3e7a`: the verb, the first run of the group, and a digest.

    The digest is of the step, the module, the spec without its PER_RUN fields, and the times the step has succeeded.
    """
    root = _root(context)
    step = context.get_step_execution_context().step.key
    identity = [root, step, verb, module, _without(spec), successes(context, step)]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"carsdepo-{verb}-{root[:8]}-{digest[:10]}"


def successes(context: dg.AssetExecutionContext | dg.OpExecutionContext, step: str) -> int:
    """In how many earlier runs of this run's group the step succeeded."""
    root = _root(context)
    if root == context.run.run_id:
        return 0
    records = context.instance.get_runs(filters=dg.RunsFilter(tags={ROOT_RUN_ID_TAG: root}))
    earlier = {root, *(run.run_id for run in records)} - {context.run.run_id}
    return sum(
        stats.status == StepEventStatus.SUCCESS
        for run_id in earlier
        for stats in context.instance.get_run_step_stats(run_id, [step])
    )


def _root(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> str:
    """The first run of a group of re-executions."""
    return context.run.tags.get(ROOT_RUN_ID_TAG) or context.run.root_run_id or context.run.run_id


def _without(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without(v) for k, v in value.items() if k not in PER_RUN}
    return [_without(v) for v in value] if isinstance(value, list | tuple) else value
