"""One image of Debian's packages that stands in for all of a team's server, where no registry can be reached."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("podman", "buildah", "runc", "mmdebstrap", "iptables")  # Debian's packages of these names, and netavark
PACKAGES = "python3,ca-certificates,postgresql,nginx-light,openssl,curl,tini,libgl1,libglib2.0-0,libgomp1"
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=2000:2000"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
helper_binaries_dir = ["/usr/lib/podman", "/usr/libexec/podman", "{helpers}"]
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""


def stand_ins(folder: Path, step: Callable[[str], None]) -> dict[str, str]:
    """Builds the image that stands in for all of them, where it is not there yet; the variables that name it."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        sys.exit(f"test_server needs {', '.join(missing)}: install Debian's packages of these names, as root.")
    engine = folder / "bin"
    engine.mkdir(exist_ok=True)
    storage = ["--root", f"{folder}/storage", "--runroot", f"{folder}/run", "--storage-driver", "overlay"]
    helpers = os.environ.get("PODMAN_HELPERS", "/usr/lib/podman")
    (folder / "containers.conf").write_text(CONTAINERS_CONF.format(folder=folder, helpers=helpers))
    real = f"exec {shutil.which('podman')} {' '.join(storage)}"
    (engine / "podman").write_text(f'#!/bin/sh\nexport CONTAINERS_CONF={folder}/containers.conf\n{real} "$@"\n')
    (engine / "podman").chmod(0o755)
    image = "localhost/carsdepo-stand-in"
    if subprocess.run([str(engine / "podman"), "image", "exists", image]).returncode:
        step("Building the image that stands in for all (mmdebstrap, about 2 minutes)")
        context = folder / "context"
        context.mkdir(exist_ok=True)
        shutil.copy(ROOT / "deploy/testing/Dockerfile", context)
        if not (context / "rootfs.tar").exists():
            bootstrap = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm"]
            subprocess.run([*bootstrap, str(context / "part.tar")], check=True)
            (context / "part.tar").rename(context / "rootfs.tar")
        build = ["buildah", *storage, "bud", "--isolation", "chroot", "--quiet", "--tag", image, str(context)]
        subprocess.run(build, check=True)
        for name in ("orchestrator", "worker", "worker-cpu", "service"):
            subprocess.run(["buildah", *storage, "tag", image, f"localhost/carsdepo-{name}:latest"], check=True)
    compose = shutil.which("podman-compose") or str(Path(sys.executable).with_name("podman-compose"))
    return {
        "PATH": f"{engine}:{os.environ['PATH']}",
        "COMPOSE": compose,
        "COMPOSE_OVERRIDE": str(ROOT / "deploy/testing/override.yaml"),
        "POSTGRES_IMAGE": image,
        "NGINX_IMAGE": image,
        "TEST_SITE_PACKAGES": sysconfig.get_path("purelib"),
        "TEST_SOURCE": str(ROOT),
    }
