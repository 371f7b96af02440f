"""A copy of deploy/ whose scripts run without a container engine: programs named docker and podman stand in for one.

They note each call in a file, and run what a container would be asked for on this machine, with folders of the test's
own in place of the volumes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENGINE = r"""#!/bin/bash
here=HERE
echo "$(basename "$0") $*" >>"$here/calls"
case "${1:-} ${2:-}" in
"compose version") [ -e "$here/compose-plugin" ]; exit ;;
"info "*) [ ! -e "$here/no-daemon" ]; exit ;;
"image inspect") name=${3##*/}; [ -e "$here/images/${name%:*}" ]; exit ;;
"volume inspect") [ -e "$here/volumes/$3" ]; exit ;;
esac
while [ $# -gt 0 ] && [ "$1" != exec ] && [ "$1" != run ]; do shift; done
case "${1:-}" in
exec) shift 3 ;;
run) shift
    while [[ $1 == -* ]]; do
        if [ "$1" = --entrypoint ]; then entry=$2; shift; fi
        shift
    done
    shift
    set -- ${entry:-} "$@" ;;
*) exit 0 ;;
esac
[ ! -e "$here/stopped" ] || exit 1
arguments=()
for argument; do
    for folder in /lake /mlartifacts /var/lib/carsdepo /var/lib/dagster; do
        argument=${argument//$folder/$here/data$folder}
    done
    arguments+=("$argument")
done
case "$*" in
"" | nginx*) exit 0 ;;
*pg_dump*) cat "$here/data/database"; exit ;;
*pg_restore*) cat >"$here/data/restored"; exit ;;
*psql*) echo 0; exit ;;
*pg_isready* | python*) exit 0 ;;
esac
# As an engine's client: what could not be written out is no failure of the command.
"${arguments[@]}" 2>>"$here/errors" | { cat 2>/dev/null || cat >/dev/null; }
exit "${PIPESTATUS[0]}"
"""


class ServerCopy:
    """A copy of deploy/ in a folder, and the programs that its scripts find: this machine's, but no container engine.

    Args:
        folder: where the copy lies, in `a server`: a name with a space.
        engines: the container engines that are there, such as docker and podman-compose.
        plugin: whether docker has its compose plugin.
    """

    def __init__(self, folder: Path, *engines: str, plugin: bool = True) -> None:
        self.folder = folder / "a server"
        self.deploy, self.secrets = self.folder / "deploy", self.folder / "deploy" / "secrets"
        self.engine = folder / "engine"
        programs = folder / "programs"
        shutil.copytree(ROOT / "deploy", self.deploy, ignore=shutil.ignore_patterns("secrets*", "emulators"))
        for made in (programs, self.engine / "volumes", self.engine / "data"):
            made.mkdir(parents=True)
        if plugin:
            (self.engine / "compose-plugin").touch()
        for system in (Path("/usr/local/bin"), Path("/usr/bin"), Path("/bin"), Path("/usr/sbin"), Path("/sbin")):
            for program in system.iterdir() if system.is_dir() else ():
                if not program.name.startswith(("docker", "podman", "buildah", "nvidia")):
                    link = programs / program.name
                    if not link.is_symlink():
                        link.symlink_to(program)
        for name in engines:
            (programs / name).write_text(ENGINE.replace("HERE", f"'{self.engine}'"))
            (programs / name).chmod(0o755)
        self.path = str(programs)

    def do(self, script: str, *arguments: str, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs one of the scripts, in the folder above deploy/."""
        return subprocess.run(
            [str(self.deploy / script), *arguments],
            env={"PATH": self.path, "HOME": os.environ.get("HOME", "/"), **variables},
            cwd=self.folder,
            input=given,
            text=True,
            capture_output=True,
            timeout=60,
        )

    def settings(self) -> dict[str, str]:
        """What server.env says."""
        lines = (self.secrets / "server.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def calls(self) -> list[str]:
        """How the engines were called."""
        file = self.engine / "calls"
        return file.read_text().splitlines() if file.exists() else []
