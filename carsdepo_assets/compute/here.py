"""This machine as a place to compute: a job in the step's own process, and what hardware there is."""

from __future__ import annotations

import functools
import importlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dagster as dg

from carsdepo_assets.compute.target import Hardware
from carsdepo_assets.compute.worker.process import disk_named
from carsdepo_assets.redaction import environment, redact
from carsdepo_assets.registry.lineage import processor_name

# Device files of NVIDIA's driver, of it under Windows, and of AMD's. Without one of them torch need not be asked.
_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
_ASK_TORCH = """
import json, torch
usable = torch.cuda.is_available()
print(json.dumps([torch.cuda.device_count(), torch.cuda.get_device_name(0)] if usable else [0, ""]))
"""


logger = logging.getLogger(__name__)


class StepEvents:
    """A job's reports, straight to the step that it runs in."""

    def __init__(self, context: dg.AssetExecutionContext | dg.OpExecutionContext) -> None:
        self._context = context
        self.results: list[dg.MaterializeResult[Any]] = []

    def log(self, line: str) -> None:
        self._context.log.info(redact(line))

    def report(self, result: Mapping[str, Any], data_version: str) -> None:
        self.results.append(
            dg.MaterializeResult(
                metadata={k: v for k, v in result.items() if v is not None}, data_version=dg.DataVersion(data_version)
            )
        )


def run_here(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, module: str, spec: Mapping[str, Any]
) -> dg.MaterializeResult[Any]:
    """Does a worker module's job in this process; see ComputeTarget.run.

    Raises:
        dagster.Failure: the job did not report one materialization.
    """
    job = importlib.import_module(module).JOB
    events = StepEvents(context)
    with ExitStack() as after, disk_named():
        job.work(job.spec.model_validate_json(json.dumps(spec)), events, after)
    if len(events.results) != 1:
        raise dg.Failure(f"{module} reported {len(events.results)} materializations instead of one.")
    return events.results[0]


@functools.cache
def this_machine() -> Hardware:
    """What this machine computes with. torch is asked in a process of its own, and only where a GPU's driver is."""
    gpus, name = 0, ""
    if any(Path(driver).exists() for driver in _GPU_DRIVERS):
        asked = subprocess.run(
            [sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, env=environment(os.environ)
        )
        if asked.returncode == 0:
            gpus, name = json.loads(asked.stdout.splitlines()[-1])
        if not gpus:
            why = asked.stderr.strip().splitlines()[-1:] or ["torch finds no GPU that it can use"]
            logger.warning("There is a GPU's driver here, and torch computes on the processor: %s", redact(why[0]))
    return Hardware(place="this machine", name=name or processor_name(), device="cuda:0" if gpus else "cpu", gpus=gpus)
