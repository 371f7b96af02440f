"""podman for emulators: its API service, for clients of Docker, which leaves no containers and no mount behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

TOOLS = ("podman", "buildah", "runc")
_SETTINGS = Path(__file__).resolve().parents[1] / "images" / "nested-containers.conf"
_START_S = 60.0


def missing_tools() -> list[str]:
    """The tools that this machine lacks, or `root` where the process is not root."""
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    return lacking + (["root"] if os.geteuid() != 0 else [])


class Podman:
    """podman and buildah with one store; used as a context manager while the API service runs.

    Args:
        folder: for the service's log and, where it has a store of its own, for images and containers.
        own_store: None of this machine's images are there, and all containers are removed at the end. Else the store is
            the one in which buildah builds, CONTAINERS_STORAGE_CONF's or the usual one, so that no image is copied; who
            starts containers in it removes them.
    """

    def __init__(self, folder: Path, *, own_store: bool = True) -> None:
        self._folder, self._own_store = folder, own_store
        own = ["--root", str(folder / "store"), "--runroot", str(folder / "run"), "--storage-driver", "overlay"]
        self._store = own if own_store else []
        self._environment = {**os.environ, "CONTAINERS_CONF": str(_SETTINGS)}

    def __enter__(self) -> Podman:
        mounted = _mounted()  # before podman is first called
        store = self._folder / "store"
        graph = store if self._own_store else Path(self.run("info", "--format", "{{.Store.GraphRoot}}"))
        self._overlay = str(graph / "overlay")
        self._was_mounted = self._overlay in mounted
        self._place = Path(tempfile.mkdtemp(prefix="podman-"))
        self.socket = self._place / "docker.sock"  # the path of a socket is short
        log = self._folder / "podman.log"
        with log.open("wb") as file:
            self._service = subprocess.Popen(
                ["podman", *self._store, "system", "service", "--time", "0", f"unix://{self.socket}"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C ends the emulator, which ends its containers by it
            )
        limit = time.monotonic() + _START_S
        while not self.socket.exists():
            if self._service.poll() is not None or time.monotonic() > limit:
                self._end()
                raise RuntimeError(f"podman's API service did not come up: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._own_store:
            self.run("rm", "--all", "--force", "--time", "0")
        self._end()

    def _end(self) -> None:
        self._service.terminate()
        try:
            self._service.wait(20)
        except subprocess.TimeoutExpired:
            self._service.kill()
            self._service.wait()
        shutil.rmtree(self._place, ignore_errors=True)
        # The overlay driver leaves its folder mounted on itself, so that nobody could remove it.
        if not self._was_mounted and self._overlay in _mounted():
            subprocess.run(["umount", "--lazy", self._overlay], check=False)

    @property
    def address(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self.socket}"

    def build(self, folder: Path, tag: str) -> None:
        """Builds the Dockerfile of a folder."""
        command = ["buildah", *self._store, "bud", "-q", "--isolation", "chroot", "-t", tag, str(folder)]
        subprocess.run(command, check=True, env=self._environment, stdout=subprocess.DEVNULL)

    def has(self, image: str) -> bool:
        """Whether there is an image of this name."""
        command = ["podman", *self._store, "image", "exists", image]
        return subprocess.run(command, env=self._environment, capture_output=True, check=False).returncode == 0

    def remove(self, label: str) -> None:
        """Removes the containers with a label (NAME=VALUE), whether they run or not, with their volumes."""
        ids = self.run("ps", "--all", "--quiet", "--filter", f"label={label}").split()
        if ids:
            self.run("rm", "--force", "--volumes", "--time", "0", *ids)

    def run(self, *arguments: str) -> str:
        """Runs podman; returns what it writes, without the last line's end.

        Raises:
            RuntimeError: It failed; the message has what it said.
        """
        command = ["podman", *self._store, *arguments]
        done = subprocess.run(command, check=False, env=self._environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"podman {' '.join(arguments)}: {done.stderr[-2000:]}")
        return done.stdout.rstrip("\n")


def _mounted() -> set[str]:
    return {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()}
