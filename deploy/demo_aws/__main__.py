"""`python -m deploy.demo_aws`, which `make demo-aws` runs: the loop on emulators of AWS, and its checks."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from carsdepo_assets.commands.options import out
from carsdepo_assets.commands.pipeline import Pipeline, PipelineError
from carsdepo_assets.commands.terminal import quietly
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.settings import Settings
from deploy.demo_aws import checks, closing, intake, leftovers, releases, traffic
from deploy.demo_aws.account import emulated_account
from deploy.demo_aws.containers import demo_runner
from deploy.demo_aws.driving import Demo, DemoFailed
from deploy.demo_aws.faults import FaultFailed
from deploy.demo_aws.installation import CommandFailed, installed, mlflow_server

LOG = "demo-aws.log"
_REPLACED = ("home", "mlflow", "account/data", LOG)  # of a run before; the sample and ministack's packages are kept


def say(text: str) -> None:
    """Prints a line for people."""
    out.print(text, highlight=False, markup=False, soft_wrap=True)


def run(folder: Path, *, as_processes: bool) -> Demo:
    """Runs the loop.

    Args:
        folder: of the demo's state.
        as_processes: whether jobs and endpoints run as processes, also where containers could be.

    Raises:
        DemoFailed: Something came out otherwise than it must.
    """
    with demo_runner(folder, as_processes=as_processes) as runner:
        for sentence in runner.sentences:
            say(sentence)
        if not (folder / "account" / "venv" / "complete").exists():
            say("ministack's packages are installed first, once.")
        began = time.monotonic()
        with (
            emulated_account(folder / "account", runner) as account,
            mlflow_server(folder / "mlflow", f"s3://{account.account.lake}/mlflow") as mlflow,
        ):
            variables = installed(folder / "home", account.task, mlflow, account.front)
            settings = Settings.read(variables)
            say(f"ministack, moto, the stacks of deploy/aws and MLflow: {time.monotonic() - began:.1f} s")
            with Pipeline.open(settings, "INFO") as pipeline:
                lake = Lake.open(settings.lake)
                demo = Demo(account, runner, pipeline, lake, variables, folder, folder / LOG, say)
                intake.upload(demo)
                intake.label(demo)
                first = releases.train(demo, "training, killed once", kill=True)
                releases.release(demo, first, "first release")
                traffic.inspect(demo)
                queue_id = traffic.measure(demo)
                traffic.label_queue(demo, queue_id)
                second = releases.train(demo, "retraining")
                releases.release(demo, second, "second release")
                checks.check_chain(demo, first, second)
                checks.check_leftovers(demo)
                return demo


def main() -> int:
    """Runs the demo; the exit code is 0 where every check holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".carsdepo/demo-aws"), help="of the demo's state")
    parser.add_argument("--processes", action="store_true", help="run no containers, also where they could run")
    options = parser.parse_args()
    folder = options.folder.resolve()
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        print(f"Another demo works in {folder}: wait for it, or give another --folder.", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{folder} cannot hold the demo's state ({error}): give another --folder.", file=sys.stderr)
        return 1
    if count := leftovers.end_processes(folder):
        say(f"Ended {count} processes that a demo which was killed had left here.")
    for name in _REPLACED:
        path = folder / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    for name in [name for name in os.environ if name.startswith("CARSDEPO_")]:  # of another installation
        del os.environ[name]
    os.environ[leftovers.MARK] = str(folder)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # else moto writes a line for each request
    signal.signal(signal.SIGTERM, _interrupted)
    began = time.monotonic()
    try:
        with leftovers.own_temporary_folder(folder), quietly(folder / LOG, out):
            demo = run(folder, as_processes=options.processes)
    except (DemoFailed, FaultFailed, PipelineError, CommandFailed, LakeError) as error:
        print(f"make demo-aws failed: {error}\nLog: {folder / LOG}", file=sys.stderr)
        return 1
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # a full disk, or no ministack
        with suppress(OSError), (folder / LOG).open("a") as log:
            traceback.print_exc(file=log)
        print(f"make demo-aws failed: {type(error).__name__}: {error}\nLog: {folder / LOG}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("make demo-aws was interrupted; all that it started is ended.", file=sys.stderr)
        return 130
    finally:
        lock.release()
    used = os.times()
    cpu_s = used.user + used.system + used.children_user + used.children_system
    closing.show(demo, out, wall_s=time.monotonic() - began, cpu_s=cpu_s)
    return 0


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
