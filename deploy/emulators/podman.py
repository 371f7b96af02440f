"""A container engine for emulators: podman's API service with a store of its own, for clients of Docker."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

TOOLS = ("podman", "buildah", "runc")
_SETTINGS = Path(__file__).with_name("containers.conf")


def missing_tools() -> list[str]:
    """The tools that this machine lacks, or `root` where the process is not root."""
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    return lacking + (["root"] if os.geteuid() != 0 else [])


class Podman:
    """podman and buildah with one store; used as a context manager while the API service runs.

    Args:
        folder: for images, containers and the socket; its path is shorter than 90 characters, as sockets need.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.socket = folder / "docker.sock"
        self._store = ["--root", str(folder / "store"), "--runroot", str(folder / "run"), "--storage-driver", "overlay"]
        self._environment = {**os.environ, "CONTAINERS_CONF": str(_SETTINGS)}

    def __enter__(self) -> Podman:
        self._service = subprocess.Popen(
            ["podman", *self._store, "system", "service", "--time", "0", f"unix://{self.socket}"],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            if self.socket.exists():
                return self
            time.sleep(0.1)
        self._service.kill()
        raise RuntimeError("podman's API service did not come up within 20 s.")

    def __exit__(self, *exception: object) -> None:
        self.run("rm", "--all", "--force", "--time", "0")
        self._service.terminate()
        self._service.wait(20)
        # The overlay driver leaves its folder mounted on itself, so that nobody could remove it.
        subprocess.run(["umount", "--lazy", str(self._folder / "store" / "overlay")], check=False)

    @property
    def address(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self.socket}"

    def build(self, folder: Path, tag: str) -> None:
        """Builds the Dockerfile of a folder."""
        command = ["buildah", *self._store, "bud", "-q", "--isolation", "chroot", "-t", tag, str(folder)]
        subprocess.run(command, check=True, env=self._environment, stdout=subprocess.DEVNULL)

    def run(self, *arguments: str) -> str:
        """Runs podman; returns what it writes."""
        command = ["podman", *self._store, *arguments]
        return subprocess.run(command, check=True, env=self._environment, capture_output=True, text=True).stdout
