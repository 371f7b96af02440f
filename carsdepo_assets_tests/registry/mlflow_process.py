"""An MLflow server as a process, for tests of what talks to one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from carsdepo_assets.commands.services import end


@contextmanager
def mlflow_server(home: Path) -> Iterator[str]:
    """The URL of an MLflow server, to which workers elsewhere log; home: its folder, which is made."""
    home.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    arguments = ["--workers", "1", "--host", "127.0.0.1", "--port", port, "--artifacts-destination", str(home)]
    variables = {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{home / 'mlflow.db'}", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [str(Path(sys.executable).with_name("mlflow")), "server", *arguments],
            env={**os.environ, **variables}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with suppress(httpx.HTTPError):
                if httpx.get(f"{url}/health").status_code == 200:
                    break
            time.sleep(0.2)
        else:
            raise TimeoutError((home / "log").read_text())
        yield url
    finally:
        end(server)
