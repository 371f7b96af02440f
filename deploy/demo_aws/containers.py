"""What runs the jobs and the endpoints of the demo: containers where this machine has the tools, else processes."""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.demo_aws.leftovers import MARK
from deploy.emulators.podman import Podman, missing_tools
from deploy.emulators.sagemaker_runners import REPOSITORY, ContainerRunner, ProcessRunner, Runner, Running

SERVICE = "localhost/carsdepo-service:test"  # as deploy/images/test_images.py builds it
LABEL = "carsdepo.demo"  # with the demo's folder, by which those are known that a demo which was killed has left
_PACKAGES, _SOURCE = "/packages", "/repository"
# All of them share this machine's cores, where OpenMP's threads must not spin while they wait; see settings.variables.
_SHARED = {"GOMP_SPINCOUNT": "5000"}


@dataclass(frozen=True)
class Started:
    """A container, or the process that stands for it."""

    image: str
    command: tuple[str, ...]
    running: Running


class NotingRunner:
    """Starts what other runners start, and notes it.

    Args:
        service: of endpoints.
        worker: of jobs.
        words: how both run, a sentence for people each.
        are_containers: whether both run in containers.
    """

    def __init__(self, service: Runner, worker: Runner, words: Sequence[str], *, are_containers: bool) -> None:
        self._service, self._worker = service, worker
        self.sentences, self.words, self.are_containers = tuple(words), " ".join(words), are_containers
        self._started: list[Started] = []
        self._lock = threading.Lock()

    def start(self, image: str, command: Sequence[str], root: Path, variables: Mapping[str, str]) -> Running:
        """Starts it; see Runner."""
        runner = self._service if "/carsdepo-service:" in image else self._worker
        running = runner.start(image, command, root, variables)
        with self._lock:
            self._started.append(Started(image, tuple(command), running))
        return running

    def inside(self, root: Path) -> str:
        """See Runner; of endpoints, whose containers alone are asked for it."""
        return self._service.inside(root)

    def started(self, verb: str) -> list[Started]:
        """What was started with a verb of the images, such as `train`, oldest first."""
        with self._lock:
            return [one for one in self._started if one.command[:1] == (verb,)]

    def end(self) -> None:
        """Kills what still runs."""
        with self._lock:
            left = [one.running for one in self._started if one.running.poll() is None]
        for running in left:
            running.kill()


class Pulled:
    """Runs an image of this machine in place of the one in ECR that a job or a model names.

    Args:
        runner: of containers, or of the processes that stand for them.
        image: of this machine.
        variables: that containers get besides.
    """

    def __init__(self, runner: Runner, image: str, variables: Mapping[str, str]) -> None:
        self._runner, self._image, self._variables = runner, image, dict(variables)
        self.words = f"{image}: {runner.words}"

    def inside(self, root: Path) -> str:
        """See Runner."""
        return self._runner.inside(root)

    def start(self, image: str, command: Sequence[str], root: Path, variables: Mapping[str, str]) -> Running:
        """Starts it; see Runner."""
        return self._runner.start(self._image, command, root, {**variables, **self._variables})


@contextmanager
def demo_runner(folder: Path, *, as_processes: bool = False) -> Iterator[NotingRunner]:
    """What runs jobs and endpoints; it ends with all that it started.

    SERVICE_IMAGE names the service's image, WORKER_IMAGE the worker's. Without the latter jobs run in the service's
    image, with this environment's packages and this checkout mounted.

    Args:
        folder: for the engine's log.
        as_processes: whether no containers are wanted.
    """
    own = {MARK: str(folder)}
    if as_processes:
        with _processes("Containers are not wanted.", own) as runner:
            yield runner
        return
    lacking = missing_tools() + ([] if sys.version_info[:2] == (3, 11) else ["Python 3.11"])
    if lacking:
        with _processes(f"This machine lacks {', '.join(lacking)}.", own) as runner:
            yield runner
        return
    with Podman(folder, own_store=False) as engine:
        service = os.environ.get("SERVICE_IMAGE") or SERVICE
        if not engine.has(service):
            why = f"There is no image {service} (IMAGES=service make images builds one; SERVICE_IMAGE names another)."
            with _processes(why, own) as runner:
                yield runner
            return
        mark = {LABEL: str(folder)}
        engine.remove(f"{LABEL}={folder}")
        runner = _containers(engine, service, mark)
        try:
            yield runner
        finally:
            engine.remove(f"{LABEL}={folder}")


def _containers(engine: Podman, service: str, mark: Mapping[str, str]) -> NotingRunner:
    own = Pulled(ContainerRunner(labels=mark, address=engine.address), service, _SHARED)
    sentences = [f"Endpoints run in containers of podman, image {service}."]
    worker = os.environ.get("WORKER_IMAGE")
    if worker:
        jobs = Pulled(ContainerRunner(labels=mark, address=engine.address), worker, _SHARED)
        sentences.append(f"Jobs run in containers of podman, image {worker}.")
    else:
        mounts = {_SOURCE: str(REPOSITORY), _PACKAGES: str(Path(sysconfig.get_path("purelib")).resolve())}
        variables = {**_SHARED, "PYTHONPATH": f"{_SOURCE}:{_PACKAGES}"}
        jobs = Pulled(ContainerRunner(mounts=mounts, labels=mark, address=engine.address), service, variables)
        sentences.append(
            "Jobs run in containers of podman, the same image with this environment's packages and this checkout "
            "mounted, since WORKER_IMAGE names no image of the worker."
        )
    return NotingRunner(own, jobs, sentences, are_containers=True)


@contextmanager
def _processes(why: str, mark: Mapping[str, str]) -> Iterator[NotingRunner]:
    text = "Jobs and endpoints run as processes of this machine with /opt/ml re-rooted; no image is used."
    processes = Pulled(ProcessRunner(), "", {**_SHARED, **mark})
    runner = NotingRunner(processes, processes, [why, text], are_containers=False)
    try:
        yield runner
    finally:
        runner.end()
