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

PER_RUN = ("dagster_run_id", "run_id")  # fields of a spec that differ between the tries of the same work


def job_name_of(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, verb: str, module: str, spec: Mapping[str, Any]
) -> str:
    """A name such as `carsdepo-train-0f8e2c1a-5b1d9c3e7a`: the verb, the first run of the group, and a digest.

    The digest is of the step, the module, the spec without its PER_RUN fields, and the times the step has succeeded.
    """
    root = context.run.root_run_id or context.run.run_id
    step = context.get_step_execution_context().step.key
    identity = [root, step, verb, module, _without(spec), successes(context, step)]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return f"carsdepo-{verb}-{root[:8]}-{digest[:10]}"


def successes(context: dg.AssetExecutionContext | dg.OpExecutionContext, step: str) -> int:
    """In how many earlier runs of this run's group the step succeeded."""
    if context.run.root_run_id is None:
        return 0
    group = context.instance.get_run_group(context.run.run_id)
    earlier = [run.run_id for run in (group[1] if group else ()) if run.run_id != context.run.run_id]
    return sum(
        stats.status == StepEventStatus.SUCCESS
        for run_id in earlier
        for stats in context.instance.get_run_step_stats(run_id, [step])
    )


def _without(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without(v) for k, v in value.items() if k not in PER_RUN}
    return [_without(v) for v in value] if isinstance(value, list | tuple) else value
