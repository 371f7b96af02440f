"""`python -m deploy.demo_aws`: runs the demo, checks it, and says what emulators cannot prove."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import time
from pathlib import Path

from carsdepo_assets.commands.options import out
from carsdepo_assets.commands.pipeline import Pipeline
from carsdepo_assets.commands.terminal import quietly
from carsdepo_assets.lake.lake import Lake
from deploy.demo_aws import intake, releases, traffic
from deploy.demo_aws.account import emulated_account
from deploy.demo_aws.containers import NotingRunner
from deploy.demo_aws.driving import Demo
from deploy.demo_aws.installation import carsdepo, installed, mlflow_server, settings_of
from deploy.emulators.sagemaker_runners import ProcessRunner


def run(folder: Path) -> Demo:
    """Runs the whole loop; raises where a check does not hold."""

    def say(text: str) -> None:
        out.print(text, highlight=False, markup=False, soft_wrap=True)

    runner = NotingRunner(ProcessRunner())
    with (
        emulated_account(folder / "account", runner) as account,
        mlflow_server(folder / "mlflow", f"s3://{account.account.lake}/mlflow") as mlflow,
    ):
        variables = installed(folder / "home", account.task, mlflow, account.front)
        settings = settings_of(variables)
        with Pipeline.open(settings, "INFO") as pipeline:
            demo = Demo(account, runner, pipeline, Lake.open(settings.lake), variables, folder, say)
            intake.upload(demo)
            intake.label(demo)
            first = releases.train(demo, "training, killed once", kill=True)
            releases.release(demo, first, "first release")
            traffic.inspect(demo)
            queue_id = traffic.measure(demo)
            traffic.label_queue(demo, queue_id)
            second = releases.train(demo, "retraining")
            releases.release(demo, second, "second release")
            with demo.step("the chain") as step:
                trace = json.loads(carsdepo(variables, "lineage", "--stage", "production", "--json"))
                (folder / "lineage.json").write_text(json.dumps(trace, indent=1))
                demo.prove("lineage and /ping name one model", f"{trace['model']['digest']}", holds=trace["model"]["digest"] == releases.ping(demo))
                step.outcome = "ok"
            return demo


def main() -> int:
    """Runs the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".carsdepo/demo-aws"))
    folder = parser.parse_args().folder.resolve()
    shutil.rmtree(folder / "home", ignore_errors=True)
    shutil.rmtree(folder / "mlflow", ignore_errors=True)
    for name in [name for name in os.environ if name.startswith("CARSDEPO_")]:
        del os.environ[name]
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    began = time.monotonic()
    with quietly(folder / "demo-aws.log", out):
        demo = run(folder)
    for step in demo.loop.steps:
        out.print(f"{step.seconds:7.1f} {step.name}: {step.outcome}", soft_wrap=True, highlight=False, markup=False)
    times = os.times()
    out.print(f"{time.monotonic() - began:.1f} s wall; {times.user + times.system + times.children_user + times.children_system:.1f} s CPU")
    return 0


if __name__ == "__main__":
    sys.exit(main())
