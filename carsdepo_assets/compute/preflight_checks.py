"""Looks, before a job on AWS starts, at what it will need whatever runs it: the image and the bucket.

A job that asks for what is not there fails late, or waits. Each problem says what to ask for and where. Where this
process may not look, that is a warning in the log: the job may still run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import dagster as dg

from carsdepo_assets.compute.pipes.aws_errors import code_of, explained, trouble_of

Client = Callable[..., Any]
"""Makes a boto3 client of a service, as the method of a boto3 session does."""
Finding = tuple[Literal["problem", "warning"], str]
Look = Callable[[], Iterable[Finding]]
_ECR = re.compile(
    r"(?P<registry>(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?)/"
    r"(?P<repository>[^:@]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class JobNotReady(dg.Failure):
    """A job would fail for want of something that has to be asked for first; `description` lists all of it."""


def look_at_all(job: str, looks: Mapping[str, Look], warn: Callable[[str], None]) -> None:
    """Looks at everything once.

    Args:
        job: its kind in words, such as "training job".
        looks: each look by what it looks at, such as "the bucket jobs".
        warn: gets a line for each thing that could not be looked at.

    Raises:
        JobNotReady: something is missing.
    """
    problems = []
    for thing, look in looks.items():
        findings: list[Finding] = []
        try:
            for finding in look():
                findings.append(finding)
        except Exception as error:
            if trouble_of(error) is None:  # no answer of AWS, nor its absence: a fault of this code
                raise
            findings.append(("warning", f"{thing} could not be looked at. {explained(error)}"))
        for weight, text in findings:
            if weight == "problem":
                problems.append(text)
            else:
                warn(f"Before the {job}: {text}")
    if problems:
        raise JobNotReady(f"The {job} was not started. {' '.join(problems)}", allow_retries=False)


def image(address: str, job: str, region: str, or_else: str, client: Client) -> Iterator[Finding]:
    """The image of a job.

    Args:
        address: of the image; only ECR is looked at.
        job: its kind in words.
        region: where it runs.
        or_else: what to do where the image is not to be pushed, such as "correct `image` of the compute target".
        client: makes a boto3 client of a service.
    """
    parts = _ECR.fullmatch(address)
    if parts is None:
        yield "warning", f"The image {address} is not in ECR, so that it cannot be looked at."
        return
    if parts["region"] != region:
        yield "warning", f"The image is in {parts['region']} and the {job} in {region}."
    wanted = {"imageDigest": parts["digest"]} if parts["digest"] else {"imageTag": parts["tag"] or "latest"}
    try:
        client("ecr", region_name=parts["region"]).describe_images(
            registryId=parts["account"], repositoryName=parts["repository"], imageIds=[wanted]
        )
    except Exception as error:
        code = code_of(error)
        if code not in ("RepositoryNotFoundException", "ImageNotFoundException"):
            raise
        registry, login = parts["registry"], f"docker login --username AWS --password-stdin {parts['registry']}"
        make = f"aws ecr create-repository --repository-name {parts['repository']} --region {parts['region']}; "
        yield (
            "problem",
            f"The image {address} is not in ECR ({code}). Where it is not built yet, `make images REGISTRY={registry}` "
            "builds images. Then push it: "
            + (make if code == "RepositoryNotFoundException" else "")
            + f"aws ecr get-login-password --region {parts['region']} | {login}; docker push {address}. Or {or_else}.",
        )


def bucket(name: str, job: str, region: str, client: Client) -> Iterator[Finding]:
    """The bucket of a job.

    Args:
        name: of the bucket.
        job: its kind in words.
        region: where it runs.
        client: makes a boto3 client of a service.
    """
    try:
        there = _region(client("s3").head_bucket(Bucket=name))
    except Exception as error:
        if code_of(error) in ("404", "NoSuchBucket"):
            yield (
                "problem",
                f"There is no bucket {name}: make it in {region}, or correct `bucket` of the compute target.",
            )
            return
        there = _region(getattr(error, "response", {}))
        if there is None:  # a refusal names the region all the same
            raise
    if there is not None and there != region:
        yield (
            "problem",
            f"The bucket {name} is in {there} and the {job} runs in {region}: use a bucket in {region}, or correct "
            "`region` of the compute target. Data between regions cost money and time, and SageMaker takes none.",
        )


def _region(answer: Mapping[str, Any]) -> str | None:
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = answer.get("BucketRegion") or headers.get("x-amz-bucket-region")
    return None if region is None else str(region)
