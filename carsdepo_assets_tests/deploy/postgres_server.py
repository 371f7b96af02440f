"""Debian's PostgreSQL in a folder of the test's own, which the test stops, kills and starts again."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carsdepo_assets_tests.end_to_end.dagster_server import free_port

PASSWORD = "p%40s@word/1"


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl of the newest release that is installed; None: there is none."""
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), default=None)


class PostgresServer:
    """One cluster, with the databases' owner `dagster`. It runs as the user postgres where the test is root."""

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        self.folder, self.port, self._bin = folder, free_port(), bin_folder
        self._as_owner = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []

    def _run(self, program: str, *arguments: str, given: str | None = None) -> None:
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        ended = subprocess.run(
            [*self._as_owner, str(self._bin / program), *arguments],
            env=environment,
            input=given,
            text=True,
            cwd="/",
            stdout=subprocess.DEVNULL,  # a server that is started keeps pipes open
            stderr=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
        )
        assert ended.returncode == 0, (program, arguments, ended.stderr, self.log())

    def make(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if self._as_owner:
            owner = pwd.getpwnam("postgres")
            for path in (self.folder, password):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        data = str(self.folder / "data")
        self._run("initdb", "-D", data, "-U", "dagster", "-A", "scram-sha-256", f"--pwfile={password}", "--no-sync")
        self.start()
        sql = "CREATE DATABASE dagster;"
        self._run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "dagster", "postgres", given=sql)

    def start(self) -> None:
        options = (
            f"-c port={self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        )
        self._run(
            "pg_ctl", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-w", "-o", options, "start"
        )

    def stop(self, mode: str = "immediate") -> None:
        """mode: "immediate" drops everything as a crash does, "fast" ends the connections."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", mode, "stop")

    def log(self) -> str:
        log = self.folder / "log"
        return log.read_text()[-3000:] if log.exists() else ""


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A running server; ended and removed afterwards."""
    bin_folder = binaries()
    assert bin_folder is not None
    # Not pytest's folder, which the user postgres may not enter.
    folder = Path(tempfile.mkdtemp(prefix="carsdepo-postgres-"))
    folder.chmod(0o755)
    server = PostgresServer(folder, bin_folder)
    try:
        server.make()
        yield server
    finally:
        if (folder / "data" / "postmaster.pid").exists():
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
