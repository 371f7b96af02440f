"""Which job on AWS belongs to a piece of work, so that a run takes up the job of a run whose process died.

That may be a re-execution or a run that a sensor asks for anew, which does not know the one that died: the work itself
identifies both. Work that succeeded and is asked for again gets a new job.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.execution.stats import StepEventStatus

PER_RUN = ("dagster_run_id", "run_id")  # fields of a spec that differ between the tries of the same work
WORK_TAG = "carsdepo/work-"  # and the work's digest: on every run that asked for a job for it


def job_name_of(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, verb: str, module: str, spec: Mapping[str, Any]
) -> str:
    """A name such as `carsdepo-train-0f8e2c1a-5b1d9c3e7a`: the verb, the first run that tried this work, its digest.

    The work is Dagster's job and step, the worker's module, and the spec without its PER_RUN fields. Tags the run.
    """
    step = context.get_step_execution_context().step.key
    identity = [context.run.job_name, step, verb, module, _without(spec)]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
    first = first_try(context, step, f"{WORK_TAG}{digest}")
    return f"carsdepo-{verb}-{first[:8]}-{digest}"


def first_try(context: dg.AssetExecutionContext | dg.OpExecutionContext, step: str, tag: str) -> str:
    """The id of the oldest run that tried the tagged work since the step last succeeded; tags this run."""
    instance, own = context.instance, context.run.run_id
    first = own
    for run in instance.get_runs(filters=dg.RunsFilter(tags={tag: "asked"})):  # the newest comes first
        if run.run_id == own:
            continue
        if any(s.status == StepEventStatus.SUCCESS for s in instance.get_run_step_stats(run.run_id, [step])):
            break
        first = run.run_id
    instance.add_run_tags(own, {tag: "asked"})
    return first


def _without(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without(v) for k, v in value.items() if k not in PER_RUN}
    return [_without(v) for v in value] if isinstance(value, list | tuple) else value
