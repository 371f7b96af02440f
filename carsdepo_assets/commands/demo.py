"""The loop's first half on the sample lake or on a user's own photographs, headless, each step timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carsdepo_assets.commands.budget import POLICY_DECIDES, Budget, budget
from carsdepo_assets.commands.memo import Memo
from carsdepo_assets.commands.pipeline import Pipeline, PipelineError
from carsdepo_assets.commands.progress import Advance, Watch, unwatched
from carsdepo_assets.commands.training_bar import training_bar
from carsdepo_assets.lake.lake import Lake

if TYPE_CHECKING:
    from carsdepo_assets.data.batches import Kind

SAMPLE_IMAGES = 700
FAST_IMAGES = 150  # of a demo that only shows that the first half runs
SAMPLE_SEED = 7


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

    @contextmanager
    def remembered(self, memo: Memo, name: str, say: Callable[[str], None]) -> Iterator[Step | None]:
        """The step, or None when the memo says that it has been done: it is listed as reused then."""
        kept = memo.get(name)
        if kept is not None:
            self.note(name, f"{kept.get('outcome', '')} (reused)".strip())
            self.reports |= kept.get("reports", {})
            yield None
            return
        before = dict(self.reports)
        with self.step(name, say) as step:
            yield step
        new = {k: v for k, v in self.reports.items() if before.get(k) != v}
        memo.done(name, outcome=step.outcome, reports=new, **step.facts)

    def note(self, name: str, outcome: str) -> None:
        """A line for what cost no time."""
        self.steps.append(Step(name, outcome))


def run(
    pipeline: Pipeline,
    folder: Path | None,
    *,
    fast: bool = False,
    minutes: float | None,
    detector: str | None,
    say: Callable[[str], None],
    watch: Watch = unwatched,
    mapping: Mapping[str, str] | None = None,
    memo: Memo | None = None,
) -> Loop:
    """Sample (or `folder`) → batches → images → labels → dataset → recipe → model → evaluation → registry.

    fast: one epoch, and a smaller sample. minutes: of the training's wall time; None: see budget.py. mapping: the
    folder's class names -> ours. memo: what earlier runs of the demo have done; with it, a training that stands is
    not done again.
    """
    loop = Loop(fast=fast)
    rendered = folder is None
    if folder is None:
        with loop.step("sample lake", say) as step:
            n_images = FAST_IMAGES if fast else SAMPLE_IMAGES
            with watch("rendering", "photographs") as advance:
                folder, made = sample(pipeline.settings.home / "sample", n_images, advance)
            step.outcome = f"{n_images} rendered photographs" + ("" if made else " (reused)")
        origin = "sample"
    else:
        origin = "yolo"
    bring_in(pipeline, loop, folder, "yolo", mapping or {}, origin, say, watch)
    kept = memo.get("training") if memo is not None else None
    if kept is not None:
        loop.note("training", f"{kept['outcome']} (reused)")
        loop.figures, loop.report = kept["figures"], kept["report"]
        return loop
    rules = pipeline.settings.policy().training
    if fast:  # its one epoch ends it, and no clock before
        length = Budget(None, minutes or rules.cap_minutes)
    else:
        length, why = budget(rules, rendered=rendered, again=False, minutes=minutes, detector=detector)
        say(f"first training: {why}")
    train(pipeline, loop, say, watch=watch, fast=fast, length=length, detector=detector)
    if memo is not None:
        memo.done("training", outcome=loop.steps[-1].outcome, figures=loop.figures, report=loop.report)
    return loop


def sample(folder: Path, n_images: int, progress: Advance | None = None) -> tuple[Path, bool]:
    """The rendered sample; True when it was made now, False when it stood already."""
    from carsdepo_assets.sample.casting import INTAKE_MIX
    from carsdepo_assets.sample.write import write_sample

    done = folder / ".complete"
    if done.exists():
        return folder, False
    write_sample(folder, n_images, SAMPLE_SEED, lights=INTAKE_MIX, progress=progress)
    done.touch()
    return folder, True


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
