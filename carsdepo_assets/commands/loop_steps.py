"""The steps that `import`, `train` and the demo share: each is run, timed, and recorded with its outcome."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carsdepo_assets.commands.import_account_view import observe_account
from carsdepo_assets.commands.import_questions import ImportOptions
from carsdepo_assets.commands.pipeline import Pipeline, PipelineError
from carsdepo_assets.commands.progress import Watch, unwatched
from carsdepo_assets.commands.training_bar import training_bar
from carsdepo_assets.data.folders.counts import counted
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.settings import Settings

if TYPE_CHECKING:
    from carsdepo_assets.data.batches.batches import Kind
    from carsdepo_assets.data.imports.account import ImportAccount
    from carsdepo_assets.data.labels.formats.documents import Target


@dataclass(frozen=True)
class Budget:
    """How long a training takes. Where both are set, the minutes cap the steps; where none is, the policy decides."""

    steps: int | None
    """Optimizer steps."""
    minutes: float | None
    """Minutes of wall time."""

    def config(self) -> dict[str, Any]:
        """The configuration of the asset `recipe`."""
        return {k: v for k, v in (("steps", self.steps), ("minutes", self.minutes)) if v is not None}


POLICY_DECIDES = Budget(None, None)


@dataclass
class Step:
    """One step that was run."""

    name: str
    outcome: str = ""
    """What came out, in one line."""
    seconds: float = 0.0
    """How long it took."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What a later run of the demo needs to know of this step."""


@dataclass
class Loop:
    """The steps that a command has run, and what they led to."""

    steps: list[Step] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    """The figures of the model that was evaluated last."""
    report: str = ""
    """Where the page of that evaluation is."""
    reports: dict[str, str] = field(default_factory=dict)
    """Where the other reports are, by what they show."""
    fast: bool = False
    """Whether this is the fast demo, whose figures say nothing."""
    class_ids: Mapping[str, Target] = field(default_factory=dict)
    """What each class of the imported labels became, by the text that names it there."""

    @contextmanager
    def step(self, name: str, say: Callable[[str], None]) -> Iterator[Step]:
        """Runs a block as a step: announces it, times it and records it."""
        say(name)
        step, started = Step(name), time.monotonic()
        yield step
        step.seconds = time.monotonic() - started
        self.steps.append(step)

    def note(self, name: str, outcome: str) -> None:
        """Records a step that took no time."""
        self.steps.append(Step(name, outcome))


def bring_in(
    pipeline: Pipeline,
    loop: Loop,
    folder: Path,
    options: ImportOptions,
    origin: str | None,
    say: Callable[[str], None],
    watch: Watch = unwatched,
) -> ImportAccount:
    """Copies a folder into raw/ and ingests its photographs, then its labels.

    Args:
        pipeline: The graph.
        loop: Where the steps are recorded.
        folder: The folder with photographs and labels.
        options: What the user said about the folder.
        origin: The origin that is recorded of the labels; None: their format.
        say: Announces a step.
        watch: Shows progress.

    Returns:
        The account, which is also stored in the table `imports` and shown in the UI.
    """
    from carsdepo_assets.data.imports.import_accounts import account_of, store_account
    from carsdepo_assets.data.photographs.metadata_corrections import correct_metadata

    settings, now = pipeline.settings, datetime.now(UTC)
    lake, policy = Lake.open(settings.lake), settings.policy()
    with loop.step("import", say) as step:
        with watch("copying", "files") as advance:
            imported = options.import_folder(lake, folder, policy, now, origin=origin, progress=advance)
        step.outcome, loop.class_ids = imported.summary, imported.class_ids
    _ingest(pipeline, loop, say, watch)
    corrected = correct_metadata(lake, datetime.now(UTC), folder=f"raw/uploads/{imported.name}/")
    if corrected.photographs or corrected.problems:
        loop.note("metadata", corrected.summary)
    account = account_of(lake, imported, policy, now)
    store_account(lake, account)
    observe_account(account, pipeline.instance)
    return account


def take_in_place(
    pipeline: Pipeline,
    loop: Loop,
    source: str,
    classes: str | None,
    mapping: Mapping[str, str],
    say: Callable[[str], None],
    watch: Watch = unwatched,
) -> None:
    """Ingests photographs and labels that lie in the lake's raw/ already.

    Args:
        pipeline: The graph.
        loop: Where the steps are recorded.
        source: raw/uploads/NAME of the lake, as a path or a URL.
        classes: Names of the labels' class ids 0, 1 and so on, with commas; None: no label needs them, or an earlier
            call has said them.
        mapping: The platform's class for each of these names that differs.
        say: Announces a step.
        watch: Shows progress.
    """
    from carsdepo_assets.data.imports.in_place import in_place_name, register_in_place

    lake = Lake.open(pipeline.settings.lake)
    with loop.step("import", say) as step:
        name = in_place_name(source, lake)
        photographs, labels = register_in_place(lake, name, classes, mapping, pipeline.settings.policy())
        what = f"{counted(photographs, 'photograph')}, {counted(labels, 'label file')}"
        step.outcome = f"{what} in raw/*/{name}, used where they are"
    _ingest(pipeline, loop, say, watch)


