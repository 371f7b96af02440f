"""SageMaker's endpoints on moto: what moto lacks of models, configurations, endpoints and model packages.

An endpoint is InService once a real service answers /ping; an update starts a second one and takes its place, or is
rolled back. Statuses move on when they are described, so that no test waits for a clock: DescribeEndpoint looks at the
containers and takes one step. InvokeEndpoint is in sagemaker_runtime.py.
Written after: API reference of the operations; "Blue/Green Deployments"; events as in "Events that SageMaker sends to
EventBridge". One instance answers whatever the number of instances is, so that a canary is a step and no share of
requests.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from deploy.emulators.sagemaker_answers import empty, eventbridge_event, refused, result_of
from deploy.emulators.sagemaker_containers import EmulatedEndpoint, Launcher, RunnerLauncher, ServingContainer
from deploy.emulators.sagemaker_multi_model import LoadedVersions, NoModelData
from deploy.emulators.sagemaker_on_moto import ACCOUNT, SageMakerOnMoto, _valid
from deploy.emulators.sagemaker_on_moto import internals as jobs_internals
from deploy.emulators.sagemaker_runners import Runner
from deploy.emulators.sagemaker_runtime import Runtime
from deploy.emulators.sagemaker_storage import place_of

_OPERATIONS = {
    "create_model": "CreateModel",
    "create_endpoint_config": "CreateEndpointConfig",
    "create_endpoint": "CreateEndpoint",
    "describe_endpoint": "DescribeEndpoint",
    "update_endpoint": "UpdateEndpoint",
    "delete_endpoint": "DeleteEndpoint",
    "list_endpoints": "ListEndpoints",
    "create_model_package": "CreateModelPackage",
    "update_model_package": "UpdateModelPackage",
    "delete_model_package": "DeleteModelPackage",
}
_NOT_IN_MOTO = {"update_endpoint", "delete_model_package"}
_INVOKE = re.compile(r"/endpoints/([^/]+)/invocations")


class SageMakerEndpoints(SageMakerOnMoto):
    """The emulator with endpoints.

    Args:
        runner: as of SageMakerOnMoto.
        region: of all.
        launcher: starts the containers of endpoints; None: by the runner.
        elsewhere: as of SageMakerOnMoto.
    """

    def __init__(
        self, runner: Runner | None = None, region: str = "us-east-1", launcher: Launcher | None = None,
        elsewhere: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(runner, region, elsewhere)
        self.launcher: Launcher = launcher or RunnerLauncher(self.runner)
        self.endpoints: dict[str, EmulatedEndpoint] = {}
        self.events: list[dict[str, Any]] = []
        """What EventBridge would deliver, oldest first."""
        self.queue_url: str | None = None
        """A queue of this AWS that gets the events too."""
        self.stays: set[str] = set()
        """Statuses in which endpoints stay, such as Creating."""
        self.alarming: set[str] = set()
        """Alarms that are in ALARM: updates that name one are rolled back."""
        self.silent = False
        """Whether a rolled back update gives no FailureReason."""
        # As they were when an endpoint took them: it goes on without them (API reference, DeleteEndpointConfig).
        self._configs: dict[str, dict[str, Any]] = {}
        self._later = timedelta()
        self._lock = threading.RLock()

    def __enter__(self) -> SageMakerEndpoints:
        super().__enter__()
        moto = self.faults.application
        runtime = Runtime(self._in_service, lambda name: self.client(name, "AKIASERVICE"), self.now, self.region)

        def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            match = _INVOKE.fullmatch(environ.get("PATH_INFO", ""))
            return runtime.invoke(match[1], environ, start) if match else moto(environ, start)

        self.faults.application = application
        return self

    def __exit__(self, *exception: object) -> None:
        for endpoint in self.endpoints.values():
            self._stop(endpoint)
        super().__exit__(*exception)

    def reset(self) -> None:
        """Forgets everything but its address and its clients, which take long to make."""
        from moto.core.base_backend import BackendDict

        for endpoint in self.endpoints.values():
            self._stop(endpoint)
        self.endpoints, self.events, self.queue_url, self._later = {}, [], None, timedelta()
        self.stays, self.alarming, self.silent, self._configs = set(), set(), False, {}
        self.faults.calls.clear()
        BackendDict.reset()

    def now(self) -> datetime:
        """The emulated present."""
        return datetime.now(UTC) + self._later

    def pass_time(self, **time: float) -> None:
        """Moves the emulated clock on, by timedelta's arguments."""
        self._later += timedelta(**time)

    def decide_in_studio(self, arn: str, status: str, person: str, reason: str = "") -> None:
        """What a click on a package in Studio does."""
        package = self._package(arn)
        package.model_approval_status, package.approval_description = status, reason
        domain = {"UserProfileName": person, "DomainId": "d-emulated"}
        self._package_changed(package, domain)

    def _patch(self) -> dict[str, Any]:
        from moto.sagemaker.responses import SageMakerResponse

        before = super()._patch()
        for name, operation in _OPERATIONS.items():
            before[name] = SageMakerResponse.__dict__.get(name)
            setattr(SageMakerResponse, name, self._operation(getattr(self, f"_{name}"), operation, before[name]))
        return before

    def _operation(self, ours: Callable[..., Any], operation: str, original: Any) -> Any:
        def answer(response: Any) -> Any:
            request = _valid(operation, response)
            with self._lock:
                return ours(request, response, original)

        return answer

    def _create_model(self, request: dict[str, Any], response: Any, original: Any) -> Any:
        name, container = request["ModelName"], request["PrimaryContainer"]
        if name in self._backend()._models:
            raise refused(
                f'Cannot create already existing model "arn:aws:sagemaker:{self.region}:{ACCOUNT}:model/{name}".'
            )
        if container.get("Mode") != "MultiModel":
            self._archive(container["ModelDataUrl"])
        return original(response)

    def _create_endpoint_config(self, request: dict[str, Any], response: Any, original: Any) -> Any:
        name = request["EndpointConfigName"]
        if name in self._backend().endpoint_configs:
            raise refused(f'Cannot create already existing endpoint configuration "{name}".')
        return original(response)

    def _create_endpoint(self, request: dict[str, Any], response: Any, original: Any) -> Any:
        name, config = request["EndpointName"], request["EndpointConfigName"]
        if name in self.endpoints:
            raise refused(f'Cannot create already existing endpoint "{self._arn(name)}".')
        self.endpoints[name] = EmulatedEndpoint(name, config, self._container(config), self.now())
        self._event(self.endpoints[name])
        return result_of({"EndpointArn": self._arn(name)})

    def _describe_endpoint(self, request: dict[str, Any], response: Any, original: Any) -> Any:
        endpoint = self._endpoint(request)
        self._step(endpoint)
        config = self._configs[endpoint.config]
        description = {
            "EndpointName": endpoint.name,
            "EndpointArn": self._arn(endpoint.name),
            "EndpointConfigName": endpoint.config,
            "ProductionVariants": [{"VariantName": v["VariantName"]} for v in config["ProductionVariants"]],
            "EndpointStatus": endpoint.status,
            "FailureReason": endpoint.reason,
            "CreationTime": endpoint.created,
            "LastModifiedTime": endpoint.modified,
            "LastDeploymentConfig": endpoint.deployment,
        }
        return result_of({key: value for key, value in description.items() if value is not None})

    def _update_endpoint(self, request: dict[str, Any], response: Any, original: Any) -> Any:
        endpoint, config = self._endpoint(request), request["EndpointConfigName"]
        if endpoint.status != "InService":
            raise refused(f'Cannot update in-progress endpoint "{self._arn(endpoint.name)}".')
        deployment = request.get("DeploymentConfig") or {}
        container = self._container(config)
        endpoint.next, endpoint.deployment, endpoint.reason = (config, container, deployment), deployment, None
        self._move(endpoint, "Updating")
        return result_of({"EndpointArn": self._arn(endpoint.name)})

    def _delete_endpoint(self, request: dict[str, Any], response: Any, original: Any) -> Any:
        endpoint = self._endpoint(request)
        if endpoint.status in ("Creating", "Updating", "RollingBack"):
            raise refused(f'Cannot update in-progress endpoint "{self._arn(endpoint.name)}".')
        self._stop(self.endpoints.pop(endpoint.name))
        self._move(endpoint, "Deleting")
        return empty()

    def _list_endpoints(self, request: dict[str, Any], response: Any, original: Any) -> Any:
        entries = [
            {"EndpointName": e.name, "EndpointArn": self._arn(e.name), "EndpointStatus": e.status,
             "CreationTime": e.created, "LastModifiedTime": e.modified}
            for e in self.endpoints.values()
        ]  # fmt: skip
        return result_of({"Endpoints": entries})

    def _create_model_package(self, request: dict[str, Any], response: Any, original: Any) -> Any:
        token = request.get("ClientToken")
        for package in self._backend().model_packages.values():
            if token and package.client_token == token:
                return result_of({"ModelPackageArn": package.arn})
        return original(response)

    def _update_model_package(self, request: dict[str, Any], response: Any, original: Any) -> Any:
        package = self._package(request["ModelPackageArn"])
        status = request.get("ModelApprovalStatus")
        package.model_approval_status = status or package.model_approval_status
        package.approval_description = request.get("ApprovalDescription", package.approval_description)
        package.customer_metadata_properties = {
            **(package.customer_metadata_properties or {}), **(request.get("CustomerMetadataProperties") or {})
        }  # fmt: skip
        self._package_changed(package, {"IamIdentity": {"Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/carsdepo/caller"}})
        return result_of({"ModelPackageArn": package.arn})

    def _delete_model_package(self, request: dict[str, Any], response: Any, original: Any) -> Any:
        package = self._package(request["ModelPackageName"])
        backend = self._backend()
        backend.model_packages = {k: p for k, p in backend.model_packages.items() if p is not package}
        return empty()

    def _step(self, endpoint: EmulatedEndpoint) -> None:
        """Moves an endpoint on where its containers allow it."""
        if endpoint.status in self.stays:
            return
        if endpoint.status == "Creating":
            if endpoint.container.exited():
                endpoint.reason = "The primary container did not pass the ping health check."
                self._move(endpoint, "Failed")
            elif endpoint.container.ping():
                self._move(endpoint, "InService")
        elif endpoint.status == "Updating" and endpoint.next is not None:
            config, container, deployment = endpoint.next
            alarms = {a["AlarmName"] for a in (deployment.get("AutoRollbackConfiguration") or {}).get("Alarms", ())}
            if container.exited() or alarms & self.alarming:
                tripped = ", ".join(sorted(alarms & self.alarming))
                endpoint.reason = None if self.silent else f"Alarms tripped: {tripped}" if tripped else "Ping failed"
                self._move(endpoint, "RollingBack")
            elif container.ping():
                endpoint.container.stop()
                endpoint.config, endpoint.container, endpoint.next = config, container, None
                self._move(endpoint, "InService")
        elif endpoint.status == "RollingBack" and endpoint.next is not None:
            endpoint.next[1].stop()
            endpoint.next = None
            self._move(endpoint, "InService")

    def _in_service(self, name: str) -> tuple[ServingContainer, dict[str, Any]] | None:
        """See Runtime."""
        with self._lock:
            endpoint = self.endpoints.get(name)
            if endpoint is None or endpoint.status in ("Creating", "Failed"):
                return None
            return endpoint.container, self._configs[endpoint.config]

    def _container(self, config: str) -> ServingContainer:
        described = self._configs[config] = self._backend().describe_endpoint_config(config)
        model = self._backend().describe_model(described["ProductionVariants"][0]["ModelName"]).response_object
        container = model["PrimaryContainer"]
        image, url, variables = container["Image"], container["ModelDataUrl"], container.get("Environment") or {}
        if container.get("Mode") != "MultiModel":
            return self.launcher.launch(image, self._archive(url), variables)
        started = self.launcher.launch_several(image, {**variables, "SAGEMAKER_MULTI_MODEL": "true"})
        return LoadedVersions(started, lambda target: self._version(url, target))

    def _version(self, prefix: str, target: str) -> bytes:
        url = prefix + target.lstrip("/")
        data = self._object(url)
        if data is None:
            raise NoModelData(f"Failed to download model data ({url}).")
        return data

    def _archive(self, url: str) -> bytes:
        data = self._object(url)
        if data is None:
            raise refused(f"Could not find model data at {url}.")
        return data

    def _object(self, url: str) -> bytes | None:
        bucket, key = place_of(url)
        s3 = self.client("s3", "AKIASERVICE")
        try:
            data: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except s3.exceptions.ClientError:
            return None
        return data

    def _endpoint(self, request: dict[str, Any]) -> EmulatedEndpoint:
        name = request["EndpointName"]
        if name not in self.endpoints:
            raise refused(f'Could not find endpoint "{self._arn(name)}".')
        return self.endpoints[name]

    def _package(self, arn: str) -> Any:
        for package in self._backend().model_packages.values():
            if package.arn == arn:
                return package
        raise refused(f"ModelPackage {arn} does not exist.")

    def _package_changed(self, package: Any, by: dict[str, Any]) -> None:
        package.last_modified_by, package.last_modified_time = by, self.now()
        detail = {
            "ModelPackageGroupName": package.model_package_group_name, "ModelPackageArn": package.arn,
            "ModelPackageVersion": package.model_package_version, "ModelPackageStatus": package.model_package_status,
            "ModelApprovalStatus": package.model_approval_status,
        }  # fmt: skip
        self._deliver("SageMaker Model Package State Change", package.arn, detail)

    def _move(self, endpoint: EmulatedEndpoint, status: str) -> None:
        endpoint.status, endpoint.modified = status, self.now()
        self._event(endpoint)

    def _event(self, endpoint: EmulatedEndpoint) -> None:
        arn = self._arn(endpoint.name)
        spelled = re.sub(r"(?<!^)(?=[A-Z])", "_", endpoint.status).upper()
        detail = {
            "EndpointName": endpoint.name, "EndpointArn": arn, "EndpointConfigName": endpoint.config,
            "EndpointStatus": spelled,
        }  # fmt: skip
        self._deliver("SageMaker Endpoint State Change", arn, detail)

    def _deliver(self, kind: str, arn: str, detail: dict[str, Any]) -> None:
        event = eventbridge_event(kind, arn, detail, ACCOUNT, self.region, self.now())
        self.events.append(event)
        if self.queue_url is not None:
            self.client("sqs", "AKIASERVICE").send_message(QueueUrl=self.queue_url, MessageBody=json.dumps(event))

    def _stop(self, endpoint: EmulatedEndpoint) -> None:
        endpoint.container.stop()
        if endpoint.next is not None:
            endpoint.next[1].stop()

    def _arn(self, name: str) -> str:
        return f"arn:aws:sagemaker:{self.region}:{ACCOUNT}:endpoint/{name}"

    def _backend(self) -> Any:
        from moto.sagemaker.models import sagemaker_backends

        return sagemaker_backends[ACCOUNT][self.region]


def internals() -> list[str]:
    """What of moto's internals this module uses, beyond sagemaker_on_moto's, and does not find; empty: all is there."""
    from moto.sagemaker.models import ModelPackage, SageMakerModelBackend
    from moto.sagemaker.responses import SageMakerResponse

    broken = list(jobs_internals())
    missing = [n for n in _OPERATIONS if n not in _NOT_IN_MOTO and n not in SageMakerResponse.__dict__]
    broken += [f"SageMakerResponse.{name}(self) is not there" for name in missing]
    broken += [
        f"it has {name} now, which this emulator replaces" for name in _NOT_IN_MOTO & set(dir(SageMakerResponse))
    ]
    broken += [
        f"SageMakerModelBackend.{name} is not there"
        for name in ("describe_endpoint_config", "describe_model")
        if not hasattr(SageMakerModelBackend, name)
    ]
    fields = ModelPackage.__init__.__code__.co_varnames
    broken += [f"ModelPackage.{name} is not there" for name in ("client_token",) if name not in fields]
    return broken
