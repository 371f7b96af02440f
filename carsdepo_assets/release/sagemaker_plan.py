"""What SageMaker is to have for a model at a stage: the requests, under names that follow from their content.

The same model under the same settings has the same name, so that a step that is repeated finds what it made.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carsdepo_assets.lake import data_capture
from carsdepo_assets.lake.target_models import TargetModel
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import Event, Stage
from carsdepo_assets.release.sagemaker_archive import ModelArchive
from carsdepo_assets.release.sagemaker_settings import EndpointsSettings
from carsdepo_assets.settings_container import ContainedModel, ContainedModels

MODEL_FOLDER = "/opt/ml/model"  # where SageMaker unpacks model.tar.gz
MODELS_FOLDER = "/opt/ml/models"  # below which SageMaker unpacks the archives of a multi-model endpoint
ENDPOINT_TAG, DIGEST_TAG = "carsdepo:endpoint", "carsdepo:digest"
SEVERAL = "versions"  # in names, in place of the digest, where an endpoint has several versions
_START_S = 900  # seconds for downloading and loading the model; the most is 3600
# What a service reads of the policy: another value there is another configuration.
_SERVED: dict[str, Any] = {"inference": True, "data": {"min_side_px"}, "gate": {"parity_share"}}


@dataclass(frozen=True)
class EndpointPlan:
    """One model at one stage."""

    name: str
    """Of Model and EndpointConfig, at most 63 characters."""
    digest: str
    endpoint: str
    model: dict[str, Any]
    """The request CreateModel."""
    config: dict[str, Any]
    """The request CreateEndpointConfig."""
    deployment: dict[str, Any] | None
    """DeploymentConfig of UpdateEndpoint."""
    tags: list[dict[str, str]]
    target: TargetModel | None = None
    """What callers name on an endpoint of several versions; None: the endpoint has one version."""


def plan(
    settings: EndpointsSettings,
    stage: Stage,
    event: Event,
    archive: ModelArchive,
    policy: Policy,
    *,
    lake: str,
    verification_key: str,
) -> EndpointPlan:
    """Plans what a ledger's event asks for.

    Args:
        settings: of the endpoints.
        stage: that the event is about.
        event: names the model to serve. After a rollback there is no canary: the model is known, and haste is due.
        archive: of the model.
        policy: which the container answers by; it has no other.
        lake: URL of the lake, into which SageMaker captures.
        verification_key: the public key (PEM) that must have signed the model.
    """
    own = settings.stage(stage)
    several = own.multi_model is not None
    container = _container(settings, stage, event, archive, policy_text(policy), verification_key)
    model: dict[str, Any] = {"PrimaryContainer": container, "ExecutionRoleArn": settings.role}
    if settings.subnets:
        model["VpcConfig"] = {"Subnets": [*settings.subnets], "SecurityGroupIds": [*settings.security_groups]}
    model["EnableNetworkIsolation"] = True  # the container needs no network
    variant = {
        "VariantName": data_capture.VARIANT,
        "InstanceType": own.instance_type,
        "InitialInstanceCount": own.instances,
        "InitialVariantWeight": 1.0,
        "ContainerStartupHealthCheckTimeoutInSeconds": _START_S,
        **({} if several else {"ModelDataDownloadTimeoutInSeconds": _START_S}),
    }
    capture: dict[str, Any] = {
        "EnableCapture": True,
        "InitialSamplingPercentage": settings.capture.percent,
        "DestinationS3Uri": f"{lake.rstrip('/')}/{data_capture.ROOT}",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    }
    if settings.capture.kms_key is not None:
        capture["KmsKeyId"] = settings.capture.kms_key
    content = json.dumps([model, variant, capture], sort_keys=True).encode()
    what = SEVERAL if several else archive.digest
    name = f"{name_prefix(own.endpoint)}-{what}-{hashlib.sha256(content).hexdigest()[:8]}"
    tags = {**settings.tags, ENDPOINT_TAG: own.endpoint, **({} if several else {DIGEST_TAG: archive.digest})}
    tag_list = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
    return EndpointPlan(
        name=name,
        digest=archive.digest,
        endpoint=own.endpoint,
        model={"ModelName": name, **model, "Tags": tag_list},
        config={
            "EndpointConfigName": name,
            "ProductionVariants": [{**variant, "ModelName": name}],
            "DataCaptureConfig": capture,
            "Tags": tag_list,
        },
        deployment=_deployment(settings, stage, event),
        tags=tag_list,
        target=TargetModel(archive.digest, archive.identity, event.version) if several else None,
    )


def finding_key(plan: EndpointPlan, event: Event, what: str) -> str:
    """The key of something found about an endpoint while it carries out an event."""
    return f"endpoint:{plan.endpoint}:{event.sequence}:{what}"


def versions_prefix(settings: EndpointsSettings, endpoint: str) -> str:
    """The key below which an endpoint of several versions finds their archives; it ends with a slash."""
    return f"{settings.prefix}/versions/{endpoint}/"


def _container(
    settings: EndpointsSettings, stage: Stage, event: Event, archive: ModelArchive, policy: str, key: str
) -> dict[str, Any]:
    """PrimaryContainer of CreateModel."""
    own = settings.stage(stage)
    contained: ContainedModel | ContainedModels
    if own.multi_model is None:
        contained = ContainedModel(
            folder=Path(MODEL_FOLDER), version=event.version, verification_key=key, policy=policy
        )
        where = {"ModelDataUrl": archive.url}
    else:
        contained = ContainedModels(
            folder=Path(MODELS_FOLDER),
            most=own.multi_model.in_memory,
            memory_percent=own.multi_model.memory_percent,
            verification_key=key,
            policy=policy,
        )
        where = {
            "ModelDataUrl": f"s3://{settings.bucket}/{versions_prefix(settings, own.endpoint)}",
            "Mode": "MultiModel",
        }
    environment = {
        "CARSDEPO_STAGE": stage,
        "CARSDEPO_ALLOWED_HOSTS": "*",  # whatever name SageMaker asks it by; nobody else reaches it
        **contained.variables(),
    }
    return {"Image": settings.image, **where, "Environment": environment}


def name_prefix(endpoint: str) -> str:
    """What the names of an endpoint's models and configurations begin with."""
    return endpoint[:37].rstrip("-")


def is_ours(name: str, endpoint: str) -> bool:
    """Whether a name of a model or configuration is one that `plan` gives for the endpoint."""
    return (
        re.fullmatch(rf"{re.escape(name_prefix(endpoint))}-([0-9a-f]{{16}}|{SEVERAL})-[0-9a-f]{{8}}", name) is not None
    )


def policy_text(policy: Policy) -> str:
    """The values of the policy that a service uses and that differ from the built-in ones, as TOML."""
    changed = policy.model_dump(mode="json", include=_SERVED, exclude_defaults=True, exclude_none=True)
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in _flat(changed, ""))


def _flat(values: dict[str, Any], before: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{before}{key}.")
        else:
            pairs.append((f"{before}{key}", value))
    return sorted(pairs)


def _deployment(settings: EndpointsSettings, stage: Stage, event: Event) -> dict[str, Any]:
    canary = settings.stage(stage).canary
    routing: dict[str, Any] = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
    if canary is not None and event.action != "rollback":
        routing = {
            "Type": "CANARY",
            "WaitIntervalInSeconds": 60 * canary.minutes,
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": canary.percent},
        }
    wanted: dict[str, Any] = {
        "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": 0}
    }
    if canary is not None and canary.alarms and event.action != "rollback":
        wanted["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in canary.alarms]}
    return wanted
