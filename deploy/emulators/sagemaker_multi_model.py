"""What SageMaker does for a multi-model endpoint: it downloads, loads and unloads models, and asks the one named.

After the developer guide, "Multi-model endpoints" and "Custom Containers Contract for Multi-Model Endpoints": a model
is downloaded and loaded when it is first asked for; where the container answers a load with 507, the models that were
not used for the longest time are unloaded; what was downloaded stays on the instance, whatever becomes of it in S3.
There is one instance. What AWS answers where a load fails otherwise is written nowhere: here the container's answer.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from deploy.emulators.sagemaker_containers import ContainerAnswer, MultiModelContainer


class NoModelData(Exception):
    """A caller named no model, or a path at which there is no archive."""


class LoadedVersions:
    """A container of a multi-model endpoint with the models that it has by now; a ServingContainer.

    Args:
        container: as it was started, without a model.
        download: the bytes of the archive at a path below the endpoint's prefix; NoModelData where there is none.
    """

    def __init__(self, container: MultiModelContainer, download: Callable[[str], bytes]) -> None:
        self._container, self._download = container, download
        self._archives: dict[str, bytes] = {}  # on the instance's disk
        self.in_memory: OrderedDict[str, str] = OrderedDict()
        """SageMaker's names by the paths that callers give, the one that was used last at the end."""
        self.unloads = 0
        """How many models were unloaded to make room."""

    @property
    def url(self) -> str:
        """See ServingContainer."""
        return self._container.url

    def ping(self) -> bool:
        """Whether it answers /ping and lists its models, which SageMaker asks before it is in service."""
        return self._container.ping() and self._container.models().status == 200

    def exited(self) -> bool:
        """See ServingContainer."""
        return self._container.exited()

    def invoke(self, body: bytes, content_type: str, accept: str) -> ContainerAnswer:
        """SageMaker hands on no request that names no model."""
        raise NoModelData("A multi-model endpoint needs the target model header.")

    def stop(self) -> None:
        """See ServingContainer."""
        self._container.stop()

    def output(self) -> str:
        """See ServingContainer."""
        return self._container.output()

    def ask(self, target: str, body: bytes, content_type: str, accept: str) -> ContainerAnswer:
        """The answer of the model that is named, which is loaded first where it is not."""
        if target not in self.in_memory:
            refused = self._load(target)
            if refused is not None:
                return refused
        self.in_memory.move_to_end(target)
        return self._container.ask(self.in_memory[target], body, content_type, accept, target)

    def _load(self, target: str) -> ContainerAnswer | None:
        name = hashlib.sha256(target.encode()).hexdigest()[:32]
        if target not in self._archives:
            self._archives[target] = self._download(target)
        while True:
            answer = self._container.load(name, self._archives[target], target)
            if answer.status in (200, 409):
                self.in_memory[target] = name
                return None
            if answer.status != 507 or not self.in_memory:
                return answer
            _, unused = self.in_memory.popitem(last=False)
            self._container.unload(unused)
            self.unloads += 1
