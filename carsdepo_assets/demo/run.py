"""The whole `carsdepo demo`, with the services that it needs running for as long as it takes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from carsdepo_assets.commands.loop_steps import Loop
from carsdepo_assets.commands.pipeline import Pipeline
from carsdepo_assets.commands.progress import Watch, unwatched
from carsdepo_assets.commands.services import running
from carsdepo_assets.demo import release_loop, traffic_windows, train_loop
from carsdepo_assets.demo.progress import DemoProgress
from carsdepo_assets.demo.traffic_ahead import written_ahead
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import write_atomic
from carsdepo_assets.policy_layers import FILE_NAME
from carsdepo_assets.settings import Settings

DEMO_POLICY = """\
# Written by `carsdepo demo`; the keys are those of carsdepo_assets/policy.py.
[gate]
# With a hundred test photographs the interval is too wide to decide by: the gate goes by the point estimate, and
# its report says so.
mode = "point"
# A latency that is measured while other work runs depends on the machine more than on the model: with a minute, no
# model that answers is refused. Remove this line to have the gate apply the policy's own limit.
latency_p95_ms = 60000.0

[release]
# Long, because a service loads a model slowly on a busy machine.
wait_s = 900.0

[inference]
# The demo waits for the answers of each of its windows: with short segments they come sooner.
segment_age_s = 1.0

[study]
# Three short trials: enough to show a study's leaderboard, too short to tell recipes apart.
trials = 3
trial_steps = 10
"""


def run(
    settings: Settings,
    folder: Path | None,
    *,
    minutes: float | None,
    detector: str | None,
    say: Callable[[str], None],
    watch: Watch = unwatched,
    mapping: Mapping[str, str] | None = None,
    classes: str | None = None,
) -> Loop:
    """Takes photographs to a model in production, then through traffic, drift and labels to a second model and KPIs.

    Steps that an earlier run with the same arguments has finished are reused. Dagster's lines go to stderr, which the
    caller keeps in a log.

    Args:
        settings: Of the home in which the demo works.
        folder: A user's photographs; None for the rendered sample.
        minutes: Of wall time for each training, as the user asked; None for the demo's own budgets.
        detector: As the user asked; None where the policy decides.
        say: Prints a line for the user.
        watch: Shows the progress of long steps.
        mapping: The folder's class names -> the platform's.
        classes: Names of the folder's class ids 0, 1 and so on, with commas; None: files of the folder say them.

    Returns:
        The steps with their outcomes, the last model's figures and the reports.

    Raises:
        PolicyError: Before anything is started, where a policy file is wrong.
        ServiceError: Where a service does not start.
        PipelineError: Where a step fails, or the gate refuses the first model on the sample.
    """
    settings.policy()
    settings.home.mkdir(parents=True, exist_ok=True)
    _write_policy(settings, say, (detector or "yolov8n",) if folder is None else ())
    with running(settings) as serving, Pipeline.open(serving, "INFO") as pipeline:
        # The lake is one of the parameters: steps that were run in another lake are not finished in this one.
        parameters = {
            "minutes": minutes,
            "detector": detector,
            "lake": settings.lake,
            "map": dict(mapping or {}) or None,
        }
        if classes is not None:
            parameters["classes"] = classes
        if folder is not None:
            parameters["files"] = _listing(folder)
        progress = DemoProgress(settings.home / "demo.json", parameters)
        if progress.restart_reason:
            say(
                f"{progress.restart_reason}: the lake's contents are used, but trainings, releases and windows of "
                "traffic are run again"
            )
        loop = train_loop.run(
            pipeline,
            folder,
            minutes=minutes,
            detector=detector,
            say=say,
            watch=watch,
            mapping=mapping,
            progress=progress,
            classes=classes,
        )
        if folder is None:
            windows = traffic_windows.rendered_windows(settings.home)
        else:
            windows = traffic_windows.darkened_windows(settings.home, folder, settings.policy().data, loop.class_ids)
        with written_ahead(windows) as ahead:  # only now: the first training needs both cores
            lake = Lake.open(settings.lake)
            context = release_loop.DemoContext(
                pipeline, lake, loop, progress, say, watch, rendered=folder is None, ahead=ahead
            )
            release_loop.run(context, windows, minutes=minutes, detector=detector)
    return loop


def home_name(folder: Path) -> str:
    """The name of the home, below data/, in which the demo of a user's folder works.

    It is the folder's name and eight hex digits of its path, so that two folders of one name have homes of their own.
    """
    path = folder.resolve()
    return f"{path.name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"


def _listing(folder: Path) -> str:
    """A folder's number of files and a digest of their names and sizes, which tells when the folder has changed."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    digest = hashlib.sha256()
    for path in files:
        digest.update(os.fsencode(path.relative_to(folder)) + b"\0" + str(path.stat().st_size).encode() + b"\n")
    return f"{len(files)} ({digest.hexdigest()[:12]})"


def _write_policy(settings: Settings, say: Callable[[str], None], families: tuple[str, ...] = ()) -> None:
    """Writes the demo's policy as the home's file, unless there is one; names files that take precedence over it.

    Args:
        families: those that the study tries; empty: the policy's own.
    """
    own = settings.home / FILE_NAME
    if not own.exists():
        tried = f"families = {json.dumps(families)}\n" if families else ""
        write_atomic(own, (DEMO_POLICY + tried).encode())
        say(f"policy for few photographs and a busy machine written to {own}")
    stronger = [str(layer.path) for layer in settings.policy_files if layer.path != own and layer.path.exists()]
    if stronger:
        say(f"{', '.join(stronger)} takes precedence over the demo's own settings in {own}")
