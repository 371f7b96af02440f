"""release/sagemaker_endpoint.py: an endpoint follows the ledger, and what went wrong on the way is said."""

from __future__ import annotations

import pytest

from carsdepo_assets.policy import Policy
from carsdepo_assets.release.sagemaker_endpoint import read_asked
from carsdepo_assets.release.sagemaker_known import known_packages
from carsdepo_assets_tests.release.sagemaker_world import Killed, SageMakerWorld, pretending_aws, sagemaker

pytestmark = pytest.mark.slow

__all__ = ["pretending_aws", "sagemaker"]


def test_a_promotion_is_deployed_once_and_its_package_approved(sagemaker: SageMakerWorld) -> None:
    digest = sagemaker.model("one")
    assert sagemaker.follower().look("production").status == "empty"
    sagemaker.say("promote", digest)
    state, titles = sagemaker.until("serving")
    assert (state.digest, state.health["runtime"], titles) == (digest, "pretended", [])
    made = sagemaker.made()
    assert {kind: len(names) for kind, names in made.items()} == dict.fromkeys(made, 1)
    assert made["configs"] == made["models"]
    assert len(made["models"][0]) <= 63
    assert sagemaker.package(digest)["ModelApprovalStatus"] == "Approved"
    assert sagemaker.launcher.started[0].variables["CARSDEPO_MODEL_FOLDER"] == "/opt/ml/model"
    assert sagemaker.follower().look("production").status == "serving"
    assert sagemaker.made() == made


