"""release/sagemaker_following.py, release/sensors.py: the sensor looks once, alerts what it finds and cleans up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.release import sensors
from carsdepo_assets.release.sagemaker_services import SageMakerServicesResource
from carsdepo_assets.resources import LakeResource, NoService, PolicyResource, ServicesResource
from carsdepo_assets_tests.release.sagemaker_world import SageMakerWorld, pretending_aws, sagemaker

__all__ = ["pretending_aws", "sagemaker"]


def services_of(world: SageMakerWorld, wait_minutes: int = 1) -> SageMakerServicesResource:
    settings = world.settings.model_copy(update={"wait_minutes": wait_minutes})
    return SageMakerServicesResource(
        lake=world.lake.url,
        endpoints=settings.model_dump_json(),
        verification_key=str(world.keys.public),
        poll_s=0.01,
    )


def tick(world: SageMakerWorld, services: ServicesResource, home: Path) -> Any:
    context = dg.build_sensor_context(
        cursor="0",
        resources={
            "lake": LakeResource(url=world.lake.url, home=str(home)),
            "policy": PolicyResource(),
            "services": services,
            "alerts": AlertsResource(),
        },
    )
    return sensors.endpoints_follow_ledger.evaluate_tick(context)


@pytest.mark.slow
def test_the_sensor_follows_alerts_and_comes_to_rest(sagemaker: SageMakerWorld, tmp_path: Path) -> None:
    services = services_of(sagemaker)
    digest = sagemaker.model("one")
    sagemaker.say("promote", digest)
    assert "is being made" in tick(sagemaker, services, tmp_path).skip_message
    assert f"serves model {digest}" in tick(sagemaker, services, tmp_path).skip_message
    rest = tick(sagemaker, services, tmp_path)
    assert not rest.skip_message.startswith("Done")
    assert float(rest.cursor) > 0
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


@pytest.mark.slow
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
