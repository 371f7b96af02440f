"""A lake on an emulated AWS whose endpoints are answered by pretended containers; any call can be the last."""

from __future__ import annotations

import io
import json
import tarfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from carsdepo_assets.lake.data_capture import HEALTH_QUESTION
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.signatures import SigningKeys, ensure_keys
from carsdepo_assets.release.sagemaker_endpoint import EndpointFollower, EndpointState
from carsdepo_assets.release.sagemaker_settings import EndpointsSettings
from carsdepo_assets_tests.lake.stored_model import stored_model
from deploy.emulators.sagemaker_containers import ContainerAnswer
from deploy.emulators.sagemaker_endpoints import SageMakerEndpoints
from deploy.emulators.sagemaker_on_moto import environment

BUCKET = "carsdepo"
FILE = """
region = "us-east-1"
package_group = "carsdepo"
role = "arn:aws:iam::123456789012:role/carsdepo-endpoints"
image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/carsdepo-service:1"
bucket = "carsdepo"

[staging]
endpoint = "carsdepo-staging"
instance_type = "ml.m5.large"
idle_minutes = 60

[production]
endpoint = "carsdepo-production"
instance_type = "ml.m5.large"
instances = 2
canary = { percent = 50, minutes = 10, alarms = ["carsdepo-errors"] }
"""


class Killed(BaseException):
    """The process ends here: nothing that catches errors catches it."""


class PretendedContainer:
    """Answers /ping and questions about health as the service does, with the digest of the archive's manifest."""

    def __init__(self, archive: bytes, variables: Mapping[str, str]) -> None:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            manifest = tar.extractfile("manifest.json")
            assert manifest is not None
            self.digest = str(json.load(manifest)["digest"])
        self.variables = dict(variables)
        self.is_ready, self.has_ended, self.stopped = True, False, False

    def ping(self) -> bool:
        return self.is_ready and not self.has_ended

    def exited(self) -> bool:
        return self.has_ended

    def invoke(self, body: bytes, content_type: str, accept: str) -> ContainerAnswer:
        assert content_type == HEALTH_QUESTION
        health = {"stage": self.variables["CARSDEPO_STAGE"], "status": "serving", "digest": self.digest}
        return ContainerAnswer(200, "application/json", json.dumps({**health, "runtime": "pretended"}).encode())

    def stop(self) -> None:
        self.stopped = True

    def output(self) -> str:
        return ""


