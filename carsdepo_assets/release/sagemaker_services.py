"""The services of a release as SageMaker endpoints: the same questions as of services over HTTP, other addresses."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, PrivateAttr

from carsdepo_assets.compute.pipes.aws_calls import AwsClients
from carsdepo_assets.compute.pipes.aws_errors import explained, trouble_of
from carsdepo_assets.lake import data_capture
from carsdepo_assets.lake.capture_place import CapturePlace
from carsdepo_assets.lake.message_queue import MessageQueue
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import Stage
from carsdepo_assets.release.sagemaker_endpoint import EndpointFollower, EndpointState, served_health
from carsdepo_assets.release.sagemaker_settings import EndpointsSettings
from carsdepo_assets.resources import NoService, PolicyResource, ServicesResource

if TYPE_CHECKING:
    import httpx

    from carsdepo_assets.lake.lake import Lake

_POLL_S = 10.0
_CAPTURE_GRACE_S = 900.0  # seconds: SageMaker writes captured requests within minutes, and says no number


class SageMakerServicesResource(ServicesResource):
    """SageMaker endpoints that follow the ledger. Who waits for one lets it follow; a sensor does so all the time."""

    production: str = Field(default="", description="URL of production's front, for people; without a path")
    staging: str = Field(default="", description="not used: staging has no front")
    lake: str = Field(description="URL of the lake with the ledger and the models")
    endpoints: str = Field(description="the settings of the file that CARSDEPO_ENDPOINTS names, as JSON")
    verification_key: str = Field(description="path of the public key that models are verified with")
    policy_files: list[str] = Field(default_factory=list, description="as of the resource `policy`")
    policy_file: str | None = Field(default=None, description="as of the resource `policy`")
    models_queue: str | None = Field(
        default=None, description="URL of the SQS queue of SageMaker's events; None: all packages are looked at"
    )
    poll_s: float = Field(default=_POLL_S, gt=0, description="seconds between two looks while waiting")

    _aws: AwsClients | None = PrivateAttr(default=None)

    def settings(self) -> EndpointsSettings:
        """The settings of the endpoints."""
        return EndpointsSettings.model_validate_json(self.endpoints)

    def follower(self, opened_lake: Lake | None = None, policy: Policy | None = None) -> EndpointFollower:
        """What makes the endpoints follow the ledger.

        Raises:
            NoService: the public key that the containers verify models with is not there.
        """
        from carsdepo_assets.lake.lake import Lake

        try:
            key = Path(self.verification_key).read_text()
        except FileNotFoundError:
            key = ""  # nothing has been signed yet; a container refuses an unsigned model by itself
        except (OSError, ValueError) as error:
            raise NoService(f"{self.verification_key} cannot be read: {error}.") from error
        policy = policy or PolicyResource(files=self.policy_files, file=self.policy_file).read()
        return EndpointFollower(opened_lake or Lake.open(self.lake), self.settings(), policy, key, self.clients)

    def clients(self, service: str) -> Any:
        """A boto3 client by the name of its service."""
        if self._aws is None:
            self._aws = AwsClients(region_name=self.settings().region)
        return self._aws[service]

    def queue(self) -> MessageQueue | None:
        """The queue that gets SageMaker's events; None: there is none."""
        return None if self.models_queue is None else MessageQueue(self.models_queue)

    def url(self, stage: str) -> str:
        """The page of a stage's endpoint in AWS's console."""
        region = self.settings().region
        return (
            f"https://{region}.console.aws.amazon.com/sagemaker/home?region={region}#/endpoints/{self._endpoint(stage)}"
        )

    def headers(self) -> dict[str, str]:
        """None: requests are signed instead."""
        return {}

    def client(self, stage: str, seconds: float) -> httpx.Client:
        """An HTTP client whose requests go to a stage's endpoint by InvokeEndpoint; it has /v1/inspections alone."""
        import httpx

        from carsdepo_assets.release.sagemaker_transport import InvokeEndpoint

        transport = InvokeEndpoint(self.clients("sagemaker-runtime"), self._endpoint(stage), self._target(stage))
        return httpx.Client(base_url="https://endpoint.invalid", transport=transport, timeout=seconds)

    def captured(self, stage: str) -> CapturePlace:
        """Where SageMaker writes what a stage answers."""
        return CapturePlace(data_capture.place_of(self._endpoint(stage)), _CAPTURE_GRACE_S)

    def health(self, stage: str) -> dict[str, Any]:
        """What a stage's endpoint serves, in the words of /healthz; an endpoint that is not there yet is `empty`.

        Raises:
            NoService: SageMaker cannot be asked.
        """
        from carsdepo_assets.release.sagemaker_calls import described

        name = self._endpoint(stage)
        health: dict[str, Any] = {"stage": stage, "status": "empty", "digest": None, "runtime": None, "error": None}
        try:
            standing = described(self.clients("sagemaker"), "endpoint", EndpointName=name)
            if standing is None:
                return health
            status = standing["EndpointStatus"]
            if status not in ("InService", "Updating", "RollingBack", "SystemUpdating"):
                why = standing.get("FailureReason") or f"{name} is {status}"
                return {**health, "status": "loading" if status == "Creating" else "failed", "error": why}
            target = self._target(stage)
            if target is None and self.settings().stage(_stage(stage)).multi_model is not None:
                return {**health, "status": "loading", "error": f"{name} has no version yet that callers are to name"}
            return served_health(self.clients("sagemaker-runtime"), name, target)
        except Exception as error:
            if trouble_of(error) is None and not isinstance(error, ValueError):
                raise
            raise NoService(f"The {stage} endpoint {name} cannot be asked: {explained(error)}") from error

    def wait_for(
        self,
        stage: str,
        digest: str,
        seconds: float,
        *,
        poll_s: float | None = None,
        waiting: Callable[[dict[str, Any]], None] = lambda health: None,
    ) -> dict[str, Any]:
        """Has a stage's endpoint follow the ledger until it serves a model.

        Args:
            stage: staging or production.
            digest: of the model that is to be served.
            seconds: how long to wait at least; the settings' wait_minutes go before where they are longer.
            poll_s: seconds between two looks; None: the resource's.
            waiting: called at each look that does not find the model.

        Returns:
            The service's answer once it serves the model.

        Raises:
            NoService: the endpoint failed, its update was rolled back, or the time is over.
        """
        settings = self.settings()
        deadline = time.monotonic() + max(seconds, 60.0 * settings.wait_minutes)
        follower = self.follower()
        while True:
            state = self._look(follower, stage)
            if state.status == "serving" and state.digest == digest:
                return state.health
            if state.is_final or time.monotonic() >= deadline:
                raise NoService(
                    f"The {stage} endpoint does not serve model {digest}: {state.message} Waited for at most "
                    f"{settings.wait_minutes} minutes (wait_minutes of CARSDEPO_ENDPOINTS)."
                )
            waiting({"stage": stage, "status": state.status, "digest": state.digest, "error": state.message})
            time.sleep(poll_s if poll_s is not None else self.poll_s)

    def _look(self, follower: EndpointFollower, stage: str) -> EndpointState:
        """A look that wakes an endpoint; trouble of AWS that can pass is a look that found nothing."""
        try:
            return follower.look(_stage(stage), wakes=True)
        except Exception as error:
            trouble = trouble_of(error)
            if trouble is None:
                raise
            if trouble == "credentials" and self._aws is not None:
                self._aws.renew()  # a role's may have run out during the wait
            if trouble in ("throttled", "network", "credentials"):
                return EndpointState("loading", explained(error))
            raise NoService(f"The {stage} endpoint cannot be changed: {explained(error)}") from error

    def _target(self, stage: str) -> str | None:
        """What callers of a stage's endpoint name; None: it has one version."""
        from carsdepo_assets.release.sagemaker_versions import read_callers

        settings = self.settings()
        if settings.stage(_stage(stage)).multi_model is None:
            return None
        callers = read_callers(settings, self._endpoint(stage), self.clients("s3"))
        return None if callers is None else callers.target_model

    def _endpoint(self, stage: str) -> str:
        return self.settings().stage(_stage(stage)).endpoint


def _stage(stage: str) -> Stage:
    if stage not in ("staging", "production"):
        raise KeyError(stage)
    return "staging" if stage == "staging" else "production"


def as_sagemaker(services: ServicesResource) -> SageMakerServicesResource | None:
    """The services as SageMaker endpoints; None where they are others, which follow the ledger by themselves."""
    return services if isinstance(services, SageMakerServicesResource) else None
