"""compute/preflight_checks.py: image and bucket are looked at once for every kind of job, in the same words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from carsdepo_assets.compute.preflight_checks import Finding, JobNotReady, bucket, image, look_at_all

IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/worker:1"


def refusing(code: str, **headers: str) -> Callable[..., Any]:
    """Makes clients whose calls are refused."""

    class Client:
        def _refuse(self, **request: Any) -> Any:
            answer = {"Error": {"Code": code, "Message": "No."}, "ResponseMetadata": {"HTTPHeaders": headers}}
            raise ClientError(answer, "Op")  # type: ignore[arg-type]

        head_bucket = describe_images = _refuse

    return lambda service, region_name=None: Client()


@pytest.mark.parametrize("job", ["training job", "ECS task"])
def test_a_bucket_that_may_not_be_opened_tells_its_region_all_the_same(job: str) -> None:
    client = refusing("403", **{"x-amz-bucket-region": "us-east-1"})
    [(weight, text)] = bucket("jobs", job, "eu-west-1", client)
    assert weight == "problem"
    assert f"The bucket jobs is in us-east-1 and the {job} runs in eu-west-1: use a bucket in eu-west-1" in text
    assert list(bucket("jobs", job, "us-east-1", client)) == []


def test_a_missing_bucket_is_a_problem() -> None:
    [(weight, text)] = bucket("jobs", "ECS task", "eu-west-1", refusing("404"))
    assert (weight, text.partition(":")[0]) == ("problem", "There is no bucket jobs")


@pytest.mark.parametrize("code", ["ImageNotFoundException", "RepositoryNotFoundException"])
def test_a_missing_image_comes_with_the_commands_that_push_it(code: str) -> None:
    [(weight, text)] = image(IMAGE, "ECS task", "eu-west-1", "mend it", refusing(code))
    assert weight == "problem"
    registry = IMAGE.partition("/")[0]
    assert f"`make images REGISTRY={registry}` builds images. Then push it: " in text
    assert f"| docker login --username AWS --password-stdin {registry}; docker push {IMAGE}. Or mend it." in text
    assert ("create-repository" in text) == (code == "RepositoryNotFoundException")


def test_what_was_found_before_a_refusal_is_told_too() -> None:
    lines: list[str] = []
    look_at_all(
        "ECS task",
        {"The image": lambda: image(IMAGE, "ECS task", "us-east-1", "mend it", refusing("AccessDeniedException"))},
        lines.append,
    )
    assert lines == [
        "Before the ECS task: The image is in eu-west-1 and the ECS task in us-east-1.",
        "Before the ECS task: The image could not be looked at. The role may not do this (AccessDeniedException: No). "
        "Ask for this permission in the role's policy.",
    ]


def test_an_aws_that_cannot_be_reached_is_a_warning_and_what_is_missing_is_named_together() -> None:
    def unreachable() -> Iterator[Finding]:
        raise EndpointConnectionError(endpoint_url="https://x")
        yield

    lines: list[str] = []
    looks = {"a": lambda: [("problem", "One.")], "b": unreachable, "c": lambda: [("problem", "Two.")]}
    with pytest.raises(JobNotReady, match=r"The training job was not started\. One\. Two\."):
        look_at_all("training job", looks, lines.append)  # type: ignore[arg-type]
    assert "b could not be looked at. AWS could not be reached" in lines[0]


def test_a_fault_of_our_own_is_no_warning() -> None:
    def client(service: str, region_name: str | None = None) -> object:
        raise KeyError(service)

    with pytest.raises(KeyError):
        look_at_all("ECS task", {"it": lambda: bucket("b", "ECS task", "eu-west-1", client)}, pytest.fail)
