"""inference/multi_model.py: SageMaker's contract for containers of several models, kept by a real service process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from carsdepo_assets.inference.app import create_app
from carsdepo_assets.lake.data_capture import HEALTH_QUESTION
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import folder
from carsdepo_assets.lake.target_models import HEADER, TargetModel
from carsdepo_assets.settings_container import ContainedModels
from carsdepo_assets_tests.inference.served_models import CLIENT, Running, photograph, service, settings_of
from carsdepo_assets_tests.inference.service_process import put_model

UNSIGNED = "inference.require_signature = false\n"


@dataclass
class Container:
    """A container that holds at most two models, and three that lie in its folder."""

    running: Running
    models: Path
    digests: dict[str, str]

    def call(self, method: str, path: str, **sent: Any) -> httpx.Response:
        return CLIENT.request(method, f"{self.running.url}{path}", **sent)

    def load(self, name: str, target: str | None = None) -> tuple[int, dict[str, Any]]:
        headers = {} if target is None else {HEADER: target}
        body = {"model_name": name, "url": str(self.models / name / "model")}
        answer = self.call("POST", "/models", json=body, headers=headers)
        return answer.status_code, answer.json()

    def ask(self, name: str, target: str | None = None) -> tuple[int, dict[str, Any]]:
        headers = {"Content-Type": "image/jpeg", **({} if target is None else {HEADER: target})}
        answer = self.call("POST", f"/models/{name}/invoke", content=photograph(1), headers=headers)
        return answer.status_code, answer.json()

    def listed(self) -> list[str]:
        return [entry["modelName"] for entry in self.call("GET", "/models").json()["models"]]

    def empty(self) -> None:
        for name in self.listed():
            assert self.call("DELETE", f"/models/{name}").status_code == 200


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    place = tmp_path_factory.mktemp("several")
    lake, models = Lake.open(place / "elsewhere"), place / "ml" / "models"
    digests = {name: put_model(lake, name) for name in ("a1", "b2", "c3")}
    for name, digest in digests.items():
        shutil.copytree(place / "elsewhere" / folder(digest), models / name / "model")
    variables = ContainedModels(folder=models, most=2, policy=UNSIGNED).variables()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        with service(settings_of(place)) as running:
            running.wait(lambda health: health["status"] == "empty")
            yield Container(running, models, digests)


@pytest.fixture
def container(started: Container) -> Container:
    started.empty()
    return started


def test_it_is_ready_without_a_model_and_asks_for_a_name(container: Container) -> None:
    assert container.call("GET", "/ping").status_code == 200
    assert container.listed() == []
    answer = container.call("POST", "/invocations", content=photograph(1), headers={"Content-Type": "image/jpeg"})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (400, "no_target_model")
    for method, path in (("GET", "/models/a1"), ("DELETE", "/models/a1"), ("POST", "/models/a1/invoke")):
        answer = container.call(method, path)
        assert (answer.status_code, answer.json()["error"]["reason"]) == (404, "no_such_model")


def test_two_versions_answer_side_by_side_each_with_its_own_digest(container: Container) -> None:
    for number, name in enumerate(("a1", "b2"), 1):
        url = str(container.models / name / "model")
        assert container.load(name) == (200, {"modelName": name, "modelUrl": url})
        assert container.call("GET", f"/models/{name}").json() == {"modelName": name, "modelUrl": url}
        target = TargetModel(container.digests[name], "0" * 16, number).name
        status, answer = container.ask(name, target)
        assert status == 200, answer
        (record,) = answer["records"]
        for told in (answer["model"], record["answer"]):
            assert (told["digest"], told["version"]) == (container.digests[name], number)
    assert container.listed() == ["a1", "b2"]
    assert container.ask("a1")[1]["model"] == {**container.ask("a1")[1]["model"], "version": None}


def test_health_is_that_of_the_model_that_is_named(container: Container) -> None:
    container.load("b2")
    asked = container.call("POST", "/models/b2/invoke", content=b"?", headers={"Content-Type": HEALTH_QUESTION})
    health = asked.json()
    assert (health["status"], health["digest"], health["stage"]) == ("serving", container.digests["b2"], "production")
    assert container.running.health()["status"] == "serving"


def test_a_load_that_is_repeated_says_409_and_changes_nothing(container: Container) -> None:
    assert container.load("a1")[0] == 200
    status, answer = container.load("a1")
    assert (status, answer["error"]["reason"]) == (409, "loaded")
    assert container.listed() == ["a1"]
    assert container.ask("a1")[0] == 200


def test_without_room_it_says_507_until_one_is_unloaded(container: Container) -> None:
    assert [container.load(name)[0] for name in ("a1", "b2", "c3")] == [200, 200, 507]
    assert container.call("DELETE", "/models/a1").status_code == 200
    assert container.ask("a1")[0] == 404
    assert container.load("c3")[0] == 200
    assert container.listed() == ["b2", "c3"]
    assert not (Path(container.running.health()["lake"]).parent / "models" / "a1").exists()


def test_an_archive_that_holds_another_model_than_its_name_says_is_refused(container: Container) -> None:
    name = TargetModel(container.digests["b2"], "0" * 16, 2).name
    status, answer = container.load("a1", name)
    assert (status, answer["error"]["reason"]) == (400, "wrong_model")
    assert container.listed() == []
    container.load("a1")  # SageMaker tells of the name with the request alone
    status, answer = container.ask("a1", name)
    assert (status, answer["error"]["reason"]) == (500, "wrong_model")


@pytest.mark.parametrize("broken", ["manifest.json", "weights.json"])
def test_a_model_that_was_changed_is_not_loaded(container: Container, broken: str) -> None:
    source = container.models / "d4"
    shutil.copytree(container.models / "c3", source, dirs_exist_ok=True)
    (source / "model" / broken).write_text("{")
    status, answer = container.load("d4")
    assert (status, answer["error"]["reason"]) == (400, "bad_model")
    assert container.listed() == []


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"model_name": "a"}', b'{"model_name": "a", "url": "/etc"}', b'{"model_name": "../a", "url": "/"}'],
)
def test_what_names_no_folder_of_models_is_refused(container: Container, body: bytes) -> None:
    assert container.call("POST", "/models", content=body).status_code == 400
    elsewhere = str(container.models / "a1" / ".." / ".." / "models" / "a1" / "model")
    assert container.call("POST", "/models", json={"model_name": "a1", "url": elsewhere}).status_code == 400


def test_a_model_without_a_signature_is_refused_as_by_every_service(tmp_path: Path) -> None:
    """The real load, in this process: what the module's other tests load is not a network."""
    from starlette.testclient import TestClient

    from carsdepo_assets.inference.contained_model import several_settings
    from carsdepo_assets.inference.model_loading import loader

    lake = Lake.open(tmp_path / "elsewhere")
    digest = put_model(lake, "unsigned")
    shutil.copytree(tmp_path / "elsewhere" / folder(digest), tmp_path / "models" / "m" / "model")
    contained = ContainedModels(folder=tmp_path / "models")
    settings = several_settings(settings_of(tmp_path), contained)
    load = loader(settings.verification_key, tmp_path / "speeds.json")
    with TestClient(create_app(settings, "production", load, several=contained), base_url="http://127.0.0.1") as client:
        body = {"model_name": "m", "url": str(tmp_path / "models" / "m" / "model")}
        answer = client.post("/models", json=body)
    assert answer.status_code == 400
    assert "sign" in answer.json()["error"]["detail"].lower()


def test_variables_come_back_and_wrong_numbers_are_refused() -> None:
    several = ContainedModels(
        folder=Path("/opt/ml/models"), most=3, memory_percent=70, verification_key="k", policy="p"
    )
    assert ContainedModels.read(several.variables()) == several
    assert ContainedModels.read({}) is None
    for name, value in (("CARSDEPO_MODELS_IN_MEMORY", "0"), ("CARSDEPO_MODELS_MEMORY_PERCENT", "much")):
        with pytest.raises(ValueError, match=r"most|memory_percent"):
            ContainedModels.read({**several.variables(), name: value})
