"""What runs the container of an emulated SageMaker job: a container engine, or a process with /opt/ml re-rooted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from deploy.images.entrypoint import ML_ROOT_VARIABLE

OPT_ML = "/opt/ml"
ENTRYPOINT = Path(__file__).resolve().parents[1] / "images" / "entrypoint.py"
REPOSITORY = Path(__file__).resolve().parents[2]
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "OMP_NUM_THREADS", "YOLO_CONFIG_DIR")


class ImageMissing(Exception):
    """The image cannot be pulled."""


class Running(Protocol):
    """A container that was started."""

    def poll(self) -> int | None:
        """Its exit code, 137 after SIGKILL; None: it runs."""

    def terminate(self) -> None:
        """Sends SIGTERM."""

    def strike(self) -> None:
        """Sends SIGKILL, as the kernel does to what takes too much memory; `poll` tells of the end."""

    def kill(self) -> None:
        """Ends it and its children."""

    def output(self) -> str:
        """What it wrote."""


class Runner(Protocol):
    """Starts containers."""

    words: str
    """How it runs them, for people."""

    def start(self, image: str, command: Sequence[str], root: Path, variables: Mapping[str, str]) -> Running:
        """Starts `command` with `root` as /opt/ml.

        Raises:
            ImageMissing: there is no such image.
        """

    def inside(self, root: Path) -> str:
        """The path of `root` for what runs in the container."""


class ProcessRunner:
    """Runs the image's entrypoint as a process of this Python, whatever the image; `missing` images do not exist.

    Values of variables that begin with /opt/ml begin with the folder that stands for it instead.
    """

    words = "the worker as a process of this machine, with /opt/ml re-rooted; the image itself is not used"

    def __init__(self, missing: Sequence[str] = (), python: str = sys.executable) -> None:
        self.missing = set(missing)
        self._python = python

    def start(self, image: str, command: Sequence[str], root: Path, variables: Mapping[str, str]) -> Running:
        """Starts it; see Runner."""
        if image in self.missing:
            raise ImageMissing(image)
        env = {name: os.environ[name] for name in _KEPT if name in os.environ}
        env |= {k: str(root) + v.removeprefix(OPT_ML) if v.startswith(OPT_ML) else v for k, v in variables.items()}
        env |= {ML_ROOT_VARIABLE: str(root), "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
        arguments = [self._python, str(ENTRYPOINT), *command]
        log = root / "container.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                arguments, env=env, cwd=root, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        return _Process(process, log)

    def inside(self, root: Path) -> str:
        """See Runner."""
        return str(root)


class _Process:
    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log

    def poll(self) -> int | None:
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def terminate(self) -> None:
        self._process.terminate()

    def strike(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def kill(self) -> None:
        self.strike()
        self._process.wait()

    def output(self) -> str:
        return self._log.read_text(errors="replace")


class ContainerRunner:
    """Runs images by Docker, or by podman's service.

    Args:
        network: the engine's name of it.
        mounts: folders of this machine by the path that they have in containers, read-only.
        labels: of the containers.
        address: of the engine, as DOCKER_HOST has it; None: the one that DOCKER_HOST names.
    """

    def __init__(
        self,
        network: str = "host",
        mounts: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        address: str | None = None,
    ) -> None:
        import docker  # type: ignore[import-untyped]

        make = docker.from_env if address is None else partial(docker.DockerClient, base_url=address)
        self._client = make(timeout=120)
        self._network, self._labels = network, dict(labels or {})
        self._mounts = {folder: {"bind": path, "mode": "ro"} for path, folder in (mounts or {}).items()}
        engine = address or os.environ.get("DOCKER_HOST", "the local Docker daemon")
        self.words = f"images in containers of {engine}"
        if mounts:
            self.words += f", with {', '.join(mounts)} mounted"

    def start(self, image: str, command: Sequence[str], root: Path, variables: Mapping[str, str]) -> Running:
        """Starts it; see Runner."""
        from docker import errors

        for folder in (root, *root.rglob("*")):  # the image's user is not this process's
            folder.chmod(0o777)
        try:
            container = self._client.containers.run(
                image, list(command), detach=True, network_mode=self._network, environment=dict(variables),
                labels=self._labels,
                volumes={str(root): {"bind": OPT_ML, "mode": "rw"}, **self._mounts},
            )  # fmt: skip
        except (errors.ImageNotFound, errors.APIError) as error:
            raise ImageMissing(f"{image}: {error}") from error
        return _Container(container)

    def inside(self, root: Path) -> str:
        """See Runner."""
        return OPT_ML


class _Container:
    def __init__(self, container: Any) -> None:
        self._container = container
        self._output: str | None = None
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            self._container.reload()
            if self._container.status in ("exited", "dead"):
                self._code = int(self._container.wait()["StatusCode"])
                self._output = self._container.logs().decode(errors="replace")
                self._container.remove(force=True, v=True)
        return self._code

    def terminate(self) -> None:
        self._container.kill(signal="SIGTERM")

    def strike(self) -> None:
        self._container.kill(signal="SIGKILL")

    def kill(self) -> None:
        if self._code is None:
            self.strike()
            while self.poll() is None:
                pass

    def output(self) -> str:
        return self._output if self._output is not None else self._container.logs().decode(errors="replace")
