"""release/sagemaker_following.py, release/sensors.py: the sensor looks once, alerts what it finds and cleans up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry import ledger
from carsdepo_assets.release import sagemaker_news, sensors
from carsdepo_assets.release.sagemaker_following import SELDOM_S, Remembered, follow
from carsdepo_assets.release.sagemaker_services import SageMakerServicesResource
from carsdepo_assets.resources import LakeResource, NoService, PolicyResource, ServicesResource
from carsdepo_assets_tests.release.sagemaker_world import SageMakerWorld, pretending_aws, sagemaker

pytestmark = pytest.mark.slow

__all__ = ["pretending_aws", "sagemaker"]


def services_of(
    world: SageMakerWorld, wait_minutes: int = 1, models_queue: str | None = None
) -> SageMakerServicesResource:
    settings = world.settings.model_copy(update={"wait_minutes": wait_minutes})
    return SageMakerServicesResource(
        lake=world.lake.url,
        endpoints=settings.model_dump_json(),
        verification_key=str(world.keys.public),
        poll_s=0.01,
        models_queue=models_queue,
    )


def tick(world: SageMakerWorld, services: ServicesResource, home: Path) -> Any:
    context = dg.build_sensor_context(
        cursor="of another form",
        resources={
            "lake": LakeResource(url=world.lake.url, home=str(home)),
            "policy": PolicyResource(),
            "services": services,
            "alerts": AlertsResource(),
        },
    )
    return sensors.endpoints_follow_ledger.evaluate_tick(context)


def test_the_sensor_follows_alerts_and_comes_to_rest(sagemaker: SageMakerWorld, tmp_path: Path) -> None:
    services = services_of(sagemaker)
    digest = sagemaker.model("one")
    sagemaker.say("promote", digest)
    assert "is being made" in tick(sagemaker, services, tmp_path).skip_message
    assert f"serves model {digest}" in tick(sagemaker, services, tmp_path).skip_message
    rest = tick(sagemaker, services, tmp_path)
    assert not rest.skip_message.startswith("Done")
    assert Remembered.of(rest.cursor).cleaned_at > 0
    sagemaker.aws.client("sagemaker").delete_endpoint(EndpointName="carsdepo-production")
    for _ in range(2):
        tick(sagemaker, services, tmp_path)
    (alert,) = sagemaker.lake.read("alerts").to_pylist()
    assert (alert["kind"], alert["severity"], alert["title"]) == (
        "endpoint", "critical", "The production endpoint was deleted"
    )  # fmt: skip


def test_other_services_are_left_alone(sagemaker: SageMakerWorld, tmp_path: Path) -> None:
    over_http = ServicesResource(production="http://127.0.0.1:9", staging="http://127.0.0.1:9")
    sagemaker.say("promote", sagemaker.model("one"))
    assert "by themselves" in tick(sagemaker, over_http, tmp_path).skip_message
    assert sagemaker.aws.faults.count("CreateEndpoint") == 0


def test_who_waits_has_the_endpoint_follow_and_a_rollback_ends_the_wait(sagemaker: SageMakerWorld) -> None:
    services = services_of(sagemaker)
    one, two = sagemaker.model("one"), sagemaker.model("two")
    assert services.health("production")["status"] == "empty"
    sagemaker.say("promote", one)
    seen: list[str] = []
    health = services.wait_for("production", one, 1, waiting=lambda health: seen.append(health["status"]))
    assert (health["digest"], seen) == (one, ["loading"])
    assert services.health("production")["digest"] == one
    sagemaker.aws.alarming, sagemaker.aws.silent = {"carsdepo-errors"}, True
    sagemaker.say("promote", two, version=2)
    with pytest.raises(NoService, match=r"does not serve model .* rolled carsdepo-production back"):
        services.wait_for("production", two, 1)
    assert services.health("production")["digest"] == one


def test_trouble_that_passes_is_waited_for_and_a_refusal_is_said(sagemaker: SageMakerWorld) -> None:
    services = services_of(sagemaker)
    digest = sagemaker.model("one")
    sagemaker.say("promote", digest)
    sagemaker.aws.faults.fail("DescribeEndpoint", "ThrottlingException")
    assert services.wait_for("production", digest, 1)["digest"] == digest
    sagemaker.say("promote", sagemaker.model("two"))
    sagemaker.aws.faults.fail("CreateModel", "AccessDeniedException", "not allowed: iam:PassRole")
    with pytest.raises(NoService, match=r"cannot be changed: .*PassRole"):
        services.wait_for("production", sagemaker.model("two"), 1)


@pytest.fixture
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulated queue gives all that it has at once."""
    monkeypatch.setattr(sagemaker_news, "_WAIT_S", 0)


def with_packages_and_events(world: SageMakerWorld) -> tuple[SageMakerServicesResource, list[str], Remembered]:
    """Two models with packages, a queue that gets events, and what a round of looks at rest remembers."""
    digests = [world.model("one"), world.model("two")]
    for digest in digests:
        world.say("deploy", digest)
        world.until("serving", "staging")
    sqs = world.aws.client("sqs")
    world.aws.queue_url = str(sqs.create_queue(QueueName="models")["QueueUrl"])
    services = services_of(world, models_queue=world.aws.queue_url)
    remembered = follow(world.lake, Policy(), services).remembered
    return services, [world.package(digest)["ModelPackageArn"] for digest in digests], remembered


