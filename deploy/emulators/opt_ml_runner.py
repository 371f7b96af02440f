"""The contract of the worker image's entrypoint for a process instead of a container: `train`, or `process`.

`train` reads input/config/hyperparameters.json below the folder that stands for /opt/ml, joins hyper-parameters NAME.0,
NAME.1 ... into the variable NAME, and runs `python -m MODULE --spec SPEC`. `process` takes module and spec as
arguments. The last lines of a worker that failed go to output/failure, for a processing job to output/message.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path

from deploy.emulators.sagemaker_runners import ROOT_VARIABLE

LAST_LINES = 20


def main(arguments: list[str] | None = None) -> int:
    """Runs the worker; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=("train", "process"))
    parser.add_argument("--module")
    parser.add_argument("--spec")
    options = parser.parse_args(arguments)
    root = Path(os.environ[ROOT_VARIABLE])
    module, spec, variables = options.module, options.spec, {}
    if options.verb == "train":
        given = json.loads((root / "input/config/hyperparameters.json").read_text())
        module, spec, variables = given["module"], given["spec"], joined(given)
    worker = subprocess.Popen(
        [sys.executable, "-u", "-m", module, "--spec", spec],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    signal.signal(signal.SIGTERM, lambda number, frame: worker.send_signal(number))
    last: deque[str] = deque(maxlen=LAST_LINES)
    assert worker.stdout is not None
    for line in worker.stdout:
        last.append(line)
        sys.stdout.write(line)
        sys.stdout.flush()
    code = worker.wait()
    if code != 0:
        (root / "output").mkdir(exist_ok=True)
        (root / "output" / ("failure" if options.verb == "train" else "message")).write_text("".join(last)[-1024:])
    return code if code >= 0 else 128 - code


def joined(hyperparameters: dict[str, str]) -> dict[str, str]:
    """Variables whose values came in parts."""
    parts: dict[str, dict[int, str]] = {}
    for name, value in hyperparameters.items():
        variable, dot, number = name.rpartition(".")
        if dot and number.isdecimal():
            parts.setdefault(variable, {})[int(number)] = value
    return {name: "".join(by_number[i] for i in sorted(by_number)) for name, by_number in parts.items()}


if __name__ == "__main__":
    sys.exit(main())
