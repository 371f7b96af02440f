"""Reads the file that says how models are served on SageMaker: TOML, which CARSDEPO_ENDPOINTS names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from carsdepo_assets.toml_files import read_toml

NAME = r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"  # of endpoints and groups (API reference, CreateEndpoint)
_ACCELERATED = re.compile(r"ml\.(g|p|inf|trn)[0-9]")
_ECR = re.compile(r"[0-9]{12}\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.")
_S3 = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class EndpointsSettingsError(ValueError):
    """The file cannot be read, or holds something else; the message names file and key."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Canary(_Section):
    """How production changes its model: a share of the new instances first, all of them after a while."""

    percent: int = Field(ge=1, le=50, description="share of the new instances that gets requests first")
    minutes: int = Field(ge=1, le=60, description="how long the alarms watch that share")
    alarms: tuple[str, ...] = Field(
        default=(), max_length=10, description="CloudWatch alarms by which SageMaker rolls the update back"
    )


class MultiModel(_Section):
    """An endpoint that has several versions on the same instances: SageMaker's multi-model endpoint."""

    kept: int = Field(
        default=3, ge=2, le=20, description="how many versions can be asked: what callers get, and those before it"
    )
    candidate: bool = Field(
        default=False, description="of production: staging's version can be asked here too, by callers who name it"
    )
    in_memory: int = Field(default=2, ge=1, le=20, description="how many versions are in an instance's memory at most")
    memory_percent: int = Field(
        default=80, ge=10, le=95, description="share of an instance's memory at which no further version is loaded"
    )


class StageEndpoint(_Section):
    """The endpoint of a stage."""

    endpoint: str = Field(pattern=f"^{NAME}$", description="the endpoint's name")
    instance_type: str = Field(pattern=r"^ml\.[a-z0-9.-]+$", description="such as ml.m5.large")
    instances: int = Field(default=1, ge=1, description="how many instances")
    canary: Canary | None = Field(default=None, description="None: all requests go to the new instances at once")
    multi_model: MultiModel | None = Field(default=None, description="None: one version an endpoint")
    idle_minutes: int | None = Field(
        default=None, ge=15, description="without a request for so long the endpoint is removed; None: never"
    )

    @model_validator(mode="after")
    def _has_a_canary_that_can_be(self) -> Self:
        if self.canary is not None and self.instances < 2:
            raise ValueError("a canary is at most half of the instances, so that there must be 2 or more")
        if self.multi_model is not None and _ACCELERATED.match(self.instance_type):
            raise ValueError(
                f"multi_model is for instances without GPU, and {self.instance_type} has one: there SageMaker serves "
                "several models by its Triton container alone"
            )
        return self


class DataCapture(_Section):
    """What SageMaker writes down of requests and answers, into the lake."""

    percent: int = Field(default=100, ge=1, le=100, description="share of the requests")
    kms_key: str | None = Field(default=None, description="ID, alias or ARN of the key that encrypts the files")


class EndpointsSettings(_Section):
    """The whole file."""

    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$", description="of the endpoints")
    package_group: str = Field(pattern=f"^{NAME}$", description="group of model packages; it is made where missing")
    role: str = Field(
        pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$", description="role that SageMaker assumes for the models"
    )
    image: str = Field(min_length=1, max_length=255, pattern=r"^\S+$", description="the service's image in ECR")
    bucket: str = Field(description="S3 bucket of the models' archives, in the region")
    prefix: str = Field(default="carsdepo-serving", description="key prefix in the bucket")
    staging: StageEndpoint = Field(description="staging's endpoint: a section, see below")
    production: StageEndpoint = Field(description="production's endpoint: a section, see below")
    capture: DataCapture = Field(default=DataCapture(), description="what is captured: a section, see below")
    wait_minutes: int = Field(default=60, ge=1, le=480, description="how long a release waits for an endpoint")
    stuck_minutes: int = Field(
        default=45, ge=1, le=480, description="an endpoint that is created or updated for longer is alerted"
    )
    subnets: tuple[str, ...] = Field(default=(), max_length=16, description="of the VPC in which the models run")
    security_groups: tuple[str, ...] = Field(default=(), max_length=5, description="of the models in that VPC")
    tags: dict[str, str] = Field(default={}, max_length=40, description="tags of all that is made, such as for costs")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.staging.endpoint == self.production.endpoint:
            raise ValueError("staging and production have the same endpoint")
        if self.production.idle_minutes is not None:
            raise ValueError("production.idle_minutes: production is never removed for want of requests")
        if self.production.multi_model is not None and self.staging.multi_model is None:
            raise ValueError("production.multi_model: staging has none, and would not prove what production does")
        if self.staging.multi_model is not None and self.staging.multi_model.candidate:
            raise ValueError("staging.multi_model.candidate: a candidate is served at staging anyway")
        if not _S3.fullmatch(self.bucket):
            raise ValueError(f"bucket: {self.bucket!r} is no name of a bucket")
        if not self.prefix or self.prefix != self.prefix.strip("/"):
            raise ValueError("prefix: one or more folders, without a slash at either end")
        if (of_image := _ECR.match(self.image)) is not None and of_image[1] != self.region:
            raise ValueError(f"image: of {of_image[1]}, and SageMaker takes images of its own region, {self.region}")
        if bool(self.subnets) != bool(self.security_groups):
            raise ValueError("subnets and security_groups are set together")
        return self

    def stage(self, stage: Literal["staging", "production"]) -> StageEndpoint:
        """The endpoint of a stage."""
        return self.staging if stage == "staging" else self.production


def read_endpoints(path: Path, lake: str) -> EndpointsSettings:
    """Reads and checks the file.

    Args:
        path: the file.
        lake: the installation's lake, into which SageMaker writes what it captures.

    Raises:
        EndpointsSettingsError: the file is missing or wrong, or the lake is not on S3.
    """
    content = read_toml(path, "CARSDEPO_ENDPOINTS", EndpointsSettingsError)
    try:
        settings = EndpointsSettings.model_validate_json(json.dumps(content, default=str))  # where arrays are tuples
    except ValidationError as error:
        problems = "; ".join(_explained(problem) for problem in error.errors())
        raise EndpointsSettingsError(f"{path}: {problems}.") from None
    if not lake.startswith("s3://"):
        raise EndpointsSettingsError(
            f"{path}: SageMaker captures into the lake, and {lake} is a folder of this machine: set CARSDEPO_LAKE to "
            "s3://BUCKET/PREFIX."
        )
    return settings


def _explained(problem: Any) -> str:
    place = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"{place}: no such key"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
