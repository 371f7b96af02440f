"""The demo up to the first registered model, on the rendered sample or on a user's own photographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from carsdepo_assets.commands.import_questions import ImportOptions
from carsdepo_assets.commands.loop_steps import Budget, Loop, bring_in, explored, train
from carsdepo_assets.commands.pipeline import Pipeline
from carsdepo_assets.commands.progress import Advance, Watch, unwatched
from carsdepo_assets.demo.progress import DemoProgress
from carsdepo_assets.demo.training_budget import budget

SAMPLE_IMAGES = 700
FAST_IMAGES = 150  # of `demo --fast`, which only shows that these steps run
SAMPLE_SEED = 7


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
    progress: DemoProgress | None = None,
    classes: str | None = None,
) -> Loop:
    """Imports the photographs and their labels, trains a model, evaluates and registers it.

    Args:
        pipeline: Runs the assets.
        folder: A user's photographs, with images/ and labels/ in YOLO's format; None for the rendered sample.
        fast: One epoch, and a smaller sample.
        minutes: Of wall time for the training, as the user asked; None for the budget of training_budget.py.
        detector: As the user asked; None where the policy decides.
        say: Prints a line for the user.
        watch: Shows the progress of long steps.
        mapping: The folder's class names -> the platform's.
        progress: Which steps earlier demos in this home have finished; with it, a finished training is reused.
        classes: Names of the folder's class ids 0, 1 and so on, with commas; None: files of the folder say them.

    Returns:
        The steps with their outcomes, and the model's figures.
    """
    loop = Loop(fast=fast)
    rendered = folder is None
    if folder is None:
        with loop.step("sample lake", say) as step:
            n_images = FAST_IMAGES if fast else SAMPLE_IMAGES
            with watch("rendering", "photographs") as advance:
                folder, is_new = render_sample(pipeline.settings.home / "sample", n_images, advance)
            step.outcome = f"{n_images} rendered photographs" + ("" if is_new else " (reused)")
        origin = "sample"
    else:
        origin = "yolo"
    account = bring_in(pipeline, loop, folder, ImportOptions("yolo", mapping or {}, classes), origin, say, watch)
    for failure in account.failures:
        say(f"the import is not whole: {failure}")
    _explore(pipeline, loop, say, progress)
    facts = progress.facts_of("training") if progress is not None else None
    if facts is not None:
        loop.note("training", f"{facts['outcome']} (reused)")
        loop.figures, loop.report = facts["figures"], facts["report"]
        return loop
    policy = pipeline.settings.policy().training
    if fast:  # it ends with its one epoch: the minutes are only a far cap
        length = Budget(None, minutes or policy.cap_minutes)
    else:
        length, why = budget(policy, rendered=rendered, again=False, minutes=minutes, detector=detector)
        say(f"first training: {why}")
    train(pipeline, loop, say, watch=watch, fast=fast, length=length, detector=detector)
    if progress is not None:
        progress.record("training", outcome=loop.steps[-1].outcome, figures=loop.figures, report=loop.report)
    return loop


def _explore(pipeline: Pipeline, loop: Loop, say: Callable[[str], None], progress: DemoProgress | None) -> None:
    """Looks at the first dataset before anything is trained on it; a demo that has looked does not look again."""
    facts = progress.facts_of("exploration") if progress is not None else None
    if facts is not None:
        loop.note("exploration", f"{facts['outcome']} (reused)")
        loop.reports["exploration"] = facts["report"]
        return
    with loop.step("exploration", say) as step:
        pipeline.run("build_dataset")
        report = explored(pipeline, {})
        step.outcome = str(report["summary"])
        loop.reports["exploration"] = f"{pipeline.settings.lake}/{report['report']}"
    if progress is not None:
        progress.record("exploration", outcome=step.outcome, report=loop.reports["exploration"])


def render_sample(folder: Path, n_images: int, progress: Advance | None = None) -> tuple[Path, bool]:
    """Renders the sample into the folder, unless it is complete already.

    Returns:
        The folder, and whether the sample was rendered by this call.
    """
    from carsdepo_assets.demo.sample.casting import INTAKE_MIX
    from carsdepo_assets.demo.sample.write import write_class_names, write_sample

    complete = folder / ".complete"
    if complete.exists():
        write_class_names(folder)  # samples of earlier releases have none
        return folder, False
    write_sample(folder, n_images, SAMPLE_SEED, lights=INTAKE_MIX, progress=progress)
    complete.touch()
    return folder, True
