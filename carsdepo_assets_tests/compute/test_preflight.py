"""compute/preflight.py: what a job needs is looked at before it starts; a look that is not allowed is a warning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from carsdepo_assets.compute.preflight import Needs, preflight
from carsdepo_assets.compute.preflight_checks import JobNotReady
from carsdepo_assets_tests.compute.sagemaker_cases import BUCKET, INSTANCE, emulated_aws
from deploy.emulators.sagemaker_on_moto import ACCOUNT, SageMakerOnMoto

pytestmark = pytest.mark.slow

PRINCIPAL = {"Service": "sagemaker.amazonaws.com"}
TRUST = {"Statement": [{"Effect": "Allow", "Principal": PRINCIPAL, "Action": "sts:AssumeRole"}]}
KIND = "application/vnd.docker.distribution.manifest.v2+json"
NEEDS = Needs(
    kind="training",
    instance_type=INSTANCE,
    instances=1,
    spot=False,
    warm_pool=False,
    image=f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/worker:1",
    role=f"arn:aws:iam::{ACCOUNT}:role/trainer",
    bucket=BUCKET,
    region="us-east-1",
)


@pytest.fixture(scope="module")
def one_aws() -> Iterator[SageMakerOnMoto]:
    with emulated_aws() as emulator:
        emulator.client("ecr").create_repository(repositoryName="worker")
        manifest = {"schemaVersion": 2, "mediaType": KIND, "config": {"digest": "sha256:" + "a" * 64}, "layers": []}
        emulator.client("ecr").put_image(
            repositoryName="worker", imageManifest=json.dumps(manifest), imageTag="1", imageManifestMediaType=KIND
        )
        iam = emulator.client("iam")
        iam.create_role(RoleName="trainer", AssumeRolePolicyDocument=json.dumps(TRUST))
        other = json.dumps(TRUST).replace("sagemaker", "ec2")
        iam.create_role(RoleName="of-another-service", AssumeRolePolicyDocument=other)
        s3 = emulator.client("s3")
        s3.create_bucket(Bucket="elsewhere", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield emulator


@pytest.fixture
def aws(one_aws: SageMakerOnMoto) -> SageMakerOnMoto:
    one_aws.faults.quotas = {f"{INSTANCE} for {u} job usage": 1 for u in ("training", "spot training", "processing")}
    return one_aws


def look(aws: SageMakerOnMoto, needs: Needs) -> list[str]:
    warnings: list[str] = []

    def client(service: str, region_name: str | None = None) -> Any:
        return aws.client(service)

    preflight(needs, client, warnings.append)
    return warnings


def test_what_is_all_there_passes_without_a_word(aws: SageMakerOnMoto) -> None:
    assert look(aws, NEEDS) == []
    assert look(aws, replace(NEEDS, spot=True)) == []
    assert look(aws, replace(NEEDS, kind="processing")) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"instance_type": "ml.g5.huge"}, ["no instance type ml.g5.huge", "ml.g5.xlarge"]),
        ({"instance_type": "ml.trn1.2xlarge"}, ["accelerator"]),
        ({"instances": 2}, ["is 1 in us-east-1", "needs 2", "Service Quotas", "--quota-code L-"]),
        ({"image": NEEDS.image.replace(":1", ":2")}, ["ImageNotFoundException", "docker push"]),
        ({"image": NEEDS.image.replace("worker", "other")}, ["RepositoryNotFoundException"]),
        ({"role": NEEDS.role.replace("trainer", "nobody")}, ["no role nobody", "IAM"]),
        ({"role": "trainer"}, ["no ARN of a role"]),
        ({"role": NEEDS.role.replace("trainer", "of-another-service")}, ["ec2.amazonaws.com", "trust relationships"]),
        ({"bucket": "elsewhere"}, ["in eu-central-1", "training job runs in us-east-1"]),
        ({"bucket": "nowhere"}, ["no bucket nowhere"]),
        ({"warm_pool": True, "spot": True}, ["warm pool", "keep_alive_s"]),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(
    change: dict[str, Any], words: list[str], aws: SageMakerOnMoto
) -> None:
    with pytest.raises(JobNotReady) as caught:
        look(aws, replace(NEEDS, **change))
    for word in words:
        assert word in (caught.value.description or "")


def test_everything_that_is_missing_is_named_at_once(aws: SageMakerOnMoto) -> None:
    aws.faults.quotas[f"{INSTANCE} for training job usage"] = 0
    with pytest.raises(JobNotReady) as caught:
        look(aws, replace(NEEDS, bucket="elsewhere", role=NEEDS.role.replace("trainer", "nobody")))
    for word in ("is 0 in us-east-1", "eu-central-1", "nobody"):
        assert word in (caught.value.description or "")


def test_a_look_that_is_not_allowed_is_a_warning(aws: SageMakerOnMoto) -> None:
    for operation in ("ListServiceQuotas", "DescribeImages"):
        aws.faults.fail(operation, "AccessDeniedException", "You may not look.")
    warnings = look(aws, NEEDS)
    assert len(warnings) == 2
    assert all("could not be looked at" in warning and "You may not look" in warning for warning in warnings)
    assert len(look(aws, replace(NEEDS, image="registry.example.com/worker:1"))) == 1
    aws.faults.quotas = {}
    assert any("lists no quota" in warning for warning in look(aws, NEEDS))


def test_a_fault_of_our_own_is_no_warning() -> None:
    def client(service: str) -> object:
        raise KeyError(service)

    with pytest.raises(KeyError):
        preflight(NEEDS, client, pytest.fail)
