"""Records what assets read from the lake while they run in this process, and compares it with the declared graph."""

from __future__ import annotations

import functools
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.tables import Tables
from carsdepo_assets_tests.graph_snapshot import GRAPH

# The assets that write a table. Empty: it is a record that several steps keep, and no asset's result rests on it.
TABLE_WRITERS: dict[str, set[str]] = {
    "objects": set(),
    "uploads": {"uploads"},
    "images": {"images"},
    "metadata": {"dataset"},
    "processed": {"processed_images"},
    "annotations": {"labels"},
    "splits": {"dataset"},
    "quarantine": set(),
    "imports": set(),
    "licences": set(),
    "deployments": {"staging_deployment", "production_model"},
    "gates": {"production_model"},
    "inferences": {"inference_log"},
    "drift": {"drift_report"},
    "live_quality": {"live_quality"},
    "routes": {"drift_route"},
    "trainings": {"candidate_model", "evaluation", "registered_model"},
    "trials": {"trials"},
    "candidates": {"candidate_model"},
    "evaluations": {"evaluation"},
    "alerts": set(),
    "photograph_features": {"exploration"},
    "inspections": {"inspections"},
    "transactions": {"transactions"},
    "disputes": {"disputes"},
}
# The same by the beginning of a key; the longest that fits counts. Empty: files from outside, sensors' state, caches.
KEY_WRITERS: dict[str, set[str]] = {
    "raw/": set(),
    "capture/": set(),
    "batches/": set(),
    "scores/": set(),
    "tables/objects/": set(),  # its log, which the index of objects follows
    "objects/": {"processed_images"},
    "profiles/images/": {"images"},
    "profiles/inference": {"inference_profile"},
    "profiles/reference": {"reference_profile"},
    "references/": {"reference_profile"},
    "datasets/": {"dataset"},
    "golden/": {"dataset"},
    "class_map/": {"labels", "dataset"},
    "recipes/": {"recipe"},
    "studies/": {"trials"},
    "reports/study": {"trials"},
    "weights/": set(),
    "models/": {"candidate_model", "staging_deployment"},
    "training/": {"candidate_model", "evaluation", "registered_model"},
    "validations/": {"staging_validation"},
    "reports/evaluation": {"evaluation"},
    "reports/gate": {"production_model"},
    "reports/drift": {"drift_report"},
    "reports/kpi": {"kpi_report"},
    "reports/exploration": {"exploration"},
    "queues": {"labelling_queue"},
    "experiments/": {"labelling_queue"},
}
# reader: the assets later in the loop that it looks at, and why an edge would be wrong.
FEEDBACK_READS: dict[str, set[str]] = {
    # A batch's photographs are looked for among those that earlier batches brought.
    "uploads": {"images"},
    # A lake of before has the names of its classes in its datasets alone.
    "labels": {"dataset"},
    # The recipe starts from the model in production, and counts the trainings that came to nothing.
    "recipe": {"production_model", "candidate_model"},
    # A study is for a drift report's labelled queue, starts from the model in production, and plans by the pace of
    # earlier trainings; the weights of production's ancestors are models, too.
    "trials": {"production_model", "candidate_model", "labelling_queue"},
    # A window of traffic may be explored, too: a look at what came later than the dataset.
    "exploration": {"inference_log"},
    # The report compares the candidate with the model in production.
    "evaluation": {"production_model"},
    # A reference is also built for the model that answered last, which may not be the one to be served next; and the
    # photographs that a drift report's queue selected are left out of it, or weighted by that report's share.
    "reference_profile": {"inference_log", "labelling_queue", "drift_report"},
    # A route waits for the queue that it asked for.
    "drift_route": {"labelling_queue"},
}
_METADATA_KEY = re.compile(r"(dagster/)?[a-z][a-z0-9]*(_[a-z0-9]+)*")


@dataclass
class LakeReads:
    """What assets read, by the name of the asset."""

    tables: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Names of the tables that an asset read."""
    keys: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Keys of objects and of folders that an asset read, looked for or listed."""
    upstream: dict[str, set[str]] = field(default_factory=dict)
    """The assets that ran and read something, with their declared upstream."""
    feedback: dict[str, set[str]] = field(default_factory=dict)
    """The metadata `feedback_reads` of the materializations, by asset."""
    metadata_keys: dict[str, set[str]] = field(default_factory=dict)
    """The keys of the materializations' metadata, by asset."""

    def record(self, names: dict[str, set[str]], name: str) -> None:
        """Notes a read of the asset whose code runs in this thread; does nothing outside of an asset."""
        asset = self._running_asset()
        if asset is not None:
            names[asset].add(name)

    def _running_asset(self) -> str | None:
        if "dagster" not in sys.modules:  # nothing runs, and a test of numbers need not wait for the import
            return None
        import dagster as dg

        try:
            context = dg.AssetExecutionContext.get()
        except dg.DagsterInvariantViolationError:  # no step runs in this thread
            return None
        operation = context.op_execution_context
        if not operation.has_assets_def or len(operation.selected_asset_keys) != 1:  # a check, or a plain op
            return None
        (key,) = operation.selected_asset_keys
        asset = key.to_user_string()
        declared = operation.assets_def.asset_deps[key]
        self.upstream[asset] = {parent.to_user_string() for parent in declared}
        return asset