def waiting_messages(world: SageMakerWorld) -> tuple[int, int]:
    """Messages of the queue that can be received, and those that were received and not deleted."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    attributes = world.aws.client("sqs").get_queue_attributes(QueueUrl=world.aws.queue_url, AttributeNames=names)
    return tuple(int(attributes["Attributes"][name]) for name in names)  # type: ignore[return-value]


@pytest.mark.usefixtures("_no_wait")
def test_an_event_has_its_package_looked_at_alone_and_is_deleted_then(sagemaker: SageMakerWorld) -> None:
    services, (one, _), remembered = with_packages_and_events(sagemaker)
    quiet = follow(sagemaker.lake, Policy(), services, remembered)  # takes what the packages' own creation told
    before = sagemaker.aws.faults.count("DescribeModelPackage")
    follow(sagemaker.lake, Policy(), services, quiet.remembered)
    assert sagemaker.aws.faults.count("DescribeModelPackage") == before  # nothing is asked where nothing is told
    sagemaker.aws.decide_in_studio(one, "Approved", "berta", "looks right")
    sagemaker.aws.client("sqs").send_message(QueueUrl=sagemaker.aws.queue_url, MessageBody="no event")
    told = follow(sagemaker.lake, Policy(), services, quiet.remembered)
    assert sagemaker.aws.faults.count("DescribeModelPackage") == before + 1
    assert [e.actor for e in ledger.events(sagemaker.lake, "production")] == ["berta@studio"]
    assert [finding.title for finding in told.findings] == [
        "An event of SageMaker could not be read",
        "A decision about version 1 came from SageMaker",
    ]
    # The ledger has changed, so that all packages are looked at; what the round before told SageMaker is an event, too.
    follow(sagemaker.lake, Policy(), services, told.remembered)
    assert sagemaker.aws.faults.count("DescribeModelPackage") == before + 3
    assert waiting_messages(sagemaker) == (0, 1)  # what cannot be read stays for the dead-letter queue


@pytest.mark.usefixtures("_no_wait")
def test_what_events_lost_is_found_later(sagemaker: SageMakerWorld) -> None:
    services, (one, _), remembered = with_packages_and_events(sagemaker)
    sagemaker.aws.queue_url = None  # the event is lost
    sagemaker.aws.decide_in_studio(one, "Rejected", "carl")
    follow(sagemaker.lake, Policy(), services, remembered)
    assert ledger.events(sagemaker.lake, "production") == []
    later = remembered.model_copy(update={"packages_at": remembered.packages_at - SELDOM_S})
    follow(sagemaker.lake, Policy(), services, later)
    assert [e.actor for e in ledger.events(sagemaker.lake, "production")] == ["carl@studio"]


@pytest.mark.usefixtures("_no_wait")
def test_a_round_that_is_cut_off_deletes_no_message(sagemaker: SageMakerWorld) -> None:
    services, (one, _), remembered = with_packages_and_events(sagemaker)
    follow(sagemaker.lake, Policy(), services, remembered)  # takes the events of before
    sagemaker.aws.decide_in_studio(one, "Approved", "berta")
    sagemaker.aws.faults.fail("DescribeModelPackage", "AccessDeniedException")
    (error,) = follow(sagemaker.lake, Policy(), services, remembered).errors
    assert "AccessDenied" in str(error)
    assert waiting_messages(sagemaker) == (0, 1)
    assert ledger.events(sagemaker.lake, "production") == []


def test_what_keeps_one_part_from_being_done_keeps_no_other(sagemaker: SageMakerWorld, tmp_path: Path) -> None:
    services, faults = services_of(sagemaker), sagemaker.aws.faults
    sagemaker.say("deploy", sagemaker.model("one"))
    sagemaker.say("promote", sagemaker.model("two"))
    faults.fail("CreateEndpointConfig", "ResourceLimitExceeded", "the quota is 0")  # staging's, which comes first
    faults.fail("DescribeModelPackageGroup", "AccessDeniedException")  # of the look at packages
    with pytest.raises(Exception, match="AccessDenied") as raised:
        tick(sagemaker, services, tmp_path)
    assert "the quota is 0" in "".join(raised.value.__notes__)
    assert sagemaker.made()["endpoints"] == ["carsdepo-production"]


@pytest.mark.usefixtures("_no_wait")
def test_a_step_of_an_update_is_no_news_and_is_deleted(sagemaker: SageMakerWorld) -> None:
    sqs = sagemaker.aws.client("sqs")
    sagemaker.aws.queue_url = str(sqs.create_queue(QueueName="models")["QueueUrl"])
    step = {"source": "aws.sagemaker", "detail-type": "SageMaker Endpoint Deployment State Change", "detail": {}}
    sqs.send_message(QueueUrl=sagemaker.aws.queue_url, MessageBody=json.dumps(step))
    services = services_of(sagemaker, models_queue=sagemaker.aws.queue_url)
    assert follow(sagemaker.lake, Policy(), services).findings == ()
    assert waiting_messages(sagemaker) == (0, 0)


@pytest.mark.usefixtures("_no_wait")
def test_a_text_that_is_not_utf8_is_alerted_and_stops_nothing(sagemaker: SageMakerWorld, tmp_path: Path) -> None:
    sqs = sagemaker.aws.client("sqs")
    sagemaker.aws.queue_url = str(sqs.create_queue(QueueName="models")["QueueUrl"])
    sqs.send_message(QueueUrl=sagemaker.aws.queue_url, MessageBody='{"Type": "Notification", "Message": "\\ud800"}')
    tick(sagemaker, services_of(sagemaker, models_queue=sagemaker.aws.queue_url), tmp_path)
    (alert,) = sagemaker.lake.read("alerts").to_pylist()
    assert "it is no JSON: \\ud800." in alert["body"]
