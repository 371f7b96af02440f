"""release/sagemaker_packages.py, release/sagemaker_approvals.py: packages show the ledger, Studio's decisions reach it.

Every test has an AWS of its own.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.ledger import LedgerHistory
from carsdepo_assets.release.sagemaker_approvals import project_packages
from carsdepo_assets.release.sagemaker_findings import EndpointFinding
from carsdepo_assets.release.sagemaker_packages import read_package, show_status, wanted_status
from carsdepo_assets_tests.release.sagemaker_world import SageMakerWorld, pretending_aws, sagemaker

pytestmark = pytest.mark.slow

__all__ = ["pretending_aws", "sagemaker"]


def project(world: SageMakerWorld) -> list[EndpointFinding]:
    return project_packages(world.lake, world.settings, world.clients("sagemaker"))


def staged(world: SageMakerWorld, *names: str) -> list[str]:
    """Models that were at staging one after the other, so that each has a package."""
    digests = [world.model(name) for name in names]
    for number, digest in enumerate(digests, 1):
        world.say("deploy", digest, version=number)
        world.until("serving", "staging")
    return digests


def test_a_package_has_digest_figures_card_and_lineage_and_waits(sagemaker: SageMakerWorld) -> None:
    (digest,) = staged(sagemaker, "one")
    package = sagemaker.package(digest)
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    metadata = package["CustomerMetadataProperties"]
    assert (metadata["digest"], metadata["version"], metadata["dataset_version"]) == (digest, "1", "0123456789abcdef")
    assert package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"].endswith("/model.tar.gz")
    s3 = sagemaker.aws.client("s3")
    for url in (metadata["card"], metadata["lineage"], package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]):
        bucket, _, key = url.removeprefix("s3://").partition("/")
        assert isinstance(json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read()), dict)


def test_a_package_that_waits_deploys_nothing_to_production(sagemaker: SageMakerWorld) -> None:
    staged(sagemaker, "one")
    assert project(sagemaker) == []
    assert sagemaker.follower().look("production").status == "empty"
    assert sagemaker.made()["endpoints"] == ["carsdepo-staging"]


def test_the_ledgers_decisions_reach_the_package(sagemaker: SageMakerWorld) -> None:
    (digest,) = staged(sagemaker, "one")
    for action, status in (("reject", "Rejected"), ("approve", "Approved")):
        sagemaker.say(action, digest)  # type: ignore[arg-type]
        assert project(sagemaker) == []
        package = sagemaker.package(digest)
        assert package["ModelApprovalStatus"] == status
        assert f"{action} by ann@desk: a test" in package["ApprovalDescription"]
    updates = sagemaker.aws.faults.count("UpdateModelPackage")
    assert project(sagemaker) == []
    assert sagemaker.aws.faults.count("UpdateModelPackage") == updates


def test_a_decision_in_studio_reaches_the_ledger_once_with_its_person(sagemaker: SageMakerWorld) -> None:
    (digest,) = staged(sagemaker, "one")
    arn = sagemaker.package(digest)["ModelPackageArn"]
    sagemaker.aws.decide_in_studio(arn, "Approved", "berta", "looks right")
    event = sagemaker.aws.events[-1]
    assert (event["detail-type"], event["resources"]) == ("SageMaker Model Package State Change", [arn])
    (finding,) = project_packages(
        sagemaker.lake, sagemaker.settings, sagemaker.clients("sagemaker"), event["resources"]
    )
    assert "entered in the ledger" in finding.body
    (decision,) = ledger.events(sagemaker.lake, "production")
    assert (decision.action, decision.actor, decision.reason) == ("approve", "berta@studio", "looks right")
    assert decision.digest == digest
    assert project(sagemaker) == []
    sagemaker.aws.decide_in_studio(arn, "Rejected", "carl")
    project(sagemaker)
    assert [e.actor for e in ledger.events(sagemaker.lake, "production")] == ["berta@studio", "carl@studio"]
    assert digest in LedgerHistory.read(sagemaker.lake).barred


def test_killed_between_ledger_and_package_the_decision_is_entered_once(sagemaker: SageMakerWorld) -> None:
    (digest,) = staged(sagemaker, "one")
    arn = sagemaker.package(digest)["ModelPackageArn"]
    sagemaker.aws.decide_in_studio(arn, "Approved", "berta")
    sagemaker.aws.faults.fail("UpdateModelPackage", "AccessDeniedException")
    with pytest.raises(ClientError, match="AccessDenied"):
        project(sagemaker)
    assert project(sagemaker) == []
    assert [e.action for e in ledger.events(sagemaker.lake, "production")] == ["approve"]
    assert sagemaker.package(digest)["CustomerMetadataProperties"]["ledger_status"] == "Approved"


def test_where_both_decided_the_ledgers_stands_and_it_is_said(sagemaker: SageMakerWorld) -> None:
    (digest,) = staged(sagemaker, "one")
    sagemaker.say("reject", digest)
    sagemaker.aws.decide_in_studio(sagemaker.package(digest)["ModelPackageArn"], "Approved", "berta")
    (finding,) = project(sagemaker)
    assert finding.title == "A model package disagreed with the ledger"
    assert "berta@studio" in finding.body
    assert "reject by ann@desk" in finding.body
    assert sagemaker.package(digest)["ModelApprovalStatus"] == "Rejected"
    assert [e.action for e in ledger.events(sagemaker.lake, "production")] == ["reject"]
    assert project(sagemaker) == []


def test_set_back_to_pending_is_no_decision(sagemaker: SageMakerWorld) -> None:
    (digest,) = staged(sagemaker, "one")
    sagemaker.say("approve", digest)
    project(sagemaker)
    sagemaker.aws.decide_in_studio(sagemaker.package(digest)["ModelPackageArn"], "PendingManualApproval", "berta")
    (finding,) = project(sagemaker)
    assert "set version 1 back to pending" in finding.body
    assert sagemaker.package(digest)["ModelApprovalStatus"] == "Approved"


def test_two_packages_approved_at_once_are_said_and_the_last_one_is_promoted(sagemaker: SageMakerWorld) -> None:
    one, two = staged(sagemaker, "one", "two")
    for digest in (two, one):
        sagemaker.aws.pass_time(seconds=1)
        sagemaker.aws.decide_in_studio(sagemaker.package(digest)["ModelPackageArn"], "Approved", "berta")
    several = [f for f in project(sagemaker) if f.title == "Several models are approved at once"]
    assert len(several) == 1
    assert f"version 2 ({two}), version 1 ({one})" in several[0].body
    waiting = LedgerHistory.read(sagemaker.lake).pending_approval
    assert waiting is not None
    assert waiting.digest == one
    assert [f.key for f in project(sagemaker)] == [several[0].key]
    sagemaker.say("promote", one)
    assert project(sagemaker) == []


def test_a_package_that_a_person_deleted_is_made_again_at_the_next_deployment(sagemaker: SageMakerWorld) -> None:
    (digest,) = staged(sagemaker, "one")
    arn = sagemaker.package(digest)["ModelPackageArn"]
    sagemaker.aws.client("sagemaker").delete_model_package(ModelPackageName=arn)
    assert project(sagemaker) == []
    sagemaker.say("promote", digest)
    sagemaker.until("serving")
    assert sagemaker.package(digest)["ModelApprovalStatus"] == "Approved"


def test_a_package_that_sagemaker_refuses_to_change_holds_up_no_other(sagemaker: SageMakerWorld) -> None:
    one, two = staged(sagemaker, "one", "two")
    sagemaker.say("reject", one)
    sagemaker.say("reject", two)
    sagemaker.aws.faults.fail("UpdateModelPackage", "ValidationException", "it is Failed")
    assert [finding.title for finding in project(sagemaker)] == ["A model package cannot be changed"]
    assert sorted(p["ModelApprovalStatus"] for p in sagemaker.packages()) == ["PendingManualApproval", "Rejected"]


def test_metadata_of_people_leave_place_for_the_ledgers(sagemaker: SageMakerWorld) -> None:
    (digest,) = staged(sagemaker, "one")
    package = read_package(sagemaker.aws.client("sagemaker"), sagemaker.package(digest)["ModelPackageArn"])
    assert package is not None
    asked: list[dict[str, str]] = []

    class Client:
        def update_model_package(self, CustomerMetadataProperties: dict[str, str], **_: str) -> None:
            asked.append(CustomerMetadataProperties)

    theirs = {f"team{n}": "x" for n in range(49 - len(package.metadata))}
    full = replace(package, metadata={**package.metadata, **theirs})
    event = sagemaker.say("reject", digest)
    assert show_status(full, LedgerHistory.read(sagemaker.lake), sagemaker.lake, Client())
    (told,) = asked
    assert len(told) == 50  # the most that SageMaker takes
    assert (told["ledger_status"], told["ledger_sequence"]) == ("Rejected", str(event.sequence))
    assert theirs.items() <= told.items()


def test_what_the_ledger_says_of_a_model(sagemaker: SageMakerWorld) -> None:
    one, two = "1" * 16, "2" * 16

    def said() -> list[str]:
        history = LedgerHistory.read(sagemaker.lake)
        return [wanted_status(history, digest)[0] for digest in (one, two)]

    assert said() == ["PendingManualApproval"] * 2
    sagemaker.say("promote", one)
    assert said() == ["Approved", "PendingManualApproval"]
    sagemaker.say("promote", two)
    sagemaker.say("rollback", one)
    assert said() == ["Approved", "Rejected"]
    sagemaker.say("approve", two)
    assert said() == ["Approved", "Approved"]
