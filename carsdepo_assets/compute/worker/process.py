"""The process of a job: `python -m MODULE --spec PLACE`, the same on this machine, on ECS and on SageMaker.

It reports through Dagster Pipes where Dagster started it, and as lines on stdout elsewhere. SIGTERM asks it to end: a
training writes a checkpoint first. So does the end of the longest time that the compute target gives it, which holds
where nobody watches the job any more, too. Its exit status is 0 after success, 2 for a wrong spec, 143 after SIGTERM
and after its longest time.
"""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carsdepo_assets.compute.worker.events import Events, open_events
from carsdepo_assets.compute.worker.job_figures import NAMESPACE_VARIABLE, published_use
from carsdepo_assets.compute.worker.watchdog import PARENT_VARIABLE, follow_parent
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.objects import LakeError
from carsdepo_assets.policy import Policy
from carsdepo_assets.redaction import install

WORK_VARIABLE = "CARSDEPO_WORK"  # folder of a job's own files; the compute target sets it
PLACE_VARIABLE = "CARSDEPO_COMPUTE_PLACE"  # where the job runs, for a model's lineage; the compute target sets it
MAX_RUNTIME_VARIABLE = "CARSDEPO_MAX_RUNTIME_S"  # seconds that a job may run; the compute target sets it
GRACE_S = 60  # seconds after SIGTERM or the longest time in which a job ends by itself


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
    verb: str | None = None
    """Names the job in the metrics of its use of the machine; None: it has none."""

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Runs the job as this process; returns its exit status."""
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--spec", required=True, help="file or s3:// URL with the job's spec as JSON")
        options = parser.parse_args(arguments)
        install()
        parent = os.environ.get(PARENT_VARIABLE)
        if parent is not None:
            follow_parent(int(parent))
        try:
            interruption.listen(_longest_s(os.environ.get(MAX_RUNTIME_VARIABLE)))
            spec = read_spec(options.spec, self.spec)
        except SpecError as error:
            print(error, file=sys.stderr)
            return 2
        namespace = os.environ.get(NAMESPACE_VARIABLE)
        with published_use(namespace, self.verb), ExitStack() as after, open_events() as events, disk_named():
            self.work(spec, events, after)
        return 0


class DiskError(OSError):
    """The job's disk is full or cannot be written to; the message says which and what to do."""


@contextmanager
def disk_named() -> Iterator[None]:
    """Says of an error of the disk, whose own words may name no file, where the job works and what helps.

    Raises:
        DiskError: in the place of the operating system's error.
    """
    try:
        yield
    except OSError as error:
        folder = os.environ.get(WORK_VARIABLE) or tempfile.gettempdir()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = (
                "free some space, or give the job more: `volume_gb` on SageMaker, the task definition's ephemeral "
                "storage on ECS. Shared memory (/dev/shm) can be full, too"
            )
        elif error.errno == errno.EROFS:
            remedy = f"let {WORK_VARIABLE} name a folder that the job may write to"
        else:
            raise
        where = f"{error.filename}: " if error.filename else ""
        raise DiskError(f"{where}{os.strerror(error.errno)}. The job works in {folder}: {remedy}.") from error


class TimeLimit(SystemExit):
    """The job ran for its longest time."""

    def __init__(self, longest_s: int) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.longest_s = longest_s

    def __str__(self) -> str:
        return f"the job ran longer than its limit of {self.longest_s} s"


class Interruption:
    """Whether SIGTERM, or the end of its longest time, has asked this process to end.

    Outside a block `with interruption` the process ends at once, by SystemExit. Inside it the work looks at `asked`
    between its steps, and has GRACE_S seconds; a second SIGTERM ends it at once.
    """

    def __init__(self) -> None:
        self.asked = False
        self._deferring = False
        self._signalled = False
        self._longest_s: int | None = None
        self._ends = math.inf  # by time.monotonic

    def listen(self, longest_s: int | None = None) -> None:
        """Takes over SIGTERM, and SIGALRM for the longest time.

        Args:
            longest_s: seconds from now on that the job may run; None: not limited.
        """
        signal.signal(signal.SIGTERM, self._terminated)
        signal.signal(signal.SIGALRM, self._out_of_time)
        if longest_s is not None:
            self._longest_s, self._ends = longest_s, time.monotonic() + longest_s
            signal.alarm(longest_s)

    def __enter__(self) -> Interruption:
        self._deferring = True
        return self

    def __exit__(self, *exception: object) -> None:
        self._deferring = False
        signal.alarm(0)
        if self._longest_s is not None and not self.asked:
            signal.alarm(max(1, math.ceil(self._ends - time.monotonic())))

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        again, self._signalled = self._signalled, True
        if again or not self._deferring:
            self.asked = True
            raise SystemExit(128 + number)
        self._ask()

    def _out_of_time(self, number: int, frame: FrameType | None) -> None:
        if self.asked or self._longest_s is None:  # its grace is over
            raise SystemExit(128 + signal.SIGTERM)
        limit = TimeLimit(self._longest_s)
        os.write(2, f"{limit}: it ends itself.\n".encode())  # print is not safe in a handler
        if not self._deferring:
            self.asked = True
            raise limit
        self._ask()

    def _ask(self) -> None:
        if not self.asked:  # the first to ask starts the grace
            self.asked = True
            signal.alarm(GRACE_S)


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
    except UnicodeDecodeError as error:
        raise SpecError(f"{place}: is no JSON: {error}.") from error
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


def _longest_s(text: str | None) -> int | None:
    """The value of MAX_RUNTIME_VARIABLE."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):
        raise SpecError(f"{MAX_RUNTIME_VARIABLE}: {text[:20]!r} is no number of seconds above 0.")
    return int(text)


def _text(place: str) -> str:
    if not place.startswith("s3://"):
        return Path(place).read_text()
    folder, _, name = place.rpartition("/")
    return Lake.open(folder).get(name).decode()
