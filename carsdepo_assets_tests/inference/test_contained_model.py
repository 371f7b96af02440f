"""inference/contained_model.py, settings_container.py: a container serves the model that lies in its folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from carsdepo_assets.inference.contained_model import served_settings
from carsdepo_assets.lake.data_capture import HEALTH_QUESTION
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import ModelFilesError, folder
from carsdepo_assets.registry import ledger
from carsdepo_assets.settings_container import VALUE_CHARACTERS, ContainedModel
from carsdepo_assets_tests.inference.served_models import CLIENT, Running, photograph, service, settings_of
from carsdepo_assets_tests.inference.service_process import put_model
from carsdepo_assets_tests.lake.stored_model import stored_model


@pytest.fixture(scope="module")
def contained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    """A service that was started with nothing but a model's folder, and the model's digest."""
    place = tmp_path_factory.mktemp("contained")
    digest = put_model(Lake.open(place / "elsewhere"), "red")
    model = place / "ml" / "model"
    shutil.copytree(place / "elsewhere" / folder(digest), model)
    policy = "inference.unsure_share = 0.7\ninference.require_signature = false\n"
    variables = ContainedModel(folder=model, version=7, policy=policy).variables()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        with service(settings_of(place)) as running:
            running.serves(digest)
            yield running, digest


def test_ping_names_the_model_and_health_is_asked_by_invocations(contained: tuple[Running, str]) -> None:
    running, digest = contained
    ping = CLIENT.get(f"{running.url}/ping")
    assert (ping.status_code, ping.headers["X-Carsdepo-Model"], ping.content) == (200, digest, b"")
    asked = CLIENT.post(f"{running.url}/invocations", content=b"?", headers={"Content-Type": HEALTH_QUESTION})
    health = asked.json()
    assert (health["digest"], health["version"], health["status"], health["stage"]) == (
        digest, 7, "serving", "production"
    )  # fmt: skip


def test_invocations_take_a_photograph_or_a_form_and_answers_carry_their_records(
    contained: tuple[Running, str],
) -> None:
    running, digest = contained
    url = f"{running.url}/invocations"
    one = CLIENT.post(url, content=photograph(1), headers={"Content-Type": "image/jpeg"}).json()
    files = [("photographs", (f"{n}.jpg", photograph(n), "image/jpeg")) for n in (2, 3)]
    form = CLIENT.post(url, files=files, data={"source": "web"}).json()
    assert [len(body["records"]) for body in (one, form)] == [1, 2]
    for body in (one, form):
        for inspected, record in zip(body["photographs"], body["records"], strict=True):
            assert record["prediction_id"] == inspected["prediction_id"]
            assert record["answer"]["digest"] == digest
            assert record["sent"]["photograph_key"].startswith("capture/photographs/")
    assert form["records"][0]["sent"]["source"] == "web"
    captured = Path(running.health()["lake"], "capture")
    assert not captured.exists() or not list(captured.rglob("*.*"))
    refused = CLIENT.post(url, content=b"text", headers={"Content-Type": "image/jpeg"})
    assert (refused.status_code, set(refused.json())) == (415, {"error", "request_id"})


def test_variables_carry_a_long_policy_in_pieces_and_come_back() -> None:
    model = ContainedModel(folder=Path("/opt/ml/model"), version=3, verification_key="PEM\nx\n", policy="a" * 3000)
    variables = model.variables()
    assert max(map(len, variables.values())) <= VALUE_CHARACTERS
    assert ContainedModel.read(variables) == model
    assert ContainedModel.read({}) is None
    with pytest.raises(ValueError, match="CARSDEPO_MODEL_VERSION='seven'"):
        ContainedModel.read({**variables, "CARSDEPO_MODEL_VERSION": "seven"})


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(ModelFilesError, match="holds no model with a manifest"):
        served_settings(settings_of(tmp_path), ContainedModel(folder=tmp_path / "model"), "production")


def test_a_second_start_makes_the_lake_anew(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "elsewhere")
    digests = [stored_model(lake, data) for data in (b"one", b"two")]
    for digest in digests:
        contained = ContainedModel(folder=tmp_path / "elsewhere" / folder(digest))
        made = Lake.open(served_settings(settings_of(tmp_path), contained, "staging").lake)
        event = ledger.desired(made, "staging")
        assert event is not None
        assert event.digest == digest
        assert json.loads(made.get(f"{folder(digest)}/manifest.json"))["digest"] == digest
