"""What the platform still has to do, and why the soak failed: read from the lake and from Dagster's storage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import dagster as dg

from benchmarks.soak.processes import Memory, mine
from carsdepo_assets.data.batches.batches import is_label, is_photograph
from carsdepo_assets.inference.ingest import waiting
from carsdepo_assets.lake.label_state import label_state, trained_state
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.orchestration.run_states import ACTIVE, INTERRUPTED_TAG
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.release.next_step import next_step


def outstanding(
    lake: Lake, instance: dg.DagsterInstance, tracking: Tracking, policy: Policy, acknowledged: Sequence[str]
) -> list[str]:
    """What the platform has not finished: empty when it has come to rest. Each line says what, and how much of it."""
    left = []
    active = Counter(r.job_name for r in instance.get_runs(dg.RunsFilter(statuses=ACTIVE)))
    left += [f"{count} unfinished runs of {job}" for job, count in sorted(active.items())]
    left += [f"pool {pool}: {use}" for pool, use in held(instance).items()]
    labels, learnt = label_state(lake), trained_state(lake)
    if learnt < labels:
        left.append(f"{labels - learnt} of {labels} label revisions not learnt")
    left += unaccounted(lake)
    missing, _ = answers(lake, acknowledged)
    if missing:
        left.append(f"{missing} of {len(acknowledged)} acknowledged answers not in `inferences`")
    segments = len(waiting(lake))
    if segments:
        left.append(f"{segments} closed capture segments not ingested")
    decision = next_step(lake, tracking, policy)
    if decision.action is not None:
        left.append(f"{decision.action.job} of {decision.message} is due")
    return left


def held(instance: dg.DagsterInstance) -> dict[str, str]:
    """The use of each concurrency pool, as a phrase by its name; free pools are left out."""
    storage, pools = instance.event_log_storage, {}
    for pool in sorted(storage.get_concurrency_keys()):
        info = storage.get_concurrency_info(pool)
        if info.claimed_slots or info.pending_steps:
            pools[pool] = f"{len(info.claimed_slots)} slots held, {len(info.pending_steps)} steps wait"
    return pools


def unaccounted(lake: Lake) -> list[str]:
    """Files that were dropped and of which no table says what became: photographs, and labels."""
    refused = {r["key"] for r in lake.read("quarantine", columns=["key"]).to_pylist()}
    uploads = {r["key"] for r in lake.read("uploads", columns=["key"]).to_pylist()} | refused
    labels = {r["key"] for r in lake.read("annotations", columns=["key"]).to_pylist()} | refused
    left = []
    for kind, folder, counts, there in (
        ("photographs", "raw/uploads/", is_photograph, uploads),
        ("labels", "raw/labels/", is_label, labels),
    ):
        lost = [o.key for o in lake.list(folder) if counts(o.key) and o.key not in there]
        if lost:
            left.append(f"{len(lost)} {kind} of which no table says what became, first {PurePosixPath(lost[0])}")
    return left


def answers(lake: Lake, acknowledged: Sequence[str]) -> tuple[int, int]:
    """(acknowledged answers that are not in `inferences`, rows there that repeat another)."""
    stored = Counter(lake.read("inferences", columns=["prediction_id"])["prediction_id"].to_pylist())
    missing = sum(prediction not in stored for prediction in acknowledged)
    return missing, sum(count - 1 for count in stored.values())


def breaches(
    lake: Lake,
    instance: dg.DagsterInstance,
    home: Path,
    acknowledged: Sequence[str],
    memory: Memory,
    seconds: float,
    left: Sequence[str],
) -> list[str]:
    """Why the soak failed; empty when it held. left: what was outstanding when it came to rest or stopped moving."""
    reasons = [f"never done: {line}" for line in left]
    _, repeated = answers(lake, acknowledged)
    if repeated:
        reasons.append(f"{repeated} answers are in `inferences` more than once")
    if not acknowledged:
        reasons.append("no answer was acknowledged: nothing was tested of the service")
    for kind, (middle, last) in sorted(memory.grown_kinds(seconds).items()):
        reasons.append(f"memory of {kind} grew: median {middle:.0f} MB in the middle third, {last:.0f} MB in the last")
    trainers = [process.pid for kind, process in mine(home) if kind == "trainer"]
    if trainers:
        reasons.append(f"trainers without a run: processes {trainers}")
    return reasons


def runs(instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    """Per job: how many runs succeeded, were interrupted, failed by themselves."""
    counts: dict[str, Counter[str]] = {}
    for run in instance.get_runs():
        kind = run.status.value.lower()
        if run.status == dg.DagsterRunStatus.FAILURE:
            kind = "interrupted" if INTERRUPTED_TAG in run.tags else "failed"
        counts.setdefault(run.job_name, Counter())[kind] += 1
    return [{"job": job, **count} for job, count in sorted(counts.items())]