def _ingest(pipeline: Pipeline, loop: Loop, say: Callable[[str], None], watch: Watch) -> None:
    """Ingests the photographs that are due, then the labels."""
    lake = Lake.open(pipeline.settings.lake)
    kinds: tuple[tuple[Kind, str], ...] = (("uploads", "uploads, images, processed_images"), ("labels", "labels"))
    for kind, name in kinds:
        with loop.step(name, say) as step:
            with watch("ingesting", "batches") as advance:
                batches = pipeline.ingest(kind, progress=advance)
            step.outcome = _ingested(lake, kind, batches)


def lake_that_is(settings: Settings) -> Lake | None:
    """The installation's lake; None where it would have to be created."""
    return Lake.open(settings.lake) if "://" in settings.lake or Path(settings.lake).is_dir() else None


def look(settings: Settings, folder: Path, options: ImportOptions) -> ImportAccount:
    """The account that an import would have, as far as the folder and the lake say; nothing is written.

    Args:
        settings: Of the installation, which may not be there yet.
        folder: The folder with photographs and labels.
        options: What the user said about the folder.
    """
    from carsdepo_assets.data.imports.import_accounts import account_of

    lake, policy, now = lake_that_is(settings), settings.policy(), datetime.now(UTC)
    seen = options.import_folder(lake, folder, policy, now, dry_run=True)
    return account_of(lake, seen, policy, now, dry_run=True)


def _ingested(lake: Lake, kind: Kind, batches: list[str]) -> str:
    if not batches:
        return "nothing new"
    table = "images" if kind == "uploads" else "annotations"
    rows, refused = (lake.read(t, ["batch_id"], [("batch_id", "in", batches)]).num_rows for t in (table, "quarantine"))
    noun = "photograph" if kind == "uploads" else "label revision"
    return f"{counted(rows, noun)} in {counted(len(batches), 'batch')}, {refused} in quarantine"


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
    """Runs the `train` job and records a step for each of its assets.

    Args:
        pipeline: The graph.
        loop: Where the steps and the figures are recorded.
        say: Announces what begins.
        watch: Shows progress.
        fast: Train one epoch only.
        length: How long to train.
        detector: The family of the detector; None: the policy decides.
    """
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
            # The UI links to the site, whose service ends with the demo: the terminal shows the place in the lake.
            site, lake = pipeline.settings.site_for_people, pipeline.settings.lake
            loop.report = str(metadata["report"]).replace(f"{site}/", f"{lake}/", 1)


def _outcome(name: str, m: dict[str, Any]) -> str:
    if name == "dataset":
        return f"version {m['version']}, {m['dagster/row_count']} photographs"
    if name == "recipe":
        return f"{m['detector']}, recipe {m['digest']}"
    if name == "candidate_model":
        return f"model {m['digest']}" + (" (reused)" if m.get("reused") else f", {m['training']}")
    if name == "evaluation":
        map50 = f"{m['map50']:.3f}" if "map50" in m else "undefined"
        return f"mAP@.5 {map50} on {m['photographs']} test photographs, {m['boxes']} boxes, {m['groups']} groups"
    return f"version {m['version']}, alias {m['alias']}"


def explored(pipeline: Pipeline, config: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the job `explore`.

    Args:
        pipeline: The graph.
        config: The configuration of the asset `exploration`; empty: the newest dataset.

    Returns:
        What the JSON file of its report says, and the key of the report's page as `report`.

    Raises:
        PipelineError: The run failed, or left no materialization.
    """
    result = pipeline.run("explore", ops={"exploration": {"config": dict(config)}})
    events = result.asset_materializations_for_node("exploration")
    if not events:
        raise PipelineError(f"explore: exploration left no materialization (run {result.run_id}).")
    page = str(events[-1].metadata["report_key"].value)
    lake = Lake.open(pipeline.settings.lake)
    return {**json.loads(lake.get(f"{page.removesuffix('.html')}.json")), "report": page}


def studied(pipeline: Pipeline, config: Mapping[str, Any]) -> dict[str, Any]:
    """Runs the job `study`.

    Args:
        pipeline: The graph.
        config: The configuration of the asset `trials`; empty: as the policy says.

    Returns:
        The study as `carsdepo study show --json` prints it.

    Raises:
        PipelineError: The run failed, or left no materialization.
    """
    from carsdepo_assets.experiments.study.told import study_now

    result = pipeline.run("study", ops={"trials": {"config": dict(config)}})
    events = result.asset_materializations_for_node("trials")
    if not events:
        raise PipelineError(f"study: trials left no materialization (run {result.run_id}).")
    return study_now(Lake.open(pipeline.settings.lake), str(events[-1].metadata["study"].value))
