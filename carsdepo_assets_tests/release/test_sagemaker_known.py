"""release/sagemaker_known.py: SageMaker's registry has what the ledger does not know, or lacks what it knows.

Each case is said once, with what either side says and what to do; nothing is deployed by any of them.
"""

from __future__ import annotations

from typing import Any

import pytest

from carsdepo_assets.registry import ledger
from carsdepo_assets.release.sagemaker_approvals import project_packages
from carsdepo_assets.release.sagemaker_findings import EndpointFinding
from carsdepo_assets.release.sagemaker_known import known_packages
from carsdepo_assets_tests.release.sagemaker_world import SageMakerWorld, pretending_aws, sagemaker
from carsdepo_assets_tests.release.test_sagemaker_packages import staged

pytestmark = pytest.mark.slow

__all__ = ["pretending_aws", "sagemaker"]
PENDING = "PendingManualApproval"


def project(world: SageMakerWorld) -> list[EndpointFinding]:
    return project_packages(world.lake, world.settings, world.clients("sagemaker"), s3=world.clients("s3"))


def made_by_hand(world: SageMakerWorld, description: str, status: str = PENDING) -> str:
    """The ARN of a package that no release made."""
    made = world.aws.client("sagemaker").create_model_package(
        ModelPackageGroupName="carsdepo",
        ModelPackageDescription=description,
        ModelApprovalStatus=status,
        InferenceSpecification={
            "Containers": [{"Image": "image", "ModelDataUrl": "s3://carsdepo/somewhere"}],
            "SupportedContentTypes": ["image/jpeg"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )
    return str(made["ModelPackageArn"])


def decisions(world: SageMakerWorld) -> list[str]:
    return [event.action for event in ledger.events(world.lake, "production")]


def test_an_unknown_package_that_is_approved_deploys_nothing_and_is_said(sagemaker: SageMakerWorld) -> None:
    staged(sagemaker, "one")
    arn = made_by_hand(sagemaker, "a model of somebody's")
    assert project(sagemaker) == []  # it waits: nobody has decided anything
    sagemaker.aws.decide_in_studio(arn, "Approved", "berta")
    (finding,) = project(sagemaker)
    assert (finding.title, finding.severity) == ("An unknown package", "warning")
    assert f"SageMaker says Approved of {arn}, and the ledger knows no such model" in finding.body
    assert project(sagemaker)[0].key == finding.key  # which is alerted once
    assert decisions(sagemaker) == []


@pytest.mark.parametrize("status", ["Approved", "Rejected"])
def test_a_package_named_as_ours_of_a_model_that_the_lake_lacks_is_no_decision(
    sagemaker: SageMakerWorld, status: str
) -> None:
    staged(sagemaker, "one")
    arn = made_by_hand(sagemaker, "carsdepo model 0123456789abcdef version 9: forged", status)
    findings = [f for f in project(sagemaker) if f.title == "An unknown package"]
    assert [f.key for f in findings] == [f"package:{arn}:unknown:{status}"]
    assert "the lake has no such model" in findings[0].body
    assert decisions(sagemaker) == []


def test_a_package_that_lost_its_record_is_set_back_and_said(sagemaker: SageMakerWorld) -> None:
    (digest,) = staged(sagemaker, "one")
    arn = sagemaker.package(digest)["ModelPackageArn"]
    sagemaker.aws._package(arn).customer_metadata_properties = {"version": "1"}  # taken away by hand
    sagemaker.aws.decide_in_studio(arn, "Approved", "berta")
    (finding,) = project(sagemaker)
    assert finding.title == "A model package disagreed with the ledger"
    for part in ("SageMaker says Approved", "berta@studio", f"the ledger says {PENDING}", "carsdepo approve"):
        assert part in finding.body
    assert sagemaker.package(digest)["ModelApprovalStatus"] == PENDING
    assert decisions(sagemaker) == []
    assert project(sagemaker) == []


def test_the_package_of_what_is_served_is_made_again_with_the_ledgers_status(sagemaker: SageMakerWorld) -> None:
    one, two = staged(sagemaker, "one", "two")
    sagemaker.say("promote", one)
    sagemaker.until("serving")
    project(sagemaker)
    arns = known_packages(sagemaker.lake, sagemaker.settings)
    assert set(arns) == {one, two}
    client: Any = sagemaker.aws.client("sagemaker")
    client.delete_model_package(ModelPackageName=arns[one])
    (finding,) = project(sagemaker)
    assert finding.title == "A model package was deleted"
    assert "The ledger knows the model all the same" in finding.body
    assert "was made again as" in finding.body
    assert project(sagemaker) == []
    package = sagemaker.package(one)
    assert package["ModelPackageArn"] != arns[one]
    assert package["ModelApprovalStatus"] == "Approved"
    assert decisions(sagemaker) == ["promote"]


def test_the_package_of_a_model_that_nobody_serves_stays_away(sagemaker: SageMakerWorld) -> None:
    one, _ = staged(sagemaker, "one", "two")
    project(sagemaker)
    client: Any = sagemaker.aws.client("sagemaker")
    client.delete_model_package(ModelPackageName=sagemaker.package(one)["ModelPackageArn"])
    (finding,) = project(sagemaker)
    assert "stays away" in finding.body
    assert project(sagemaker) == []
    assert len(sagemaker.packages()) == 1


def test_a_rejected_champion_serves_on_and_it_is_said(sagemaker: SageMakerWorld) -> None:
    (digest,) = staged(sagemaker, "one")
    sagemaker.say("promote", digest)
    sagemaker.until("serving")
    project(sagemaker)
    sagemaker.aws.decide_in_studio(sagemaker.package(digest)["ModelPackageArn"], "Rejected", "carl", "broken")
    (finding,) = project(sagemaker)
    assert "Production serves this model and goes on: `carsdepo rollback`" in finding.body
    assert sagemaker.until("serving")[0].digest == digest
