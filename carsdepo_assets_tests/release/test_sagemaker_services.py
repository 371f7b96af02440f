"""release/sagemaker_services.py, release/sagemaker_transport.py: the real service behind an emulated endpoint.

The service is started from the archive by the image's own entrypoint, as a process; its model is verified by its
signature; what it answers is captured, and ingested.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from carsdepo_assets.inference.ingest import ingest, waiting
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.release.sagemaker_archive import archive_of, packed
from carsdepo_assets.release.sagemaker_following import follow
from carsdepo_assets.release.sagemaker_services import SageMakerServicesResource, as_sagemaker
from carsdepo_assets.release.service_probe import not_captured
from carsdepo_assets.resources import ServicesResource
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.detectors.stored_models import store_model
from carsdepo_assets_tests.inference.served_models import deploy, exported_and_signed, photograph
from carsdepo_assets_tests.release.sagemaker_world import BUCKET, FILE, settings_of
from deploy.emulators.sagemaker_endpoints import SageMakerEndpoints
from deploy.emulators.sagemaker_on_moto import environment
from deploy.emulators.sagemaker_runners import ProcessRunner

pytestmark = pytest.mark.slow
LAKE = f"s3://{BUCKET}/lake"


@dataclass
class Served:
    aws: SageMakerEndpoints
    lake: Lake
    services: SageMakerServicesResource
    settings: Settings
    digest: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Staging serves a real network."""
    home = tmp_path_factory.mktemp("home")
    with SageMakerEndpoints(ProcessRunner()) as aws, environment(aws):
        aws.client("s3").create_bucket(Bucket=BUCKET)
        settings = Settings.read({"CARSDEPO_LAKE": LAKE}, home=home)
        lake = Lake.open(LAKE)
        digest = store_model(lake, "yolov8n")
        exported_and_signed(settings, digest)
        services = SageMakerServicesResource(
            lake=LAKE,
            endpoints=settings_of(FILE).model_dump_json(),
            verification_key=str(settings.verification_key),
            poll_s=0.2,
        )
        assert services.health("staging")["status"] == "empty"
        deploy(lake, "staging", digest, version=4)
        health = services.wait_for("staging", digest, 60)
        assert (health["digest"], health["version"], health["status"]) == (digest, 4, "serving")
        yield Served(aws, lake, services, settings, digest)


def test_answers_are_captured_and_ingested_with_their_photographs(served: Served) -> None:
    assert served.services.health("staging")["digest"] == served.digest
    began = served.aws.now()
    with served.services.client("staging", 60.0) as client:
        files = [("photographs", (f"{n}.jpg", photograph(n), "image/jpeg")) for n in (1, 2)]
        answer = client.post("/v1/inspections", files=files, data={"source": "web"})
        refused = client.post("/v1/inspections", files={"photographs": ("a.jpg", b"text")})
        assert client.get("/healthz").status_code == 404
    assert answer.status_code == 200
    assert answer.json()["model"]["digest"] == served.digest
    assert (refused.status_code, refused.json()["error"]["reason"]) == (415, "not_an_image")
    ids = [p["prediction_id"] for p in answer.json()["photographs"]]
    assert not_captured(served.lake, served.services.captured("staging").folder, ids, began, 10) == set()
    assert ingest(served.lake, waiting(served.lake)).answers == 2
    rows = {r["prediction_id"]: r for r in served.lake.read("inferences").to_pylist()}
    for number, prediction_id in enumerate(ids, 1):
        row = rows[prediction_id]
        assert (row["stage"], row["digest"], row["version"], row["source"]) == ("staging", served.digest, 4, "web")
        assert row["image_id"] == hashlib.sha256(photograph(number)).hexdigest()
        assert served.lake.get(row["photograph_key"]) == photograph(number)
        assert row["sharpness"] > 0
    assert waiting(served.lake) == []


def test_the_archive_is_the_same_each_time_and_holds_what_was_signed(served: Served) -> None:
    data = packed(served.lake, served.digest)
    assert data == packed(Lake.open(LAKE), served.digest)
    archive = archive_of(served.lake, served.digest, BUCKET, "carsdepo-serving")
    assert served.aws.client("s3").get_object(Bucket=BUCKET, Key=archive.key)["Body"].read() == data
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert {"manifest.json", "model.sig", "model.json"} <= set(tar.getnames())
    exported_and_signed(served.settings, served.digest)  # another signature of the same key and files
    assert archive_of(served.lake, served.digest, BUCKET, "carsdepo-serving") == archive


def test_a_round_of_the_sensor_finds_nothing_to_do(served: Served) -> None:
    done = follow(served.lake, served.settings.policy(), served.services)
    assert (done.findings, done.did_something) == ((), False)
    assert done.messages == (
        f"carsdepo-staging serves model {served.digest}.",
        "The ledger has production serve nothing.",
    )


def test_an_archive_that_was_changed_is_not_served(served: Served) -> None:
    """The container refuses it, so that the endpoint never comes to be in service."""
    archive = archive_of(served.lake, served.digest, BUCKET, "carsdepo-serving")
    whole = packed(served.lake, served.digest)
    changed = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(whole)) as old, tarfile.open(fileobj=changed, mode="w:gz") as new:
        for entry in old.getmembers():
            content = old.extractfile(entry)
            assert content is not None
            data = content.read()
            if entry.name == "model.json":
                data = data.replace(b'"dent"', b'"dust"')
            entry.size = len(data)
            new.addfile(entry, io.BytesIO(data))
    served.aws.client("s3").put_object(Bucket=BUCKET, Key=archive.key, Body=changed.getvalue())
    try:
        ledger.record(
            served.lake, "production", "promote", digest=served.digest, version=4, actor="ann@desk", reason="a test"
        )
        follower = served.services.follower()
        follower.look("production")
        container = served.aws.endpoints["carsdepo-production"].container
        ends = time.monotonic() + 180
        while "was changed" not in container.output() and time.monotonic() < ends:
            time.sleep(0.1)
        assert "model.json was changed" in container.output()
        assert follower.look("production").status == "loading"
    finally:
        served.aws.client("s3").put_object(Bucket=BUCKET, Key=archive.key, Body=whole)


def test_other_services_are_no_endpoints() -> None:
    assert as_sagemaker(ServicesResource(production="http://a", staging="http://b")) is None
