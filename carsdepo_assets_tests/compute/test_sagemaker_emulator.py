"""deploy/emulators: the emulated SageMaker refuses what AWS refuses, and says which of moto's internals moved."""

from __future__ import annotations

import functools
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.compute.preflight import preflight
from carsdepo_assets.compute.sagemaker import SageMakerCompute
from carsdepo_assets.compute.settings_file import read_compute
from carsdepo_assets_tests.compute.sagemaker_cases import BUCKET, emulated_aws, params
from deploy.emulators import sagemaker_on_moto
from deploy.emulators.sagemaker_on_moto import SageMakerOnMoto, internals

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def aws() -> Iterator[SageMakerOnMoto]:
    with emulated_aws() as emulator:
        yield emulator


def test_motos_internals_are_where_the_emulator_expects_them() -> None:
    """The canary: a new moto fails here first, and the message names what moved."""
    assert internals() == []


def test_the_canary_names_what_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.sagemaker.responses import SageMakerResponse

    monkeypatch.setattr(sagemaker_on_moto, "MOTO", "0.0.0")
    monkeypatch.delattr(SageMakerResponse, "create_training_job")
    broken = " ".join(internals())
    assert "is not 0.0.0" in broken
    assert "SageMakerResponse.create_training_job(self) is not there" in broken


def test_motos_own_methods_come_back() -> None:
    from moto.sagemaker.responses import SageMakerResponse

    before = SageMakerResponse.create_training_job
    with emulated_aws():
        assert SageMakerResponse.create_training_job is not before
    assert SageMakerResponse.create_training_job is before
    assert not hasattr(SageMakerResponse, "stop_training_job")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Environment": {"V": "x" * 513}}, "less than or equal to 512"),
        ({"HyperParameters": {"V": "x\ny"}}, "regular expression"),
        ({"ResourceConfig": {"InstanceType": "ml.z9.huge", "InstanceCount": 1}}, "enum value set"),
    ],
)
def test_limits_of_the_api_are_kept(change: dict[str, object], words: str, aws: SageMakerOnMoto) -> None:
    with pytest.raises(ClientError, match=words):
        aws.client("sagemaker").create_training_job(
            TrainingJobName="refused", **{**params(aws, {"does": "report"}), **change}
        )
    with pytest.raises(ClientError, match="less than or equal to 63"):
        aws.client("sagemaker").describe_training_job(TrainingJobName="x" * 64)
    assert "refused" not in aws.jobs


def test_a_container_that_ignores_sigterm_is_killed(aws: SageMakerOnMoto) -> None:
    grace, aws.settings.grace_s = aws.settings.grace_s, 0.5
    aws.client("sagemaker").create_training_job(TrainingJobName="stubborn", **params(aws, {"does": "stubborn"}))
    job = aws.job("stubborn", "Training")
    aws.client("sagemaker").stop_training_job(TrainingJobName="stubborn")
    assert job.join(30)
    aws.settings.grace_s = grace
    assert job.status == "Stopped"
    with pytest.raises(ClientError, match="in status Stopped"):
        aws.client("sagemaker").stop_training_job(TrainingJobName="stubborn")
    with pytest.raises(ClientError, match="unique"):
        aws.client("sagemaker").create_training_job(TrainingJobName="stubborn", **params(aws, {"does": "report"}))
    assert "process" in aws.runner.words
    assert aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="output/stubborn/")["KeyCount"] == 1


def test_the_command_makes_all_that_a_job_needs_and_ends_without_a_trace(tmp_path: Path) -> None:
    file = tmp_path / "compute.toml"
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.emulators.sagemaker_on_moto", "--file", str(file)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    variables: dict[str, str] = {}
    while "CARSDEPO_LAKE" not in variables:
        line = process.stdout.readline()
        assert line, process.communicate()
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").rstrip().partition("=")
            variables[name] = value
    try:
        assert variables["CARSDEPO_COMPUTE"] == str(file)
        compute = read_compute(file, LocalCompute())
        assert compute.place_of("candidate_model") == "sagemaker"
        target = compute.target("sagemaker")
        assert isinstance(target, SageMakerCompute)
        assert target.hardware("train").device == "cpu"
        session = boto3.Session("AKIA", "emulated", region_name=variables["AWS_DEFAULT_REGION"])
        client = functools.partial(session.client, endpoint_url=variables["AWS_ENDPOINT_URL"])
        warnings: list[str] = []
        preflight(target.needs("train", "us-east-1"), client, warnings.append)
        assert [w for w in warnings if "quota" not in w.lower()] == []
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in err
