"""ECS that runs images as containers: ministack with podman, in an environment of its own.

ministack keeps ECS's calls and starts containers through DOCKER_HOST. What it does otherwise than AWS is put right by a
proxy before it: its StopTask removes the container at once and reports exit code 0, where AWS sends SIGTERM, waits for
stopTimeout and reports the container's own exit code (page "StopTask" of the Amazon ECS API Reference). It takes no
entryPoint from a task definition, only the image's own, and no clientToken. It has no spot
interruptions, missing capacity or throttling: those tests use ecs_on_moto.py.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import venv
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from deploy.emulators.ecs_on_moto import EcsOnMoto
from deploy.emulators.podman import Podman, missing_tools

LOCK = Path(__file__).with_name("requirements.lock")
ENTRYPOINT = Path(__file__).parents[1] / "images" / "entrypoint.py"
TASK_LABEL = "com.amazonaws.ecs.task-arn"  # ministack gives it to the containers of a task
STOP_TIMEOUT_S = 30
_TARGET = "AmazonEC2ContainerServiceV20141113."


def environment(folder: Path) -> Path:
    """The Python of ministack's own environment below a folder; it is made where it is missing."""
    python, complete = folder / "venv" / "bin" / "python", folder / "venv" / "complete"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if not complete.exists() or complete.read_text() != wanted:
        venv.create(folder / "venv", with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(LOCK)]
        subprocess.run(pip, check=True)
        complete.write_text(wanted)
    return python


class EcsOnMinistack:
    """An ECS and S3 endpoint; used as a context manager.

    Args:
        folder: for ministack's environment, data and log.
        podman: which runs the containers; its images are the ones that tasks can have.
    """

    def __init__(self, folder: Path, podman: Podman) -> None:
        self._folder, self._podman = folder, podman
        self._stopping: dict[str, str] = {}
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._proxy.server_port}"

    def __enter__(self) -> EcsOnMinistack:
        python = environment(self._folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._log = (self._folder / "ministack.log").open("wb")
        self._ministack = subprocess.Popen(
            [str(python), "-m", "ministack"],
            env={
                **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
                "BIND_HOST": "127.0.0.1",
                "GATEWAY_PORT": str(self._port),
                "DOCKER_HOST": self._podman.address,
                "MINISTACK_DOCKER_TIMEOUT": "120",
                "S3_DATA_DIR": str(self._folder / "s3"),
                "TMPDIR": str(self._folder),
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._wait()
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()
        self._ministack.terminate()
        try:
            self._ministack.wait(20)
        except subprocess.TimeoutExpired:
            self._ministack.kill()
            self._ministack.wait()
        self._log.close()

    def _wait(self) -> None:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/_ministack/health", timeout=2)
                return
            except urllib.error.HTTPError:
                return  # it answers
            except OSError:
                if self._ministack.poll() is not None:
                    break
                time.sleep(0.1)
        log = (self._folder / "ministack.log").read_text(errors="replace")
        raise RuntimeError(f"ministack did not come up:\n{log[-2000:]}")

    def _stop(self, arn: str, reason: str) -> None:
        """SIGTERM to the task's containers, and SIGKILL after the stop timeout; ministack then sees them end."""
        self._stopping[arn] = reason
        ids = self._podman.run("ps", "--quiet", "--filter", f"label={TASK_LABEL}={arn}").split()
        if ids:
            threading.Thread(
                target=self._podman.run, args=("stop", "--time", str(STOP_TIMEOUT_S), *ids), daemon=True
            ).start()

    def _corrected(self, operation: str, answer: bytes) -> bytes:
        if operation != "DescribeTasks":
            return answer
        content: dict[str, Any] = json.loads(answer)
        for task in content.get("tasks", []):
            if task["lastStatus"] == "STOPPED" and task["taskArn"] in self._stopping:
                task["stopCode"], task["stoppedReason"] = "UserInitiated", self._stopping[task["taskArn"]]
        return json.dumps(content).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        emulator = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                operation = self.headers.get("X-Amz-Target", "").removeprefix(_TARGET)
                if operation == "StopTask":
                    request = json.loads(body)
                    emulator._stop(request["task"], request.get("reason", "Task stopped by user"))
                    described = {"cluster": request.get("cluster", "default"), "tasks": [request["task"]]}
                    body = json.dumps(described).encode()
                    self.headers.replace_header("X-Amz-Target", f"{_TARGET}DescribeTasks")
                upstream = http.client.HTTPConnection("127.0.0.1", emulator._port, timeout=120)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("content-length", "host")}
                upstream.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
                answer = upstream.getresponse()
                content = answer.read()
                if operation == "StopTask" and answer.status == 200:
                    content = json.dumps({"task": json.loads(content)["tasks"][0]}).encode()
                elif answer.status == 200:
                    content = emulator._corrected(operation, content)
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)
                upstream.close()

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on

            def log_message(self, format: str, *arguments: Any) -> None:
                """Nothing: ministack has a log of its own."""

        return Handler


def main(folder: Path, image: str = "carsdepo-worker:latest") -> None:
    """Runs an ECS until Ctrl-C, with containers where this machine has an engine for them, and prints which.

    Args:
        folder: for the emulator's environment, images and logs; created if missing.
        image: which task definitions may name where tasks are processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lacking = missing_tools()
    with ExitStack() as running:
        if lacking:
            print(f"Without {', '.join(lacking)}, tasks run the image's entrypoint as processes of this machine.")
            url = running.enter_context(EcsOnMoto(folder, {image: [sys.executable, str(ENTRYPOINT)]})).url
        else:
            print("Tasks run as containers of podman.")
            url = running.enter_context(EcsOnMinistack(folder, running.enter_context(Podman(folder)))).url
        print(f"AWS_ENDPOINT_URL={url}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("Ended.")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
