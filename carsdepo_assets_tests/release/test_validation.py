"""release/validation.py and service_probe.py: against the real service, right and spoiled in each way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
from pydantic import SecretStr

from carsdepo_assets.evaluation.golden_photographs import golden_photographs
from carsdepo_assets.lake.capture_place import CapturePlace
from carsdepo_assets.registry import ledger
from carsdepo_assets.release import validation
from carsdepo_assets.release.validation import CHECKS, Validation, read_validation, validate, validation_key
from carsdepo_assets.resources import ServicesResource
from carsdepo_assets_tests.inference.served_models import Running, service
from carsdepo_assets_tests.release.released_lake import World, load_squares, world_in
from carsdepo_assets_tests.release.tampering import Spoil, before

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def staged(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Running]]:
    """A world whose staging is the real service, with a key, serving model `one`."""
    folder = tmp_path_factory.mktemp("staged")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    with pytest.MonkeyPatch.context() as patch, world_in(folder, patch) as world:
        world.rule("[inference]\nsegment_age_s = 1.0\n[release]\nvalidation_photographs = 6\nwait_s = 20\n")
        settings = world.settings.model_copy(update={"api_key": SecretStr("a key")})
        with service(settings, "staging", "carsdepo_assets_tests.release.released_lake") as running:
            world.services = ServicesResource(
                production=world.stages["production"].url, staging=running.url, api_key="a key"
            )
            yield world, running


@pytest.fixture
def deployed(staged: tuple[World, Running]) -> tuple[World, Running, ledger.Event]:
    world, running = staged
    event = ledger.desired(world.lake, "staging")
    if event is None:
        version = world.model("one", 0.8, validated=False)
        event = ledger.record(
            world.lake, "staging", "deploy", digest=version.digest, version=1, actor="test", reason="a test"
        )
    assert event.digest is not None
    running.serves(event.digest)
    return world, running, event


def validated(deployed: tuple[World, Running, ledger.Event], **changes: Any) -> Validation:
    world, running, event = deployed
    assert event.digest is not None
    url = changes.pop("url", running.url)
    body: dict[str, Any] = {
        "photographs": golden_photographs(world.lake, world.policy, 6),
        "predictor": load_squares(world.lake, event.digest, world.policy).predictor,
        "client": httpx.Client(base_url=url, headers={"X-API-Key": "a key"}, timeout=60.0),
        "url": url,
        "captured": world.services.captured("staging"),
        "event": event,
        "registered": event.digest,
        "health": running.health(),
    }
    return validate(world.lake, world.policy, **(body | changes))


def failed(result: Validation) -> dict[str, str]:
    return {o.name: o.message for o in result.outcomes if not o.passed}


def test_found_right(deployed: tuple[World, Running, ledger.Event]) -> None:
    result = validated(deployed)
    assert failed(result) == {}
    assert result.passed
    assert [o.name for o in result.outcomes] == list(CHECKS)
    assert result.boxes >= 5  # else equal answers would say nothing
    assert 0 < result.latency["p50"] <= result.latency["p95"] <= result.latency["max"]
    assert result.latency["requests"] == 36
    assert read_validation(deployed[0].lake, result.digest) == result
    assert b'"said"' in deployed[0].lake.get(validation_key(result.digest))  # as in those that are stored already


def _first_box(change: Callable[[dict[str, Any]], None]) -> Spoil:
    def spoil(status: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        for one in body.get("photographs", []):
            if one["boxes"]:
                change(one["boxes"][0])
        return status, body

    return spoil


def _moved(box: dict[str, Any]) -> None:
    box["box"][0] += 0.01


def _rescored(box: dict[str, Any]) -> None:
    box["score"] += 0.002


def _renamed(box: dict[str, Any]) -> None:
    box["class_id"] = 1 - box["class_id"]


def _fewer(status: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    for one in body.get("photographs", []):
        one["boxes"] = one["boxes"][1:]
    return status, body


def _more(status: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    for one in body.get("photographs", []):
        one["boxes"] += one["boxes"][:1]
    return status, body


def _another_model(status: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    if "model" in body:
        body["model"]["digest"] = "ffffffffffffffff"
    return status, body


def _takes_everything(status: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return 200, body


def _fails_on_bad_input(status: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return (500, body) if 400 <= status < 500 else (status, body)


def _no_reason(status: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return (status, {"detail": "no"}) if status >= 400 else (status, body)


def _needs_no_key(status: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return (200, body) if status == 401 else (status, body)


def _other_ids(status: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    for one in body.get("photographs", []):
        one["prediction_id"] = one["prediction_id"][::-1]
    return status, body


def _down(status: int, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return 503, {"error": {"reason": "no_model", "detail": "no model is served"}, "request_id": "r"}


EQUAL = "answers_equal_offline"


@pytest.mark.parametrize(
    ("spoil", "check", "says"),
    [
        (_first_box(_moved), EQUAL, "0.0100 px"),
        (_first_box(_rescored), EQUAL, "0.0020 px or score"),
        (_first_box(_renamed), EQUAL, "away from the model's nearest|does not give"),
        (_fewer, EQUAL, "boxes are missing"),
        (_more, EQUAL, "does not give"),
        (_another_model, "digest_is_registered", "ffffffffffffffff"),
        (_takes_everything, "bad_input_is_refused", "text was answered HTTP 200"),
        (_fails_on_bad_input, "bad_input_is_refused", "a truncated photograph was answered HTTP 500"),
        (_no_reason, "bad_input_is_refused", "an empty file was answered without a reason"),
        (_needs_no_key, "bad_input_is_refused", "without the key was answered HTTP 200"),
        (_other_ids, "capture_arrives", "were not in"),
        (_down, "latency_within_budget", "no answer to time"),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_each_fault_is_found(
    deployed: tuple[World, Running, ledger.Event],
    monkeypatch: pytest.MonkeyPatch,
    spoil: Spoil,
    check: str,
    says: str,
) -> None:
    monkeypatch.setattr(validation, "TIMED_REQUESTS", 6)
    with before(deployed[1].url, spoil) as url:
        result = validated(deployed, url=url, captured=CapturePlace("capture/staging", 0.0))
    assert re.search(says, failed(result)[check])
    assert spoil is _down or set(failed(result)) == {check}
    assert not result.passed
    stored = read_validation(deployed[0].lake, result.digest)
    assert stored is not None
    assert not stored.passed


def test_registry_and_service_must_agree(
    deployed: tuple[World, Running, ledger.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "TIMED_REQUESTS", 6)
    result = validated(
        deployed, registered="eeeeeeeeeeeeeeee", health={"digest": "dddddddddddddddd", "runtime": "torch"}
    )
    assert set(failed(result)) == {"digest_is_registered"}
    assert "eeeeeeeeeeeeeeee" in failed(result)["digest_is_registered"]


def test_a_slow_service_is_said_and_does_not_block(
    deployed: tuple[World, Running, ledger.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "TIMED_REQUESTS", 6)
    world = deployed[0]
    policy = world.policy.model_copy(update={"gate": world.policy.gate.model_copy(update={"latency_p95_ms": 0.01})})
    world_with = replace(world)
    monkeypatch.setattr(type(world_with), "policy", property(lambda self: policy))
    result = validated((world_with, deployed[1], deployed[2]))
    assert set(failed(result)) == {"latency_within_budget"}
    assert result.passed


def test_a_service_that_is_gone_fails_the_checks_and_raises_nothing(
    deployed: tuple[World, Running, ledger.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "TIMED_REQUESTS", 6)
    result = validated(deployed, url="http://127.0.0.1:9")
    assert set(failed(result)) == set(CHECKS)


def test_the_release_job_from_registered_to_production(deployed: tuple[World, Running, ledger.Event]) -> None:
    """All three assets over the real staging service."""
    world = deployed[0]
    second = world.model("two", 0.95, validated=False)
    result = world.run("release")
    assert result.success, [e.message for e in result.all_events if e.is_failure or e.is_step_failure]
    metadata = {
        e.materialization.asset_key.to_user_string(): {k: v.value for k, v in e.materialization.metadata.items()}
        for e in result.get_asset_materialization_events()
    }
    assert list(metadata) == ["staging_deployment", "staging_validation", "production_model"]
    assert metadata["staging_deployment"]["digest"] == metadata["production_model"]["digest"] == second.digest
    assert metadata["staging_validation"]["latency_p95_ms"] > 0
    checks = {c.check_name: (c.passed, c.blocking) for c in result.get_asset_check_evaluations()}
    assert checks == {name: (True, blocking) for name, (blocking, _) in CHECKS.items()}
    assert world.production() == second.digest
    assert world.aliases(second) == {"candidate", "staging", "production"}


def test_a_model_that_is_not_as_served_stops_at_staging(
    deployed: tuple[World, Running, ledger.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = deployed[0]
    third = world.model("three", 0.97, validated=False)
    before_it = world.production()
    monkeypatch.setattr(validation, "TOLERANCE", -1.0)  # no answer is as near as that
    result = world.run("release")
    assert not result.success
    assert [e.asset_key for e in result.get_asset_check_evaluations() if not e.passed] == [
        dg.AssetKey("staging_validation")
    ]
    assert world.production() == before_it != third.digest
    stored = read_validation(world.lake, third.digest)
    assert stored is not None
    assert not stored.passed


def test_no_staging_service_deploys_nothing_and_says_what_to_start(
    deployed: tuple[World, Running, ledger.Event],
) -> None:
    nowhere = ServicesResource(production="http://127.0.0.1:9", staging="http://127.0.0.1:9")
    world = replace(deployed[0], services=nowhere)
    before_it = ledger.events(world.lake)
    result = world.run("release")
    [failure] = [e for e in result.all_events if e.is_step_failure]
    assert "carsdepo serve --stage staging" in str(failure.step_failure_data.error)
    assert ledger.events(world.lake) == before_it