def undeclared(reads: LakeReads) -> list[str]:
    """A sentence for each read of what neither the asset nor one upstream of it writes, and for wrong metadata.

    Feedback reads are allowed where the list above has them; the metadata `feedback_reads` must then say the same.
    """
    faults = []
    for asset in sorted(reads.upstream):
        if asset not in GRAPH:  # an asset that a test made up
            continue
        allowed = {asset, *_ancestors(asset), *FEEDBACK_READS.get(asset, ())}
        for kind, names, writers_of in (
            ("table", reads.tables[asset], TABLE_WRITERS.get),
            ("key", reads.keys[asset], _writers_of_key),
        ):
            for name in sorted(names):
                writers = writers_of(name)
                if writers is None:
                    faults.append(f"{asset} reads the {kind} {name}, of which no writer is known")
                elif writers and not writers & allowed:
                    faults.append(f"{asset} reads the {kind} {name} of {', '.join(sorted(writers))}")
    for asset, stated in sorted(reads.feedback.items()):
        if asset in GRAPH and stated != FEEDBACK_READS.get(asset, set()):
            faults.append(f"{asset} has feedback_reads {sorted(stated)}")
    return faults


def odd_metadata_keys(reads: LakeReads) -> list[str]:
    """A sentence for each metadata key that is neither snake_case nor Dagster's own (`dagster/...`)."""
    return [
        f"{asset} has the metadata key {key!r}"
        for asset, keys in sorted(reads.metadata_keys.items())
        for key in sorted(keys)
        if asset in GRAPH and not _METADATA_KEY.fullmatch(key)
    ]


def _ancestors(asset: str) -> set[str]:
    direct = GRAPH[asset][2]
    return direct.union(*(_ancestors(parent) for parent in direct))


def _writers_of_key(key: str) -> set[str] | None:
    fitting = [begin for begin in KEY_WRITERS if key.startswith(begin) or f"{key}/" == begin]
    return KEY_WRITERS[max(fitting, key=len)] if fitting else None


def record_lake_reads(patch: pytest.MonkeyPatch) -> LakeReads:
    """Starts recording, until the patch is undone.

    Threads that an asset starts are not followed: they read objects whose keys the asset's own thread listed.
    """
    reads = LakeReads()

    def record_metadata(materialization: Any) -> None:
        asset = materialization.asset_key.to_user_string()
        stated = materialization.metadata.get("feedback_reads")
        reads.feedback[asset] = set(stated.value if stated else ())
        reads.metadata_keys.setdefault(asset, set()).update(materialization.metadata)

    _watch_materializations(patch, record_metadata)

    def recording(original: Callable[..., Any], names: dict[str, set[str]]) -> Callable[..., Any]:
        @functools.wraps(original)
        def recorded(self: Any, *args: Any, **kwargs: Any) -> Any:
            reads.record(names, str([*args, *kwargs.values(), ""][0]))  # the first argument, however it is passed
            return original(self, *args, **kwargs)

        return recorded

    for method in ("read", "version"):
        patch.setattr(Tables, method, recording(getattr(Tables, method), reads.tables))
    for method in ("get", "exists", "list", "local_path"):
        patch.setattr(Lake, method, recording(getattr(Lake, method), reads.keys))
    return reads


def _watch_materializations(patch: pytest.MonkeyPatch, seen: Callable[[Any], None]) -> None:
    """Has `seen` called with each materialization that this process records."""
    if "dagster" not in sys.modules:  # no test of this module runs an asset
        return
    import dagster as dg

    original = dg.DagsterInstance.handle_new_event

    def handle_new_event(self: Any, event: Any, *args: Any, **kwargs: Any) -> Any:
        of_asset = event.dagster_event is not None and event.dagster_event.is_step_materialization
        if of_asset:
            seen(event.dagster_event.step_materialization_data.materialization)
        return original(self, event, *args, **kwargs)

    patch.setattr(dg.DagsterInstance, "handle_new_event", handle_new_event)
