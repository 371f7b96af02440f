"""release/sagemaker_versions.py, sagemaker_callers.py: an endpoint has several versions, callers name the ledger's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from carsdepo_assets.lake.target_models import TargetModel
from carsdepo_assets.policy import Policy
from carsdepo_assets.release.sagemaker_cleanup import remove_left_behind
from carsdepo_assets.release.sagemaker_endpoint import EndpointState
from carsdepo_assets.release.sagemaker_versions import read_callers, remove_leftover_versions, versions_prefix
from carsdepo_assets_tests.release.sagemaker_world import (
    BUCKET,
    FILE,
    Killed,
    SageMakerWorld,
    pretending_aws,
    sagemaker,
    settings_of,
)

pytestmark = pytest.mark.slow

__all__ = ["pretending_aws", "sagemaker"]
PRODUCTION = "carsdepo-production"


def with_several(production: str = "kept = 3") -> str:
    """The file of the endpoints, each with several versions."""
    return FILE.replace("idle_minutes", "multi_model = {}\nidle_minutes") + f"multi_model = {{ {production} }}\n"


@pytest.fixture
def world(sagemaker: SageMakerWorld) -> SageMakerWorld:
    sagemaker.settings = settings_of(with_several())
    return sagemaker


def promoted(world: SageMakerWorld, *names: str) -> list[str]:
    """Models that production came to serve, one after the other."""
    digests = []
    for number, name in enumerate(names, 1):
        digests.append(world.model(name))
        world.say("promote", digests[-1], version=number)
        world.until("serving")
    return digests


def named(world: SageMakerWorld) -> TargetModel | None:
    """What callers of production name."""
    callers = read_callers(world.settings, PRODUCTION, world.aws.client("s3"))
    return None if callers is None or callers.target_model is None else TargetModel.parse(callers.target_model)


def archives(world: SageMakerWorld, endpoint: str = PRODUCTION) -> dict[str, str]:
    """Keys of what lies below an endpoint's prefix, by digest."""
    listed = world.aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=versions_prefix(world.settings, endpoint))
    keys = [entry["Key"] for entry in listed.get("Contents", ())]
    targets = {key: TargetModel.parse(key.rpartition("/")[2]) for key in keys}
    return {target.digest: key for key, target in targets.items() if target is not None}


def look(world: SageMakerWorld, **how: Any) -> EndpointState:
    return world.follower().look("production", **how)


def test_a_second_version_changes_what_callers_name_and_not_the_endpoint(world: SageMakerWorld) -> None:
    one, two = promoted(world, "one", "two")
    assert world.aws.faults.count("CreateEndpoint") == 1
    assert world.aws.faults.count("UpdateEndpoint") == 0
    target = named(world)
    assert target is not None
    assert (target.digest, target.version) == (two, 2)
    assert set(archives(world)) == {one, two}
    model = world.aws.client("sagemaker").describe_model(ModelName=world.made()["models"][0])
    container = model["PrimaryContainer"]
    assert container["Mode"] == "MultiModel"
    assert container["ModelDataUrl"] == f"s3://{BUCKET}/{versions_prefix(world.settings, PRODUCTION)}"
    assert container["Environment"]["CARSDEPO_MODELS_FOLDER"] == "/opt/ml/models"
    assert {kind: len(names) for kind, names in world.made().items()} == {
        "endpoints": 1, "configs": 1, "models": 1, "packages": 2
    }  # fmt: skip


def test_a_rollback_is_another_name_and_deploys_nothing(world: SageMakerWorld) -> None:
    one, two = promoted(world, "one", "two")
    calls = [world.aws.faults.count(name) for name in ("UpdateEndpoint", "CreateModel", "CreateEndpointConfig")]
    assert calls[0] == 0
    world.say("rollback", one, version=1)
    state = look(world)  # one look
    assert (state.status, state.digest) == ("serving", one)
    target = named(world)
    assert target is not None
    assert target.digest == one
    assert world.aws.faults.count("UpdateEndpoint") == 0
    assert set(archives(world)) == {one, two}  # until cleanup: the model that was rolled back from is barred


def test_callers_go_on_with_the_version_before_where_the_next_one_cannot_be_loaded(world: SageMakerWorld) -> None:
    (one,) = promoted(world, "one")
    two = world.model("two")
    world.launcher.of_several[-1].is_damaged = {two}
    world.say("promote", two, version=2)
    state = look(world)
    assert (state.status, state.is_final) == ("failed", True)
    (finding,) = state.findings
    assert (finding.title, finding.severity) == ("A version cannot be served", "critical")
    assert look(world).findings[0].key == finding.key  # alerted once
    target = named(world)
    assert target is not None
    assert target.digest == one
    world.say("rollback", one, version=1)
    assert look(world).status == "serving"


def test_a_version_that_is_still_loaded_is_waited_for(world: SageMakerWorld) -> None:
    promoted(world, "one")
    two = world.model("two")
    world.say("promote", two, version=2)
    operation = f"POST /endpoints/{PRODUCTION}/invocations"
    world.aws.faults.fail(operation, "ModelNotReadyException", status=429, times=9)  # boto3 asks again by itself
    state = look(world)
    assert (state.status, state.is_final, state.findings) == ("loading", False, ())
    callers = named(world)
    assert callers is not None
    assert callers.digest != two
    for fault in world.aws.faults._faults:
        fault.times = 0
    assert look(world).digest == two


