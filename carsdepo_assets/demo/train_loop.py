"""The loop's first half on the sample lake or on a user's own photographs, headless, each step timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from carsdepo_assets.commands.loop_steps import Budget, Loop, bring_in, train
from carsdepo_assets.commands.pipeline import Pipeline
from carsdepo_assets.commands.progress import Advance, Watch, unwatched
from carsdepo_assets.demo.progress import Memo
from carsdepo_assets.demo.training_budget import budget

if TYPE_CHECKING:
    pass

SAMPLE_IMAGES = 700
FAST_IMAGES = 150  # of a demo that only shows that the first half runs
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
    from carsdepo_assets.demo.sample.casting import INTAKE_MIX
    from carsdepo_assets.demo.sample.write import write_sample

    done = folder / ".complete"
    if done.exists():
        return folder, False
    write_sample(folder, n_images, SAMPLE_SEED, lights=INTAKE_MIX, progress=progress)
    done.touch()
    return folder, True
