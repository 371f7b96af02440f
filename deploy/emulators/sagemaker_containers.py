"""The containers behind emulated SageMaker endpoints: model.tar.gz is unpacked into /opt/ml/model, then `serve` runs.

Contract: Amazon SageMaker developer guide, "Use Your Own Inference Code with Hosting Services": port 8080, GET /ping
with 200, POST /invocations, the argument `serve`, the model in /opt/ml/model. As a process of this machine it listens
on a free port of 127.0.0.1 instead.
"""

from __future__ import annotations

import http.client
import io
import json
import shutil
import socket
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from deploy.emulators.sagemaker_runners import Runner, Running

_PING_S = 2.0  # "Use Your Own Inference Code": a container has 2 seconds to answer /ping
_INVOKE_S = 60.0  # InvokeEndpoint: a model has 60 seconds to answer


@dataclass(frozen=True)
class ContainerAnswer:
    """What a container answered to /invocations."""

    status: int
    content_type: str
    body: bytes


class ServingContainer(Protocol):
    """A container that was started for an endpoint."""

    url: str
    """Where this machine reaches it."""

    def ping(self) -> bool:
        """Whether it answers /ping with 200 now."""

    def exited(self) -> bool:
        """Whether it has ended by itself."""

    def invoke(self, body: bytes, content_type: str, accept: str) -> ContainerAnswer:
        """Its answer to /invocations."""

    def stop(self) -> None:
        """Ends it."""

    def output(self) -> str:
        """What it wrote."""


class MultiModelContainer(ServingContainer, Protocol):
    """A container that gets its models later, by the contract of multi-model endpoints."""

    def models(self) -> ContainerAnswer:
        """Its answer to GET /models."""

    def load(self, name: str, archive: bytes, target: str) -> ContainerAnswer:
        """Its answer to POST /models, with the archive unpacked where the request says."""

    def unload(self, name: str) -> ContainerAnswer:
        """Its answer to DELETE /models/NAME."""

    def ask(self, name: str, body: bytes, content_type: str, accept: str, target: str) -> ContainerAnswer:
        """Its answer to POST /models/NAME/invoke."""


class Launcher(Protocol):
    """Starts containers."""

    def launch(self, image: str, archive: bytes, variables: Mapping[str, str]) -> ServingContainer:
        """Starts the image with the model."""

    def launch_several(self, image: str, variables: Mapping[str, str]) -> MultiModelContainer:
        """Starts the image without a model: it gets several later."""


class RunnerLauncher:
    """Starts the service by a runner of jobs: as a process of this machine, or as a container of the host's network."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def launch(self, image: str, archive: bytes, variables: Mapping[str, str]) -> ServingContainer:
        """Starts it; see Launcher."""
        root = Path(tempfile.mkdtemp(prefix="ml-endpoint-"))
        _unpack(archive, root / "model")
        return self._started(image, root, variables)

    def launch_several(self, image: str, variables: Mapping[str, str]) -> MultiModelContainer:
        """Starts it; see Launcher."""
        root = Path(tempfile.mkdtemp(prefix="ml-endpoint-"))
        (root / "models").mkdir()
        return self._started(image, root, variables)

    def _started(self, image: str, root: Path, variables: Mapping[str, str]) -> _HttpContainer:
        (root / "home").mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        given = {**variables, "CARSDEPO_SERVE_PORT": str(port), "CARSDEPO_HOME": "/opt/ml/home"}
        inside = self._runner.inside(root)  # before it starts: what fails afterwards would leave it running
        running = self._runner.start(image, ["serve", "--host", "127.0.0.1"], root, given)
        return _HttpContainer(running, root, port, inside)


def _unpack(archive: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        tar.extractall(folder, filter="data")


class _HttpContainer:
    def __init__(self, running: Running, root: Path, port: int, inside: str) -> None:
        self._running, self._root, self._port, self._inside = running, root, port, inside
        self.url = f"http://127.0.0.1:{port}"

    def ping(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PING_S)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def exited(self) -> bool:
        return self._running.poll() is not None

    def invoke(self, body: bytes, content_type: str, accept: str) -> ContainerAnswer:
        return self._call("POST", "/invocations", body, {"Content-Type": content_type, "Accept": accept})

    def models(self) -> ContainerAnswer:
        return self._call("GET", "/models")

    def load(self, name: str, archive: bytes, target: str) -> ContainerAnswer:
        folder = self._root / "models" / name / "model"
        if not folder.exists():
            _unpack(archive, folder)
        body = {"model_name": name, "url": f"{self._inside}/models/{name}/model"}
        return self._call("POST", "/models", json.dumps(body).encode(), _named(target, "application/json"))

    def unload(self, name: str) -> ContainerAnswer:
        return self._call("DELETE", f"/models/{name}")

    def ask(self, name: str, body: bytes, content_type: str, accept: str, target: str) -> ContainerAnswer:
        return self._call("POST", f"/models/{name}/invoke", body, {**_named(target, content_type), "Accept": accept})

    def _call(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> ContainerAnswer:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_INVOKE_S)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return ContainerAnswer(answer.status, answer.getheader("Content-Type", ""), answer.read())
        finally:
            connection.close()

    def stop(self) -> None:
        if self._running.poll() is None:
            self._running.terminate()
            ends = time.monotonic() + 15
            while self._running.poll() is None and time.monotonic() < ends:
                time.sleep(0.02)
            if self._running.poll() is None:
                self._running.kill()
        shutil.rmtree(self._root, ignore_errors=True)

    def output(self) -> str:
        return self._running.output()


def _named(target: str, content_type: str) -> dict[str, str]:
    return {"Content-Type": content_type, "X-Amzn-SageMaker-Target-Model": target}


class EmulatedEndpoint:
    """One endpoint; `config` is the name of the configuration that serves."""

    def __init__(self, name: str, config: str, container: ServingContainer, at: datetime) -> None:
        self.name, self.config, self.status = name, config, "Creating"
        self.container: ServingContainer = container
        self.next: tuple[str, ServingContainer, dict[str, Any]] | None = None
        """Configuration, container and deployment of an update under way."""
        self.reason: str | None = None
        self.created = self.modified = at
        self.deployment: dict[str, Any] | None = None
        """Of the last update."""
