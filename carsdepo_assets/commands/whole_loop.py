"""`carsdepo demo`: both halves of the loop, with the services that it needs for as long as it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from carsdepo_assets.commands import demo, second_half, traffic
from carsdepo_assets.commands.demo import Loop
from carsdepo_assets.commands.memo import Memo
from carsdepo_assets.commands.pipeline import Pipeline
from carsdepo_assets.commands.services import running
from carsdepo_assets.lake.objects import write_atomic
from carsdepo_assets.policy_layers import FILE_NAME
from carsdepo_assets.settings import Settings

DEMO_POLICY = """\
# Written by `carsdepo demo`; the keys are those of carsdepo_assets/policy.py.
[gate]
# A hundred test photographs cannot decide by interval: the middle of the difference decides, and the gate says so.
mode = "point"
"""


def run(
    settings: Settings,
    folder: Path | None,
    *,
    minutes: float | None,
    detector: str | None,
    say: Callable[[str], None],
) -> Loop:
    """Photographs to production, three windows of traffic, drift, labels, a second model, KPIs.

    folder: a user's photographs; None: the rendered sample. What an earlier run with the same arguments has done is
    reused. Raises PipelineError and ServiceError, and PolicyError before anything is started.
    """
    settings.policy()
    settings.home.mkdir(parents=True, exist_ok=True)
    policy_file = settings.home / FILE_NAME  # what stands in other layers of the policy goes before it
    if not policy_file.exists():
        write_atomic(policy_file, DEMO_POLICY.encode())
        say(f"policy for few photographs written to {policy_file}")
    with running(settings) as serving, Pipeline.open(serving) as pipeline:
        # With the lake: what was done in another one is not done in this.
        asked = {"minutes": minutes, "detector": detector, "lake": settings.lake}
        memo = Memo(settings.home / "demo.json", asked)
        if memo.forgot:
            say("other arguments than the last demo's: what is in the lake is used, the rest is done anew")
        loop = demo.run(pipeline, folder, minutes=minutes, detector=detector, say=say, memo=memo)
        with loop.step("traffic", say) as step:
            if folder is None:
                windows = traffic.rendered(settings.home)
            else:
                windows = traffic.darkened(settings.home, folder, settings.policy().data)
            step.outcome = f"{len(windows)} windows of photographs in {settings.home / 'traffic'}"
        second_half.run(pipeline, loop, memo, windows, say, minutes=minutes)
    return loop
