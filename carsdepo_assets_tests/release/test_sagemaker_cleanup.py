"""release/sagemaker_cleanup.py, release/sagemaker_following.py: idle endpoints and what is left behind are removed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

from carsdepo_assets.release.sagemaker_cleanup import remove_idle, remove_left_behind
from carsdepo_assets_tests.release.sagemaker_world import SageMakerWorld, pretending_aws, sagemaker

pytestmark = pytest.mark.slow

__all__ = ["pretending_aws", "sagemaker"]


def idle(world: SageMakerWorld) -> str | None:
    return remove_idle(world.lake, world.settings, world.clients, world.aws.now)


def test_staging_is_removed_when_nobody_asks_it_and_a_release_brings_it_back(sagemaker: SageMakerWorld) -> None:
    digest = sagemaker.model("one")
    sagemaker.say("deploy", digest)
    sagemaker.until("serving", "staging")
    sagemaker.aws.pass_time(minutes=50)
    assert idle(sagemaker) is None
    sagemaker.until("serving", "staging")  # a question is a request
    sagemaker.aws.pass_time(minutes=50)
    assert idle(sagemaker) is None
    sagemaker.aws.pass_time(minutes=60)
    assert "carsdepo-staging was removed" in str(idle(sagemaker))
    state = sagemaker.follower().look("staging")
    assert (state.status, state.findings) == ("empty", ())
    assert "nobody had asked it anything for 60 minutes" in state.message
    state, titles = sagemaker.until("serving", "staging", wakes=True)
    assert (state.digest, titles) == (digest, [])


def test_killed_between_note_and_removal_it_is_removed_at_the_next_look(sagemaker: SageMakerWorld) -> None:
    sagemaker.say("deploy", sagemaker.model("one"))
    sagemaker.until("serving", "staging")
    sagemaker.aws.pass_time(hours=3)
    sagemaker.aws.faults.fail("DeleteEndpoint", "AccessDeniedException")
    with pytest.raises(ClientError, match="AccessDenied"):
        idle(sagemaker)
    assert sagemaker.made()["endpoints"] == ["carsdepo-staging"]
    assert idle(sagemaker) is not None
    assert sagemaker.made()["endpoints"] == []


def test_production_and_an_endpoint_that_never_served_are_not_removed(sagemaker: SageMakerWorld) -> None:
    digest = sagemaker.model("one")
    sagemaker.say("promote", digest)
    sagemaker.until("serving")
    sagemaker.say("deploy", digest)
    sagemaker.follower().look("staging")
    sagemaker.aws.client("sagemaker").describe_endpoint(EndpointName="carsdepo-staging")
    sagemaker.aws.pass_time(hours=3)
    assert idle(sagemaker) is None
    assert len(sagemaker.made()["endpoints"]) == 2


def test_what_nothing_uses_is_removed_and_what_is_used_or_foreign_stays(sagemaker: SageMakerWorld) -> None:
    one, two = sagemaker.model("one"), sagemaker.model("two")
    for digest in (one, two):
        sagemaker.say("promote", digest)
        sagemaker.until("serving")
    client = sagemaker.aws.client("sagemaker")
    (old,) = [name for name in sagemaker.made()["models"] if one in name]
    (current,) = [name for name in sagemaker.made()["models"] if two in name]
    variants = [{"VariantName": "v", "ModelName": old, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}]
    client.create_endpoint_config(EndpointConfigName="somebodys", ProductionVariants=variants)

    def removed(**later: float) -> list[str]:
        return remove_left_behind(sagemaker.settings, set(), client, lambda: sagemaker.aws.now() + timedelta(**later))

    assert removed(minutes=5) == []
    assert removed(hours=2) == [old]  # the configuration; its model is that of somebody's too
    assert set(sagemaker.made()["models"]) == {old, current}
    assert set(sagemaker.made()["configs"]) == {"somebodys", current}
    client.delete_endpoint_config(EndpointConfigName="somebodys")
    assert removed(hours=2) == [old]
    assert sagemaker.made()["models"] == [current]
    client.create_endpoint(EndpointName="somebodys", EndpointConfigName=current)
    client.delete_endpoint(EndpointName="carsdepo-production")
    assert removed(hours=2) == []


def test_the_model_of_an_endpoint_whose_configuration_is_gone_stays(sagemaker: SageMakerWorld) -> None:
    sagemaker.say("promote", sagemaker.model("one"))
    sagemaker.until("serving")
    client, (name,) = sagemaker.aws.client("sagemaker"), sagemaker.made()["configs"]
    client.delete_endpoint_config(EndpointConfigName=name)
    assert remove_left_behind(sagemaker.settings, set(), client, lambda: sagemaker.aws.now() + timedelta(hours=2)) == []
    assert sagemaker.made()["models"] == [name]


def test_nothing_is_removed_while_an_endpoint_changes(sagemaker: SageMakerWorld) -> None:
    for name in ("one", "two"):
        sagemaker.say("promote", sagemaker.model(name))
        sagemaker.until("serving")
    sagemaker.aws.stays = {"Updating"}
    sagemaker.say("promote", sagemaker.model("three"))
    sagemaker.follower().look("production")
    client = sagemaker.aws.client("sagemaker")
    assert remove_left_behind(sagemaker.settings, set(), client, lambda: sagemaker.aws.now() + timedelta(hours=2)) == []