class PretendedContainerOfSeveral:
    """Keeps the contract of multi-model endpoints without a model: `most` of them fit."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables, self.most, self.stopped = dict(variables), int(variables["CARSDEPO_MODELS_IN_MEMORY"]), False
        self.digests: dict[str, str] = {}
        self.is_damaged: set[str] = set()
        """Digests of models that cannot be loaded."""

    def ping(self) -> bool:
        return not self.stopped

    def exited(self) -> bool:
        return False

    def models(self) -> ContainerAnswer:
        return _json({"models": [{"modelName": name} for name in self.digests]})

    def load(self, name: str, archive: bytes, target: str) -> ContainerAnswer:
        digest = PretendedContainer(archive, {}).digest
        if digest in self.is_damaged:
            return _json({"error": {"reason": "bad_model", "detail": "not signed"}}, 400)
        if len(self.digests) >= self.most:
            return _json({"error": {"reason": "no_memory", "detail": "full"}}, 507)
        self.digests[name] = digest
        return _json({})

    def unload(self, name: str) -> ContainerAnswer:
        return _json({}, 200 if self.digests.pop(name, None) else 404)

    def ask(self, name: str, body: bytes, content_type: str, accept: str, target: str) -> ContainerAnswer:
        assert content_type == HEALTH_QUESTION
        health = {"stage": self.variables["CARSDEPO_STAGE"], "status": "serving", "digest": self.digests[name]}
        return _json({**health, "runtime": "pretended"})

    def invoke(self, body: bytes, content_type: str, accept: str) -> ContainerAnswer:
        raise AssertionError("no model was named")

    def stop(self) -> None:
        self.stopped = True

    def output(self) -> str:
        return ""


def _json(content: Any, status: int = 200) -> ContainerAnswer:
    return ContainerAnswer(status, "application/json", json.dumps(content).encode())


@dataclass
class PretendingLauncher:
    """Starts no process; `change` is applied to each container."""

    change: Callable[[PretendedContainer], None] = lambda container: None
    started: list[PretendedContainer] = field(default_factory=list)
    of_several: list[PretendedContainerOfSeveral] = field(default_factory=list)

    def launch_several(self, image: str, variables: Mapping[str, str]) -> PretendedContainerOfSeveral:
        self.of_several.append(PretendedContainerOfSeveral(variables))
        return self.of_several[-1]

    def launch(self, image: str, archive: bytes, variables: Mapping[str, str]) -> PretendedContainer:
        container = PretendedContainer(archive, variables)
        self.change(container)
        self.started.append(container)
        return container


@dataclass
class SageMakerWorld:
    """One installation whose services are endpoints."""

    aws: SageMakerEndpoints
    launcher: PretendingLauncher
    lake: Lake
    settings: EndpointsSettings
    keys: SigningKeys
    calls: int = 0
    killed_at: int | None = None
    """The call, counted from 1, before which the process is killed; calls of AWS and writes of the lake count."""

    def clients(self, service: str) -> Any:
        return _Counted(self.aws.client(service), self)

    def call(self) -> None:
        self.calls += 1
        if self.calls == self.killed_at:
            raise Killed

    def model(self, name: str) -> str:
        """The digest of a signed model."""
        digest = stored_model(self.lake, name.encode())
        self.keys.sign(self.lake, digest)
        return digest

    def say(self, action: ledger.Action, digest: str, *, version: int = 1, actor: str = "ann@desk") -> ledger.Event:
        stage: ledger.Stage = "staging" if action == "deploy" else "production"
        return ledger.record(self.lake, stage, action, digest=digest, version=version, actor=actor, reason="a test")

    def follower(self, policy: Policy | None = None) -> EndpointFollower:
        return EndpointFollower(
            _lake_that_counts(self.lake, self),
            self.settings,
            policy or Policy(),
            self.keys.public.read_text(),
            self.clients,
            self.aws.now,
        )

    def until(
        self, wanted: str, stage: ledger.Stage = "production", looks: int = 8, **how: Any
    ) -> tuple[EndpointState, list[str]]:
        """Looks until the status is the wanted one; with the titles of what was found on the way."""
        titles: list[str] = []
        for _ in range(looks):
            state = self.follower().look(stage, **how)
            titles += [finding.title for finding in state.findings]
            if state.status == wanted:
                return state, titles
        raise AssertionError(f"{state.status}: {state.message}")

    def made(self) -> dict[str, list[str]]:
        """The names of all that SageMaker has."""
        sagemaker = self.aws.client("sagemaker")
        return {
            "endpoints": [e["EndpointName"] for e in sagemaker.list_endpoints()["Endpoints"]],
            "configs": [c["EndpointConfigName"] for c in sagemaker.list_endpoint_configs()["EndpointConfigs"]],
            "models": [m["ModelName"] for m in sagemaker.list_models()["Models"]],
            "packages": [p["ModelPackageArn"] for p in self.packages()],
        }

    def packages(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.aws.client("sagemaker").list_model_packages(
            ModelPackageGroupName="carsdepo"
        )["ModelPackageSummaryList"]
        return listed

    def package(self, digest: str) -> dict[str, Any]:
        """DescribeModelPackage of the model's only package."""
        (arn,) = [p["ModelPackageArn"] for p in self.packages() if digest in p["ModelPackageDescription"]]
        described: dict[str, Any] = self.aws.client("sagemaker").describe_model_package(ModelPackageName=arn)
        return described


class _Counted:
    """A client whose calls are counted, so that one of them can be the last."""

    def __init__(self, client: Any, world: SageMakerWorld) -> None:
        self._client, self._world = client, world

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def counted(**request: Any) -> Any:
            self._world.call()
            return method(**request)

        return counted


def _lake_that_counts(lake: Lake, world: SageMakerWorld) -> Lake:
    counted = Lake(lake.url, lake.objects, lake.tables)
    put = counted.put

    def counting_put(key: str, data: bytes) -> None:
        world.call()
        put(key, data)

    counted.put = counting_put  # type: ignore[method-assign]
    return counted


@pytest.fixture(scope="module")
def pretending_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SageMakerEndpoints, SigningKeys]]:
    """The emulated AWS of a module, and a pair of keys."""
    folder = tmp_path_factory.mktemp("keys")
    keys = SigningKeys(folder / "signing.key", folder / "signing.pub")
    ensure_keys(keys.private, keys.public)
    with SageMakerEndpoints(launcher=PretendingLauncher()) as aws, environment(aws):
        for service in ("sagemaker", "sagemaker-runtime", "s3", "sqs", "cloudwatch"):
            aws.client(service)  # takes long the first time
        yield aws, keys


@pytest.fixture
def sagemaker(pretending_aws: tuple[SageMakerEndpoints, SigningKeys]) -> SageMakerWorld:
    """An empty AWS with a bucket, and a lake in it."""
    aws, keys = pretending_aws
    aws.reset()
    launcher = aws.launcher = PretendingLauncher()
    aws.client("s3").create_bucket(Bucket=BUCKET)
    return SageMakerWorld(aws, launcher, Lake.open(f"s3://{BUCKET}/lake"), settings_of(FILE), keys)


def settings_of(text: str) -> EndpointsSettings:
    """The settings of a file with this text."""
    return EndpointsSettings.model_validate(tomllib.loads(text), strict=False)
