"""The process of a job: `python -m MODULE --spec PLACE`, the same on this machine, on ECS and on SageMaker.

It reports through Dagster Pipes where Dagster started it, and as lines on stdout elsewhere. SIGTERM asks it to end: a
training writes a checkpoint first. Its exit status is 0 after success, 2 for a wrong spec, 143 after SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carsdepo_assets.compute.worker.events import Events, open_events
from carsdepo_assets.compute.worker.watchdog import PARENT_VARIABLE, follow_parent
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import LakeError
from carsdepo_assets.policy import Policy
from carsdepo_assets.redaction import install

WORK_VARIABLE = "CARSDEPO_WORK"  # folder of a job's own files; the compute target sets it
PLACE_VARIABLE = "CARSDEPO_COMPUTE_PLACE"  # where the job runs, for a model's lineage; the compute target sets it
GRACE_S = 60  # seconds after SIGTERM in which a job that was asked to end ends by itself


class SpecError(ValueError):
    """The spec cannot be read or asks for what is not there."""


class JobSpec(BaseModel):
    """What every job is given, as JSON. It holds no path of a machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lake: str = Field(description="URL; a folder only where the worker runs on the machine that has it")
    policy: Policy = Policy()
    dagster_run_id: str | None = None


Spec = TypeVar("Spec", bound=JobSpec)


@dataclass(frozen=True)
class Job(Generic[Spec]):
    """What a worker module does."""

    spec: type[Spec]
    """The form of its spec."""
    work: Callable[[Spec, Events, ExitStack], None]
    """Does the work and reports once. What it leaves in the stack is undone after the report is out."""

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Runs the job as this process; returns its exit status."""
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--spec", required=True, help="file or s3:// URL with the job's spec as JSON")
        options = parser.parse_args(arguments)
        install()
        parent = os.environ.get(PARENT_VARIABLE)
        if parent is not None:
            follow_parent(int(parent))
        interruption.listen()
        try:
            spec = read_spec(options.spec, self.spec)
        except SpecError as error:
            print(error, file=sys.stderr)
            return 2
        with ExitStack() as after, open_events() as events:
            self.work(spec, events, after)
        return 0


class Interruption:
    """Whether SIGTERM has asked this process to end.

    Outside the block `deferred` the signal ends the process at once, by SystemExit. Inside it the work looks at `asked`
    between its steps, and has GRACE_S seconds.
    """

    def __init__(self) -> None:
        self.asked = False
        self._deferring = False

    def listen(self) -> None:
        """Takes over SIGTERM."""
        signal.signal(signal.SIGTERM, self._terminated)
        signal.signal(signal.SIGALRM, self._out_of_time)

    def __enter__(self) -> Interruption:
        self._deferring = True
        return self

    def __exit__(self, *exception: object) -> None:
        self._deferring = False
        signal.alarm(0)

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if again or not self._deferring:
            raise SystemExit(128 + number)
        signal.alarm(GRACE_S)

    def _out_of_time(self, number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signal.SIGTERM)


interruption = Interruption()


def read_spec(place: str | Path, form: type[Spec]) -> Spec:
    """Reads a spec.

    Args:
        place: a file, or an s3:// URL, read with the AWS_* variables or the machine's role.
        form: what it must be.

    Raises:
        SpecError: it cannot be read, or a field is wrong; the message names it.
    """
    try:
        return form.model_validate_json(_text(str(place)))
    except OSError as error:
        raise SpecError(f"{place}: {error.strerror}.") from error
    except LakeError as error:
        raise SpecError(f"{place}: {error}") from error
    except ValidationError as error:
        lines = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SpecError(f"{place}: {lines}.") from error


def spec_json(spec: JobSpec) -> Mapping[str, Any]:
    """The spec as ComputeTarget.run takes it."""
    return dict(json.loads(spec.model_dump_json()))


def work_folder(*parts: str) -> Path:
    """A folder for a job's own files, created if missing: below CARSDEPO_WORK, or below the folder of temporary files.

    It may be lost with the machine: what must survive it goes to the lake.
    """
    base = os.environ.get(WORK_VARIABLE) or os.path.join(tempfile.gettempdir(), "carsdepo-work")
    folder = Path(base, *parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _text(place: str) -> str:
    if not place.startswith("s3://"):
        return Path(place).read_text()
    folder, _, name = place.rpartition("/")
    return Lake.open(folder).get(name).decode()
