"""What RunTask is asked: names derived from a job's name, overrides within AWS's limits, GPUs, capacity providers.

The limits are those of the page "RunTask" of the Amazon ECS API Reference.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST_STARTED_BY = 128  # characters: letters, digits, hyphens, slashes and underscores
LONGEST_CLIENT_TOKEN = 64
LONGEST_TAG = 256
LONGEST_OVERRIDES = 8192  # characters of the whole structure, with JSON's own
ENVIRONMENT_FILE = "environment.env"  # ECS takes no other ending
JOB_TAG = "dagster/pipes-job"


@dataclass(frozen=True)
class CapacityProvider:
    """Where a task may be placed."""

    name: str | None
    """`FARGATE`, `FARGATE_SPOT` or that of an Auto Scaling group; None: the request's launch type or the cluster's
    default."""
    spot: bool = False
    """Whether AWS may take the machine back."""
    price_per_hour: float | None = None
    """Of a task, in any one currency; None: not known."""


class EcsRequestError(ValueError):
    """The request cannot be made within AWS's limits; the message says which and what to do."""


def started_by(job: str) -> str:
    """The tag by which ListTasks finds a job's tasks: the job's name, shortened and made unique where it must be."""
    clean = re.sub(r"[^A-Za-z0-9/_-]", "-", job)
    if clean == job and len(job) <= LONGEST_STARTED_BY:
        return job
    return f"{clean[: LONGEST_STARTED_BY - 17]}-{_digest(job)[:16]}"


def client_token(job: str, number: int, refusals: int = 0) -> str:
    """Makes the request for a job's task idempotent: the same job and number start one task, however often asked.

    Args:
        job: the job's name.
        number: of the task within the job, from 1.
        refusals: how often RunTask has answered that it started none; the next request is another one.
    """
    return _digest(f"{job} {number} {refusals}")[:LONGEST_CLIENT_TOKEN]


def tag_value(text: str) -> str:
    """A text as the value of a tag."""
    return re.sub(r"[^A-Za-z0-9 +=._:/@-]", "-", text)[:LONGEST_TAG]


def with_provider(request: Mapping[str, Any], provider: CapacityProvider) -> dict[str, Any]:
    """The request placed by a capacity provider; a launch type excludes one, so it is taken out."""
    placed = dict(request)
    if provider.name is not None:
        placed.pop("launchType", None)
        placed["capacityProviderStrategy"] = [{"capacityProvider": provider.name, "weight": 1, "base": 0}]
    return placed


def overridden(request: Mapping[str, Any], container: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """The request with variables for one container, over those that the request has for it."""
    changed = copy.deepcopy(dict(request))
    override = _override(changed, container)
    variables = {v["name"]: v["value"] for v in override.get("environment", [])} | dict(environment)
    override["environment"] = [{"name": name, "value": value} for name, value in sorted(variables.items())]
    return changed


def with_gpus(request: Mapping[str, Any], container: str, gpus: int) -> dict[str, Any]:
    """The request with GPUs for one container; 0 leaves what the task definition asks for."""
    changed = copy.deepcopy(dict(request))
    if gpus:
        _override(changed, container)["resourceRequirements"] = [{"type": "GPU", "value": str(gpus)}]
    return changed


def too_large(request: Mapping[str, Any]) -> bool:
    """Whether the overrides are longer than RunTask takes."""
    return len(json.dumps(request.get("overrides", {}))) > LONGEST_OVERRIDES


def by_file(request: Mapping[str, Any], container: str, file_arn: str) -> tuple[dict[str, Any], str]:
    """The request whose variables come from a file on S3, and that file's content.

    ECS takes the variables from the file before the container starts (page "Pass environment variables to an Amazon
    ECS container" of the ECS Developer Guide: a line each, VARIABLE=VALUE, nothing quoted). The task's execution role
    must be allowed s3:GetObject for it and s3:GetBucketLocation for its bucket.

    Args:
        request: of RunTask, whose overrides are too large.
        container: whose variables move into the file.
        file_arn: where the file will be, such as arn:aws:s3:::bucket/key.env.

    Raises:
        EcsRequestError: a value has more than one line, or the overrides are too large without the variables too.
    """
    changed = copy.deepcopy(dict(request))
    override = _override(changed, container)
    variables = override.pop("environment", [])
    broken = [v["name"] for v in variables if "\n" in v["value"] or "\r" in v["value"]]
    if broken:
        raise EcsRequestError(
            f"The overrides are longer than {LONGEST_OVERRIDES} characters, and {', '.join(broken)} cannot move to an "
            "environment file, since it has several lines: put such values into the job's spec."
        )
    override["environmentFiles"] = [*override.get("environmentFiles", []), {"type": "s3", "value": file_arn}]
    if too_large(changed):
        raise EcsRequestError(
            f"The overrides are longer than {LONGEST_OVERRIDES} characters even without environment variables: shorten "
            "the command, or put it into the task definition or the job's spec."
        )
    return changed, "".join(f"{v['name']}={v['value']}\n" for v in variables)


def _override(request: dict[str, Any], container: str) -> dict[str, Any]:
    overrides: list[dict[str, Any]] = request.setdefault("overrides", {}).setdefault("containerOverrides", [])
    for override in overrides:
        if override["name"] == container:
            return override
    overrides.append({"name": container})
    return overrides[-1]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
