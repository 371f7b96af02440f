"""podman on this machine's usual store of images, for a client of Docker; it leaves neither containers nor a mount.

The store is the one in which buildah builds, so that no image is copied.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

TOOLS = ("podman", "buildah", "runc")
_SETTINGS = Path(__file__).resolve().parents[1] / "images" / "nested-containers.conf"
_OVERLAY = Path("/var/lib/containers/storage/overlay")
_START_S = 60.0


def lacking_tools() -> list[str]:
    """The tools that this machine lacks, or `root` where the process is not root."""
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    return lacking + (["root"] if os.geteuid() != 0 else [])


class Engine:
    """podman's API service; used as a context manager, within which DOCKER_HOST names it.

    Args:
        folder: for its log.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "podman.log"
        self._environment = {**os.environ, "CONTAINERS_CONF": str(_SETTINGS)}

    def __enter__(self) -> Engine:
        self._was_mounted = _is_mounted()
        self._place = Path(tempfile.mkdtemp(prefix="demo-aws-"))  # the path of a socket is short
        socket = self._place / "docker.sock"
        with self._log.open("wb") as log:
            self._service = subprocess.Popen(
                ["podman", "system", "service", "--time", "0", f"unix://{socket}"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C ends the demo, which ends its containers by it
            )
        limit = time.monotonic() + _START_S
        while not socket.exists():
            if self._service.poll() is not None or time.monotonic() > limit:
                self._end()
                raise RuntimeError(f"podman's service did not come up: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)
        self._before = os.environ.get("DOCKER_HOST")
        os.environ["DOCKER_HOST"] = f"unix://{socket}"
        return self

    def __exit__(self, *exception: object) -> None:
        os.environ.pop("DOCKER_HOST", None)
        if self._before is not None:
            os.environ["DOCKER_HOST"] = self._before
        self._end()

    def _end(self) -> None:
        self._service.terminate()
        try:
            self._service.wait(20)
        except subprocess.TimeoutExpired:
            self._service.kill()
            self._service.wait()
        shutil.rmtree(self._place, ignore_errors=True)
        if not self._was_mounted and _is_mounted():  # the overlay driver leaves its folder mounted on itself
            subprocess.run(["umount", "--lazy", str(_OVERLAY)], check=False)

    def has(self, image: str) -> bool:
        """Whether there is an image of this name."""
        return self._run("image", "exists", image).returncode == 0

    def remove(self, label: str) -> None:
        """Removes the containers with a label (NAME=VALUE), whether they run or not, with their volumes."""
        ids = self._run("ps", "--all", "--quiet", "--filter", f"label={label}").stdout.split()
        if ids:
            self._run("rm", "--force", "--volumes", "--time", "0", *ids)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["podman", *arguments], env=self._environment, capture_output=True, text=True, check=False
        )


def _is_mounted() -> bool:
    return any(line.split()[1] == str(_OVERLAY) for line in Path("/proc/mounts").read_text().splitlines())
