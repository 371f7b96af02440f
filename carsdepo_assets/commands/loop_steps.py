"""Steps of the loop that `import`, `train` and the demo share: each is run, timed, and noted with what came out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carsdepo_assets.commands.pipeline import Pipeline, PipelineError
from carsdepo_assets.commands.progress import Watch, unwatched
from carsdepo_assets.commands.training_bar import training_bar
from carsdepo_assets.lake.lake import Lake

if TYPE_CHECKING:
    from carsdepo_assets.data.batches import Kind


@dataclass(frozen=True)
class Budget:
    """steps: optimizer steps, with policy.training.cap_minutes as a far cap; minutes: of wall time. None: the policy's.

    Where both are given the minutes are the cap.
    """

    steps: int | None
    minutes: float | None

    def config(self) -> dict[str, Any]:
        """For the asset `recipe`."""
        return {k: v for k, v in (("steps", self.steps), ("minutes", self.minutes)) if v is not None}


POLICY_DECIDES = Budget(None, None)


@dataclass
class Step:
    """facts: what a later run of the demo needs of this step, beside its outcome."""

    name: str
    outcome: str = ""
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Loop:
    """figures: the last judged model's; report: where its page is; reports: the other pages, by what they show.

    class_ids: of the imported labels, as text -> ours.
    """

    steps: list[Step] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    report: str = ""
    reports: dict[str, str] = field(default_factory=dict)
    fast: bool = False
    class_ids: Mapping[str, int] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str, say: Callable[[str], None]) -> Iterator[Step]:
        say(name)
        step, started = Step(name), time.monotonic()
        yield step
        step.seconds = time.monotonic() - started
        self.steps.append(step)

    def note(self, name: str, outcome: str) -> None:
        """A line for what cost no time."""
        self.steps.append(Step(name, outcome))


def bring_in(
    pipeline: Pipeline,
    loop: Loop,
    folder: Path,
    form: str,
    mapping: Mapping[str, str],
    origin: str | None,
    say: Callable[[str], None],
    watch: Watch = unwatched,
) -> None:
    """A folder into raw/, its upload batches, then its label batches."""
    from carsdepo_assets.data.importing import import_folder

    settings = pipeline.settings
    lake = Lake.open(settings.lake)
    with loop.step("import", say) as step:
        with watch("copying", "files") as advance:
            done = import_folder(
                lake, folder, form, mapping, settings.policy(), datetime.now(UTC), origin=origin, progress=advance
            )
        step.outcome, loop.class_ids = done.summary, done.class_ids
    kinds: tuple[tuple[Kind, str], ...] = (("uploads", "uploads, images, processed_images"), ("labels", "labels"))
    for kind, name in kinds:
        with loop.step(name, say) as step:
            with watch("ingesting", "batches") as advance:
                batches = pipeline.ingest(kind, progress=advance)
            step.outcome = _ingested(lake, kind, batches)


def _ingested(lake: Any, kind: str, batches: list[str]) -> str:
    if not batches:
        return "nothing new: reused"
    wanted = ", ".join(f"'{b}'" for b in batches)
    table = "images" if kind == "uploads" else "annotations"
    rows = lake.query(f"select count(*) n from {table} where batch_id in ({wanted})")["n"][0].as_py()
    refused = lake.query(f"select count(*) n from quarantine where batch_id in ({wanted})")["n"][0].as_py()
    noun = "photographs" if kind == "uploads" else "label revisions"
    return f"{rows} {noun} in {len(batches)} batch(es), {refused} in quarantine"


def train(
    pipeline: Pipeline,
    loop: Loop,
    say: Callable[[str], None],
    *,
    watch: Watch = unwatched,
    fast: bool = False,
    length: Budget = POLICY_DECIDES,
    detector: str | None = None,
) -> None:
    """The `train` job, one step of the loop for each of its assets. fast: one epoch."""
    config: dict[str, Any] = length.config()
    if detector is not None:
        config["detector"] = detector
    if fast:
        config["epochs"] = 1
    say("dataset, recipe, candidate_model, evaluation, registered_model")
    with training_bar(Lake.open(pipeline.settings.lake), watch):
        result = pipeline.run("train", ops={"recipe": {"config": config}} if config else None)
    times = {e.step_key: e.step_success_data.duration_ms / 1000 for e in result.all_events if e.is_step_success}
    again = "again, " if any(s.name == "candidate_model" for s in loop.steps) else ""
    for name in ("dataset", "recipe", "candidate_model", "evaluation", "registered_model"):
        events = result.asset_materializations_for_node(name)
        if not events:
            raise PipelineError(f"train: {name} left no materialization (run {result.run_id}).")
        metadata = {k: getattr(v, "value", v) for k, v in events[-1].metadata.items()}
        loop.steps.append(Step(name, again + _outcome(name, metadata), times.get(name, 0.0)))
        if name == "evaluation":
            loop.figures = {
                k: metadata[k]
                for k in (
                    "map50",
                    "map75",
                    "map50_95",
                    "precision",
                    "recall",
                    "f1",
                    "threshold",
                    "map50_low",
                    "map50_high",
                    "photographs",
                    "boxes",
                    "groups",
                    "verdict",
                )
                if k in metadata
            }
            # The UI links to the site, whose service ends with the demo: on the terminal its place in the lake stands.
            site, lake = pipeline.settings.service_url("production"), pipeline.settings.lake
            loop.report = str(metadata["report"]).replace(f"{site}/", f"{lake}/", 1)


def _outcome(name: str, m: dict[str, Any]) -> str:
    if name == "dataset":
        return f"version {m['version']}, {m['photographs']} photographs"
    if name == "recipe":
        return f"{m['detector']}, recipe {m['digest']}"
    if name == "candidate_model":
        return f"model {m['digest']}" + (" (reused)" if m.get("reused") else f", {m['training']}")
    if name == "evaluation":
        return (
            f"mAP@.5 {m['map50']:.3f} on {m['photographs']} test photographs, {m['boxes']} boxes, {m['groups']} groups"
        )
    return f"version {m['version']}, alias {m['alias']}"