def test_a_second_model_comes_by_a_canary_and_a_rollback_without(sagemaker: SageMakerWorld) -> None:
    one, two = sagemaker.model("one"), sagemaker.model("two")
    sagemaker.say("promote", one)
    sagemaker.until("serving")
    sagemaker.say("promote", two, version=2)
    state, _ = sagemaker.until("serving")
    assert state.digest == two
    deployment = sagemaker.aws.endpoints["carsdepo-production"].deployment
    assert deployment is not None
    routing = deployment["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
    assert (routing["Type"], routing["WaitIntervalInSeconds"], routing["CanarySize"]["Value"]) == ("CANARY", 600, 50)
    assert deployment["AutoRollbackConfiguration"]["Alarms"] == [{"AlarmName": "carsdepo-errors"}]
    assert sagemaker.launcher.started[0].stopped
    sagemaker.say("rollback", one)
    state, _ = sagemaker.until("serving")
    assert state.digest == one
    deployment = sagemaker.aws.endpoints["carsdepo-production"].deployment
    assert deployment is not None
    assert deployment["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["Type"] == "ALL_AT_ONCE"
    assert "AutoRollbackConfiguration" not in deployment
    assert len(sagemaker.made()["models"]) == 2


@pytest.mark.parametrize("silent", [True, False])
def test_an_update_that_is_rolled_back_is_no_success_and_not_repeated(sagemaker: SageMakerWorld, silent: bool) -> None:
    one, two = sagemaker.model("one"), sagemaker.model("two")
    sagemaker.say("promote", one)
    sagemaker.until("serving")
    sagemaker.aws.alarming, sagemaker.aws.silent = {"carsdepo-errors"}, silent
    sagemaker.say("promote", two, version=2)
    state, titles = sagemaker.until("failed")
    assert titles == ["An update was rolled back"]
    assert state.is_final
    assert "rolled carsdepo-production back to" in state.message
    assert ("Alarms tripped: carsdepo-errors" in state.message) is not silent
    updates = sagemaker.aws.faults.count("UpdateEndpoint")
    assert [f.key for f in sagemaker.follower().look("production").findings] == [f.key for f in state.findings]
    assert sagemaker.aws.faults.count("UpdateEndpoint") == updates == 1
    sagemaker.say("rollback", one)
    assert sagemaker.until("serving")[0].digest == one
    sagemaker.aws.alarming = set()
    sagemaker.say("promote", two, version=2)
    assert sagemaker.until("serving")[0].digest == two


def test_an_endpoint_that_stays_creating_is_alerted_in_time_and_goes_on_later(sagemaker: SageMakerWorld) -> None:
    sagemaker.say("promote", sagemaker.model("one"))
    sagemaker.aws.stays = {"Creating"}
    for _ in range(3):
        state = sagemaker.follower().look("production")
        assert (state.status, state.findings) == ("loading", ())
    sagemaker.aws.pass_time(minutes=46)
    state = sagemaker.follower().look("production")
    (finding,) = state.findings
    assert (state.status, finding.title) == ("loading", "An endpoint is stuck in Creating")
    assert sagemaker.follower().look("production").findings == (finding,)
    sagemaker.aws.stays = set()
    assert sagemaker.until("serving")[1] == []


def test_an_endpoint_that_fails_waits_for_a_person_or_another_decision(sagemaker: SageMakerWorld) -> None:
    sagemaker.launcher.change = lambda container: setattr(container, "has_ended", True)
    sagemaker.say("promote", sagemaker.model("one"))
    state, titles = sagemaker.until("failed")
    assert (titles, state.is_final) == (["An endpoint is Failed"], True)
    assert "did not pass the ping health check" in state.message
    assert sagemaker.follower().look("production").is_final
    assert len(sagemaker.launcher.started) == 1
    sagemaker.launcher.change = lambda container: None
    sagemaker.say("promote", sagemaker.model("two"), version=2)
    assert sagemaker.until("serving")[0].digest == sagemaker.model("two")


def test_an_endpoint_that_somebody_deletes_is_made_again_and_said(sagemaker: SageMakerWorld) -> None:
    digest = sagemaker.model("one")
    sagemaker.say("promote", digest)
    sagemaker.until("serving")
    sagemaker.aws.client("sagemaker").delete_endpoint(EndpointName="carsdepo-production")
    state, titles = sagemaker.until("serving")
    assert (state.digest, titles) == (digest, ["The production endpoint was deleted"])


def test_an_endpoint_that_somebody_changes_is_set_back_and_said(sagemaker: SageMakerWorld) -> None:
    one, two = sagemaker.model("one"), sagemaker.model("two")
    sagemaker.say("promote", one)
    sagemaker.until("serving")
    sagemaker.say("deploy", two, version=2)
    sagemaker.until("serving", "staging")
    (foreign,) = [name for name in sagemaker.made()["configs"] if two in name]
    client = sagemaker.aws.client("sagemaker")
    client.update_endpoint(EndpointName="carsdepo-production", EndpointConfigName=foreign)
    client.describe_endpoint(EndpointName="carsdepo-production")
    state, titles = sagemaker.until("serving")
    assert (state.digest, titles) == (one, ["The production endpoint was changed"])


def test_in_service_with_our_configuration_is_not_enough(sagemaker: SageMakerWorld) -> None:
    sagemaker.launcher.change = lambda container: setattr(container, "digest", "0" * 16)
    sagemaker.say("promote", sagemaker.model("one"))
    state, titles = sagemaker.until("failed")
    assert (state.digest, titles) == ("0" * 16, ["An endpoint serves another model"])
    asked = read_asked(sagemaker.lake, "carsdepo-production")
    assert asked is not None
    assert asked.served_at is None


def test_a_policy_that_the_container_reads_is_another_configuration_of_the_same_model(
    sagemaker: SageMakerWorld,
) -> None:
    digest = sagemaker.model("one")
    sagemaker.say("promote", digest)
    sagemaker.until("serving")
    before = Policy()
    other = before.model_copy(update={"inference": before.inference.model_copy(update={"unsure_share": 0.5})})
    for _ in range(3):
        state = sagemaker.follower(other).look("production")
    assert (state.status, state.digest) == ("serving", digest)
    assert len(sagemaker.made()["configs"]) == 2
    assert sagemaker.launcher.started[-1].variables["CARSDEPO_POLICY_TOML_0"] == "inference.unsure_share = 0.5\n"


@pytest.mark.parametrize("note", [b"", b"[]", b"{}", b"\xff"])
def test_a_damaged_note_says_nothing_and_is_made_again(sagemaker: SageMakerWorld, note: bytes) -> None:
    sagemaker.say("promote", sagemaker.model("one"))
    sagemaker.lake.put("endpoints/carsdepo-production.json", note)
    sagemaker.lake.put("endpoints/packages/carsdepo.json", note)
    assert read_asked(sagemaker.lake, "carsdepo-production") is None
    assert known_packages(sagemaker.lake, sagemaker.settings) == {}
    assert sagemaker.follower().look("production").status == "loading"
    assert read_asked(sagemaker.lake, "carsdepo-production") is not None


def test_what_another_instance_would_need_is_made_again_and_said(sagemaker: SageMakerWorld) -> None:
    sagemaker.say("promote", sagemaker.model("one"))
    sagemaker.until("serving")
    before, follower, s3 = sagemaker.made(), sagemaker.follower(), sagemaker.aws.client("s3")
    assert follower.make_again("production") == follower.make_again("staging") == ()
    client = sagemaker.aws.client("sagemaker")
    client.delete_endpoint_config(EndpointConfigName=before["configs"][0])
    client.delete_model(ModelName=before["models"][0])
    archives = s3.list_objects_v2(Bucket="carsdepo", Prefix="carsdepo-serving/models/")["Contents"]
    (archive,) = [one["Key"] for one in archives if one["Key"].endswith("model.tar.gz")]
    s3.delete_object(Bucket="carsdepo", Key=archive)
    assert follower.look("production").status == "serving"  # it goes on without them
    (finding,) = follower.make_again("production")
    assert f"s3://carsdepo/{archive}, the model {before['models'][0]}, the endpoint_config" in finding.body
    assert sagemaker.made() == before
    s3.head_object(Bucket="carsdepo", Key=archive)
    assert follower.make_again("production") == ()


def test_a_look_that_only_watches_asks_the_service_once(sagemaker: SageMakerWorld) -> None:
    sagemaker.say("promote", sagemaker.model("one"))
    sagemaker.until("serving", asks=False)
    asked = sum("invocations" in call.operation for call in sagemaker.aws.faults.calls)
    assert sagemaker.follower().look("production", asks=False).status == "serving"
    assert sum("invocations" in call.operation for call in sagemaker.aws.faults.calls) == asked == 1


def test_killed_before_any_call_and_resumed_it_makes_everything_once(sagemaker: SageMakerWorld) -> None:
    """A first deployment and an update, cut off before each of their calls in turn."""
    one, two = sagemaker.model("one"), sagemaker.model("two")
    for digest in (one, two):
        sagemaker.say("promote", digest)
        kills = 0
        while True:
            sagemaker.calls, sagemaker.killed_at = 0, kills + 1
            try:
                state = sagemaker.follower().look("production")
            except Killed:
                kills += 1
                continue
            finally:
                sagemaker.killed_at = None
            if state.status == "serving":
                break
            kills = 0 if kills else kills
            assert state.status == "loading", state.message
        assert state.digest == digest
    made = sagemaker.made()
    assert {kind: len(names) for kind, names in made.items()} == {
        "endpoints": 1, "configs": 2, "models": 2, "packages": 2
    }  # fmt: skip
    uploads = [
        o["Key"]
        for o in sagemaker.aws.client("s3").list_objects_v2(Bucket="carsdepo", Prefix="carsdepo-serving")["Contents"]
        if o["Key"].endswith(".tar.gz")
    ]
    assert len(uploads) == 2
    assert sagemaker.aws.faults.count("CreateEndpoint") == sagemaker.aws.faults.count("UpdateEndpoint") == 1
