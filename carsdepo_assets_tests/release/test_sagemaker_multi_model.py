"""inference/multi_model.py behind deploy/emulators/sagemaker_multi_model.py: the real service has several versions.

The service is started by the image's entrypoint, as a process; it loads two signed networks as SageMaker asks it to,
and what each of them answers is captured and ingested with its own version. The front's function asks it, too.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from carsdepo_assets.inference.ingest import ingest, waiting
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.release.sagemaker_endpoint import served_health
from carsdepo_assets.release.sagemaker_services import SageMakerServicesResource
from carsdepo_assets.release.sagemaker_versions import kept_archives, read_callers, versions_prefix
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.detectors.stored_models import store_model
from carsdepo_assets_tests.inference.served_models import exported_and_signed, photograph
from carsdepo_assets_tests.release.sagemaker_world import BUCKET, settings_of
from carsdepo_assets_tests.release.test_sagemaker_versions import PRODUCTION, with_several
from deploy.aws import front_handler as front
from deploy.emulators.sagemaker_endpoints import SageMakerEndpoints
from deploy.emulators.sagemaker_multi_model import LoadedVersions
from deploy.emulators.sagemaker_on_moto import environment
from deploy.emulators.sagemaker_runners import ProcessRunner

pytestmark = pytest.mark.slow
LAKE = f"s3://{BUCKET}/lake"


@dataclass
class Served:
    """Production has two versions, of which one fits into memory at a time."""

    aws: SageMakerEndpoints
    lake: Lake
    services: SageMakerServicesResource
    digests: tuple[str, str]

    def say(self, action: ledger.Action, number: int) -> None:
        digest = self.digests[number - 1]
        ledger.record(self.lake, "production", action, digest=digest, version=number, actor="ann@desk", reason="a test")

    def names(self) -> dict[str, str]:
        """What callers can name, by digest."""
        archives = kept_archives(self.lake, self.services.settings(), "production")
        return {archive.digest: name for name, archive in archives.items()}

    def versions(self) -> LoadedVersions:
        container = self.aws.endpoints[PRODUCTION].container
        assert isinstance(container, LoadedVersions)
        return container

    def named(self) -> str | None:
        callers = read_callers(self.services.settings(), PRODUCTION, self.aws.client("s3"))
        return None if callers is None else callers.digest


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("home")
    with SageMakerEndpoints(ProcessRunner()) as aws, environment(aws):
        aws.client("s3").create_bucket(Bucket=BUCKET)
        settings = Settings.read({"CARSDEPO_LAKE": LAKE}, home=home)
        lake = Lake.open(LAKE)
        digests = (store_model(lake, "yolov8n"), store_model(lake, "yolov8n", blind=True))
        for digest in digests:
            exported_and_signed(settings, digest)
        services = SageMakerServicesResource(
            lake=LAKE,
            endpoints=settings_of(with_several("kept = 3, in_memory = 1")).model_dump_json(),
            verification_key=str(settings.verification_key),
            poll_s=0.2,
        )
        served = Served(aws, lake, services, digests)
        for number in (1, 2):
            served.say("promote", number)
            health = services.wait_for("production", digests[number - 1], 60)
            assert (health["digest"], health["version"]) == (digests[number - 1], number)
        yield served


def test_each_version_answers_under_its_name_and_makes_room_for_the_other(served: Served) -> None:
    runtime, names = served.aws.client("sagemaker-runtime"), served.names()
    assert set(names) == set(served.digests)
    before = served.versions().unloads
    for number in (1, 2, 1):
        digest = served.digests[number - 1]
        health = served_health(runtime, PRODUCTION, names[digest])
        assert (health["digest"], health["version"], health["status"]) == (digest, number, "serving")
        assert list(served.versions().in_memory) == [names[digest]]
    assert served.versions().unloads - before >= 2  # 507, and SageMaker unloads what it used last
    assert served.aws.faults.count("UpdateEndpoint") == 0


def test_what_each_version_answers_is_ingested_as_its_own(served: Served) -> None:
    ingest(served.lake, waiting(served.lake))
    before = {row["prediction_id"] for row in served.lake.read("inferences").to_pylist()}
    runtime, names = served.aws.client("sagemaker-runtime"), served.names()
    for number, digest in enumerate(served.digests, 1):
        answer = runtime.invoke_endpoint(
            EndpointName=PRODUCTION, ContentType="image/jpeg", Body=photograph(40 + number), TargetModel=names[digest]
        )
        assert json.loads(answer["Body"].read())["model"]["digest"] == digest
    assert ingest(served.lake, waiting(served.lake)).answers == 2
    rows = [row for row in served.lake.read("inferences").to_pylist() if row["prediction_id"] not in before]
    by_image = {row["image_id"]: (row["digest"], row["version"], row["stage"]) for row in rows}
    assert by_image == {
        hashlib.sha256(photograph(40 + number)).hexdigest(): (digest, number, "production")
        for number, digest in enumerate(served.digests, 1)
    }


def test_an_unnamed_and_an_unknown_version_are_refused(served: Served) -> None:
    runtime = served.aws.client("sagemaker-runtime")
    for named, says in (({}, "target model header"), ({"TargetModel": "nothing.tar.gz"}, "Failed to download")):
        with pytest.raises(ClientError, match=says):
            runtime.invoke_endpoint(EndpointName=PRODUCTION, ContentType="image/jpeg", Body=b"x", **named)


@pytest.mark.parametrize("how", ["another model", "changed"])
def test_an_archive_that_is_not_what_its_name_says_is_refused_by_the_container(served: Served, how: str) -> None:
    one, two = served.digests
    prefix, names = versions_prefix(served.services.settings(), PRODUCTION), served.names()
    wrong = names[one].replace(one, "f" * 16) if how == "another model" else names[two].replace("v2", "v9")
    s3 = served.aws.client("s3")
    data = s3.get_object(Bucket=BUCKET, Key=prefix + names[one])["Body"].read()
    if how == "changed":  # signed by nobody we know: the signature is cut out
        data = _without_signature(s3.get_object(Bucket=BUCKET, Key=prefix + names[two])["Body"].read())
    s3.put_object(Bucket=BUCKET, Key=prefix + wrong, Body=data)
    with pytest.raises(ClientError) as raised:
        served_health(served.aws.client("sagemaker-runtime"), PRODUCTION, wrong)
    response = raised.value.response
    assert (response["Error"]["Code"], response["OriginalStatusCode"]) == ("ModelError", 400)
    assert ("wrong_model" if how == "another model" else "bad_model") in response["OriginalMessage"]
    s3.delete_object(Bucket=BUCKET, Key=prefix + wrong)


def _without_signature(archive: bytes) -> bytes:
    import io
    import tarfile

    made = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(archive)) as old, tarfile.open(fileobj=made, mode="w:gz") as new:
        for entry in old.getmembers():
            if entry.name != "model.sig":
                new.addfile(entry, old.extractfile(entry))
    return made.getvalue()


def test_a_version_deleted_by_hand_is_served_on_and_put_again(served: Served) -> None:
    prefix, name = versions_prefix(served.services.settings(), PRODUCTION), served.names()[served.digests[1]]
    s3 = served.aws.client("s3")
    s3.delete_object(Bucket=BUCKET, Key=prefix + name)
    state = served.services.follower().look("production")
    assert (state.status, [f.title for f in state.findings]) == ("serving", ["The archive of a version was deleted"])
    assert s3.head_object(Bucket=BUCKET, Key=prefix + name)


def test_the_front_asks_what_the_ledger_says_before_and_after_a_rollback(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for service in ("sagemaker-runtime", "s3"):
        monkeypatch.setitem(front._clients, service, served.aws.client(service))
    monkeypatch.setattr(front, "_named", {})
    monkeypatch.setattr(front, "FRESH_S", -1.0)
    monkeypatch.setenv("ENDPOINT", PRODUCTION)
    monkeypatch.setenv("CALLERS_BUCKET", BUCKET)
    monkeypatch.setenv("CALLERS_KEY", f"carsdepo-serving/callers/{PRODUCTION}.json")
    assert asked_by_the_front(7) == (served.digests[1], 2)
    before = served.aws.faults.count("UpdateEndpoint")
    served.say("rollback", 1)
    assert served.services.wait_for("production", served.digests[0], 60)["version"] == 1
    assert asked_by_the_front(8) == (served.digests[0], 1)
    assert served.aws.faults.count("UpdateEndpoint") == before == 0
    with served.services.client("production", 60.0) as client:
        answer = client.post("/v1/inspections", files={"photographs": ("a.jpg", photograph(9))})
    assert answer.json()["model"]["digest"] == served.digests[0] == served.named()
    assert served.services.health("production")["digest"] == served.digests[0]


def asked_by_the_front(seed: int) -> tuple[str, int]:
    """Digest and version of the front's answer to a form with one photograph."""
    head = b'--b\r\nContent-Disposition: form-data; name="photographs"; filename="a.jpg"\r\n\r\n'
    form = head + photograph(seed) + b"\r\n--b--\r\n"
    event: dict[str, Any] = {
        "httpMethod": "POST",
        "path": "/v1/inspections",
        "headers": {"Content-Type": "multipart/form-data; boundary=b"},
        "body": b64encode(form).decode(),
        "isBase64Encoded": True,
    }
    answer = front.handler(event, None)
    assert answer["statusCode"] == 200, answer
    content = json.loads(answer["body"])
    assert "records" not in content
    return content["model"]["digest"], content["model"]["version"]