def test_an_archive_that_holds_another_model_is_not_served(world: SageMakerWorld) -> None:
    one, two = promoted(world, "one", "two")
    three = world.model("three")
    s3, other = world.aws.client("s3"), archives(world)[one]
    world.say("promote", three, version=3)
    target = TargetModel(three, world.follower()._plan("production", event_of(world)).target.identity, 3)  # type: ignore[union-attr]
    key = versions_prefix(world.settings, PRODUCTION) + target.name
    s3.copy_object(Bucket=BUCKET, Key=key, CopySource={"Bucket": BUCKET, "Key": other})
    state = look(world)
    assert (state.status, state.digest) == ("failed", one)
    assert [f.title for f in state.findings] == ["An endpoint serves another model"]
    still = named(world)
    assert still is not None
    assert still.digest == two


def event_of(world: SageMakerWorld) -> Any:
    from carsdepo_assets.registry import ledger

    return ledger.desired(world.lake, "production")


def test_a_version_that_somebody_deletes_is_put_again_and_said_once(world: SageMakerWorld) -> None:
    one, _ = promoted(world, "one", "two")
    world.aws.client("s3").delete_object(Bucket=BUCKET, Key=archives(world)[one])
    state = look(world, asks=False)
    assert [f.title for f in state.findings] == ["The archive of a version was deleted"]
    assert one in archives(world)
    assert look(world, asks=False).findings == ()


@pytest.mark.parametrize("content", [None, b"{", b'{"target_model": "foreign.tar.gz"}', b'{"target_model": null}'])
def test_what_somebody_has_callers_name_is_set_back_and_said_once(world: SageMakerWorld, content: bytes | None) -> None:
    (one,) = promoted(world, "one")
    s3, key = world.aws.client("s3"), f"carsdepo-serving/callers/{PRODUCTION}.json"
    if content is None:
        s3.delete_object(Bucket=BUCKET, Key=key)
    else:
        s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    state = look(world, asks=False)
    assert [f.title for f in state.findings] == ["What callers ask for was changed"]
    target = named(world)
    assert target is not None
    assert target.digest == one
    assert look(world, asks=False).findings == ()


def test_what_the_ledger_does_not_keep_is_removed_after_an_hour_and_foreign_files_stay(world: SageMakerWorld) -> None:
    digests = promoted(world, "one", "two", "three", "four")
    s3 = world.aws.client("s3")
    foreign = versions_prefix(world.settings, PRODUCTION) + "somebodys.tar.gz"
    s3.put_object(Bucket=BUCKET, Key=foreign, Body=b"x")

    def removed(**later: float) -> list[str]:
        return remove_leftover_versions(world.lake, world.settings, s3, lambda: world.aws.now() + timedelta(**later))

    assert removed(minutes=59) == []
    oldest = archives(world)[digests[0]]
    assert removed(hours=2) == [oldest]
    assert set(archives(world)) == set(digests[1:])
    assert s3.head_object(Bucket=BUCKET, Key=foreign)
    world.say("rollback", digests[2], version=3)
    look(world)
    assert digests[0] in archives(world)  # the model that was rolled back from is barred and makes room for it
    barred = archives(world)[digests[3]]
    assert removed(hours=2) == [barred]


def test_a_candidate_can_be_asked_at_production_where_the_file_says_so(sagemaker: SageMakerWorld) -> None:
    for text, kept in (("kept = 3", False), ("kept = 3, candidate = true", True)):
        sagemaker.settings = settings_of(with_several(text))
        (one,) = promoted(sagemaker, "one")
        candidate = sagemaker.model("candidate")
        sagemaker.say("deploy", candidate, version=2)
        sagemaker.until("serving", "staging")
        look(sagemaker, asks=False)
        assert (candidate in archives(sagemaker)) is kept
        target = named(sagemaker)
        assert target is not None
        assert target.digest == one


def test_an_endpoint_comes_to_have_several_versions_and_goes_back(sagemaker: SageMakerWorld) -> None:
    (one,) = promoted(sagemaker, "one")
    assert named(sagemaker) is None
    sagemaker.settings = settings_of(with_several())
    state = look(sagemaker)
    assert state.status == "loading"
    assert named(sagemaker) is not None  # before the endpoint changes: callers are never without a name
    assert sagemaker.until("serving")[0].digest == one
    sagemaker.settings = settings_of(FILE)
    sagemaker.until("serving")
    assert named(sagemaker) is None
    client, s3 = sagemaker.aws.client("sagemaker"), sagemaker.aws.client("s3")
    later = lambda: sagemaker.aws.now() + timedelta(hours=2)  # noqa: E731
    gone = remove_left_behind(sagemaker.settings, {sagemaker.made()["configs"][0]}, client, later)
    assert len(gone) == 1
    assert len(remove_leftover_versions(sagemaker.lake, sagemaker.settings, s3, later)) == 1


def test_another_policy_is_another_configuration_of_the_same_versions(world: SageMakerWorld) -> None:
    promoted(world, "one", "two")
    before = Policy()
    other = before.model_copy(update={"inference": before.inference.model_copy(update={"unsure_share": 0.5})})
    assert world.follower(other).look("production").status == "loading"
    assert world.aws.faults.count("UpdateEndpoint") == 1
    assert world.follower(other).look("production").status == "serving"
    assert world.launcher.of_several[-1].variables["CARSDEPO_POLICY_TOML_0"] == "inference.unsure_share = 0.5\n"


def test_killed_before_any_call_a_second_version_is_served_once(world: SageMakerWorld) -> None:
    promoted(world, "one")
    two = world.model("two")
    world.say("promote", two, version=2)
    kills = 0
    while True:
        world.calls, world.killed_at = 0, kills + 1
        try:
            state = look(world)
        except Killed:
            kills += 1
            continue
        finally:
            world.killed_at = None
        break
    assert (state.status, state.digest) == ("serving", two)
    assert kills > 10
    assert state.findings == ()
    assert len(archives(world)) == len(world.made()["packages"]) == 2
    target = named(world)
    assert target is not None
    assert target.digest == two
