"""`dagster dev` and both services, each started again when it ends, as a supervisor does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from carsdepo_assets.commands.code_servers import restart_dead_code_servers
from carsdepo_assets.commands.services import STAGES, command, end_all
from carsdepo_assets.settings import Settings

ROOT = Path(__file__).parents[2]
LOOK_S = 1.0
CODE_SERVERS_S = 5.0
PAUSE_S = 2.0  # between an end and the next start


class Platform:
    """The running platform, as a context manager; `restarts` counts the restarts by name."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.restarts: Counter[str] = Counter()
        tools = Path(sys.executable).parent
        dagster = [str(tools / "dagster"), "dev", "--log-level", "warning", "-h", "127.0.0.1"]
        self._commands = {"dagster dev": [*dagster, "-p", str(settings.dagster_port)]}
        self._commands |= {stage: command(stage) for stage in STAGES}
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)

    def __enter__(self) -> Platform:
        (self.settings.home / "logs").mkdir(parents=True, exist_ok=True)
        for name in self._commands:
            self._start(name)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        end_all(list(self._servers.values()), signal.SIGINT, 20.0)

    def _start(self, name: str) -> None:
        with (self.settings.home / "logs" / f"{name.replace(' ', '-')}.log").open("ab", buffering=0) as out:
            self._servers[name] = subprocess.Popen(
                self._commands[name],
                cwd=ROOT,
                env={**os.environ, **self.settings.variables()},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _supervise(self) -> None:
        looked = time.monotonic()
        while not self._stop.wait(LOOK_S):
            now = time.monotonic()
            for name, server in self._servers.items():
                if server.poll() is not None and now - self._ended.setdefault(name, now) >= PAUSE_S:
                    del self._ended[name]
                    self.restarts[name] += 1
                    self._start(name)
            if now - looked >= CODE_SERVERS_S:
                looked = now
                self.restarts["code server"] += len(restart_dead_code_servers(self._servers["dagster dev"].pid))
