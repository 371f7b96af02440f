"""`carsdepo demo`: both halves of the loop, with the services that it needs for as long as it runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from carsdepo_assets.commands.pipeline import Pipeline
from carsdepo_assets.commands.progress import Watch, unwatched
from carsdepo_assets.commands.services import running
from carsdepo_assets.demo import release_loop, traffic, train_loop
from carsdepo_assets.demo.progress import Memo
from carsdepo_assets.demo.traffic_ahead import written_ahead
from carsdepo_assets.demo.train_loop import Loop
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import write_atomic
from carsdepo_assets.policy_layers import FILE_NAME
from carsdepo_assets.settings import Settings

DEMO_POLICY = """\
# Written by `carsdepo demo`; the keys are those of carsdepo_assets/policy.py.
[gate]
# A hundred test photographs cannot decide by interval: the middle of the difference decides, and the gate says so.
mode = "point"
# A latency measured while other work runs says more of the machine than of the model: a minute of it refuses nothing
# that answers. Take this line away to have the gate judge by the policy's own budget.
latency_p95_ms = 60000.0

[release]
# A far cap: on a busy machine a service takes long to load a model.
wait_s = 900.0

[inference]
# The demo waits for the answers of each of its windows: they come sooner.
segment_age_s = 1.0
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
) -> Loop:
    """Photographs to production, three windows of traffic, drift, labels, a second model, KPIs.

    folder: a user's photographs; None: the rendered sample. mapping: the folder's class names -> ours. What an earlier
    run with the same arguments has done is reused. Dagster's lines go to stderr, which the caller keeps in a log.
    Raises PipelineError and ServiceError, and PolicyError before anything is started.
    """
    settings.policy()
    settings.home.mkdir(parents=True, exist_ok=True)
    _write_policy(settings, say)
    with running(settings) as serving, Pipeline.open(serving, "INFO") as pipeline:
        # With the lake: what was done in another one is not done in this.
        asked = {"minutes": minutes, "detector": detector, "lake": settings.lake, "map": dict(mapping or {}) or None}
        if folder is not None:
            asked["files"] = _listing(folder)
        memo = Memo(settings.home / "demo.json", asked)
        if memo.forgot:
            say(f"{memo.forgot}: what is in the lake is used; trainings, releases and windows of traffic are done anew")
        loop = train_loop.run(
            pipeline, folder, minutes=minutes, detector=detector, say=say, watch=watch, mapping=mapping, memo=memo
        )
        if folder is None:
            windows = traffic.rendered(settings.home)
        else:
            windows = traffic.darkened(settings.home, folder, settings.policy().data, loop.class_ids)
        with written_ahead(windows) as ahead:  # not before the first training is done: it needs both cores
            lake = Lake.open(settings.lake)
            parts = release_loop.Parts(pipeline, lake, loop, memo, say, watch, rendered=folder is None, ahead=ahead)
            release_loop.run(parts, windows, minutes=minutes, detector=detector)
    return loop


def home_name(folder: Path) -> str:
    """Of the home below data/ for a folder of a user's: its name, and eight hex digits of where it lies."""
    whole = folder.resolve()
    return f"{whole.name}-{hashlib.sha256(os.fsencode(whole)).hexdigest()[:8]}"


def _listing(folder: Path) -> str:
    """A folder's number of files, and a digest of their names and sizes: with other files it is another demo."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    digest = hashlib.sha256()
    for path in files:
        digest.update(os.fsencode(path.relative_to(folder)) + b"\0" + str(path.stat().st_size).encode() + b"\n")
    return f"{len(files)} ({digest.hexdigest()[:12]})"


def _write_policy(settings: Settings, say: Callable[[str], None]) -> None:
    """The demo's own policy, as the home's layer; what other layers say goes before it, and is named."""
    own = settings.home / FILE_NAME
    if not own.exists():
        write_atomic(own, DEMO_POLICY.encode())
        say(f"policy for few photographs and a busy machine written to {own}")
    before = [str(layer.path) for layer in settings.policy_files if layer.path != own and layer.path.exists()]
    if before:
        say(f"{', '.join(before)} goes before the demo's own settings in {own}")
