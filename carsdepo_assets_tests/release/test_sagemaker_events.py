"""release/sagemaker_events.py: SageMaker's events of packages and endpoints, and what is refused as none."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from carsdepo_assets.release.sagemaker_events import (
    DEPLOYMENT_EVENT,
    ENDPOINT_EVENT,
    PACKAGE_EVENT,
    EndpointEvent,
    ModelPackageEvent,
    UnreadableEvent,
    parse_model_event,
)
from deploy.aws.templates import template

AT = datetime(2026, 11, 27, 4, 0, 14, tzinfo=UTC)
PACKAGE: dict[str, Any] = {
    "version": "0",
    "id": "844e2571-85d4-695f-b930-0153b71dcb42",
    "detail-type": PACKAGE_EVENT,
    "source": "aws.sagemaker",
    "account": "123456789012",
    "time": "2026-11-27T04:00:14Z",
    "region": "eu-west-1",
    "resources": ["arn:aws:sagemaker:eu-west-1:123456789012:model-package/carsdepo/7"],
    "detail": {
        "ModelPackageName": "carsdepo/7",
        "ModelPackageGroupName": "Carsdepo",
        "ModelPackageVersion": 7,
        "ModelPackageArn": "arn:aws:sagemaker:eu-west-1:123456789012:model-package/carsdepo/7",
        "CreationTime": "2026-11-27T03:00:14Z",
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": []},
        "ModelApprovalStatus": "Approved",
        "ApprovalDescription": "seen on ten cars",
    },
}
ENDPOINT: dict[str, Any] = {
    **PACKAGE,
    "detail-type": ENDPOINT_EVENT,
    "resources": ["arn:aws:sagemaker:eu-west-1:123456789012:endpoint/carsdepo-production"],
    "detail": {
        "EndpointName": "Carsdepo-Production",
        "EndpointArn": "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/carsdepo-production",
        "EndpointConfigName": "carsdepo-0123abcd",
        "ProductionVariants": [{"VariantName": "all", "CurrentWeight": 1, "DesiredWeight": 1}],
        "EndpointStatus": "IN_SERVICE",
        "CreationTime": 1583831889050,
        "LastModifiedTime": 1583831889050,
        "Tags": {},
    },
}


def _but(event: dict[str, Any], **changed: Any) -> str:
    """The event with other values in its detail, and without those that are None."""
    detail = {k: v for k, v in {**event["detail"], **changed}.items() if v is not None}
    return json.dumps({**event, "detail": detail})


def test_a_package_that_a_person_approved() -> None:
    assert parse_model_event(json.dumps(PACKAGE)) == ModelPackageEvent(
        event_id=PACKAGE["id"],
        at=AT,
        arn=PACKAGE["detail"]["ModelPackageArn"],
        group="Carsdepo",
        version=7,
        status="Completed",
        approval="Approved",
        description="seen on ten cars",
    )


def test_an_endpoint_in_service_by_a_topic() -> None:
    by_topic = json.dumps({"Type": "Notification", "Message": json.dumps(ENDPOINT)})
    assert parse_model_event(by_topic) == EndpointEvent(
        event_id=PACKAGE["id"],
        at=AT,
        arn=ENDPOINT["detail"]["EndpointArn"],
        name="Carsdepo-Production",
        status="InService",
        config="carsdepo-0123abcd",
        failure="",
    )


@pytest.mark.parametrize(
    ("written", "status"),
    [
        ("IN_SERVICE", "InService"),
        ("InService", "InService"),
        ("ROLLING_BACK", "RollingBack"),
        ("UPDATE_ROLLBACK_FAILED", "UpdateRollbackFailed"),
        ("FAILED", "Failed"),
        ("DELETING", "Deleting"),
    ],
)
def test_the_status_of_an_endpoint_is_as_describe_endpoint_writes_it(written: str, status: str) -> None:
    event = parse_model_event(_but(ENDPOINT, EndpointStatus=written, EndpointConfigName=None, FailureReason="no GPU"))
    assert isinstance(event, EndpointEvent)
    assert (event.status, event.config, event.failure) == (status, "", "no GPU")


def test_a_package_without_a_group_name_is_of_the_group_in_its_arn() -> None:
    event = parse_model_event(_but(PACKAGE, ModelPackageGroupName=None, ApprovalDescription=None))
    assert isinstance(event, ModelPackageEvent)
    assert (event.group, event.version, event.description) == ("carsdepo", 7, "")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("hello", "no JSON"),
        ("[]", "no JSON object"),
        (json.dumps({**PACKAGE, "source": "aws.s3"}), "source is 'aws.s3'"),
        (json.dumps({**PACKAGE, "detail-type": "SageMaker Training Job State Change"}), "neither of a package nor"),
        (json.dumps({**PACKAGE, "detail": None}), "no detail"),
        (json.dumps({**PACKAGE, "id": None}), "no id"),
        (json.dumps({**PACKAGE, "time": "soon"}), "time 'soon' is none"),
        (json.dumps({**PACKAGE, "time": "2026-11-27T04:00:14"}), "no time zone"),
        (_but(PACKAGE, ModelPackageArn=None), "ModelPackageArn is missing"),
        (_but(PACKAGE, ModelPackageArn=7), "ModelPackageArn is missing"),
        (_but(PACKAGE, ModelPackageArn="arn:aws:sagemaker:eu-west-1:1:model-package/alone"), "names no version"),
        (_but(PACKAGE, ModelPackageArn=f"arn:aws:sagemaker:eu-west-1:1:model-package/a/{'9' * 5000}"), "names no ver"),
        (_but(PACKAGE, ModelApprovalStatus=None), "ModelApprovalStatus is missing"),
        (_but(PACKAGE, ModelApprovalStatus="Perhaps"), "ModelApprovalStatus 'Perhaps' is none of Approved"),
        (_but(PACKAGE, ModelPackageStatus="Lost"), "ModelPackageStatus 'Lost' is none of"),
        (_but(ENDPOINT, EndpointArn="arn:aws:s3:::a"), "names no endpoint"),
        (_but(ENDPOINT, EndpointName=None), "EndpointName is missing"),
        (_but(ENDPOINT, EndpointStatus="ASLEEP"), "EndpointStatus 'ASLEEP' is none of"),
    ],
)
def test_what_is_no_such_event_is_refused_with_the_reason(body: str, reason: str) -> None:
    with pytest.raises(UnreadableEvent, match=reason):
        parse_model_event(body)


def test_what_the_templates_have_sent_to_the_queue_is_read() -> None:
    rules = [r for r in template("data")["Resources"].values() if r["Type"] == "AWS::Events::Rule"]
    patterns = [rule["Properties"]["EventPattern"] for rule in rules]
    sent = {kind for p in patterns if p["source"] == ["aws.sagemaker"] for kind in p["detail-type"]}
    assert sent == {PACKAGE_EVENT, ENDPOINT_EVENT, DEPLOYMENT_EVENT}
    assert parse_model_event(json.dumps({"source": "aws.sagemaker", "detail-type": DEPLOYMENT_EVENT})) is None
