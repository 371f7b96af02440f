"""release/sensors.py and next_step.py: once for each state, never while a run is under way, never a barred model."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.lake import golden
from carsdepo_assets.registry import ledger, models
from carsdepo_assets.release import sensors
from carsdepo_assets.resources import NoService
from carsdepo_assets_tests.release.released_lake import World

pytestmark = pytest.mark.slow


def tick(world: World, sensor: dg.SensorDefinition = sensors.release_candidate) -> dg.RunRequest | dg.SkipReason:
    context = dg.build_sensor_context(
        instance=world.instance,
        resources={k: v for k, v in world.resources().items() if k in sensor.required_resource_keys},
        repository_def=world.definitions().get_repository_def(),
    )
    request: Any = sensor(context)
    return request


def skipped(request: dg.RunRequest | dg.SkipReason) -> str:
    assert isinstance(request, dg.SkipReason), request
    return request.skip_message or ""


def requested(request: dg.RunRequest | dg.SkipReason) -> tuple[str, str]:
    """(job, version)"""
    assert isinstance(request, dg.RunRequest), request
    return str(request.job_name), request.run_config["ops"]["production_model"]["config"]["version"]


def carry_out(world: World, request: dg.RunRequest | dg.SkipReason, status: str | None = None) -> None:
    """The run that was asked for; status: only its record, with this end."""
    assert isinstance(request, dg.RunRequest)
    if status is not None:
        run = world.instance.create_run_for_job(
            world.definitions().resolve_job_def(str(request.job_name)),
            tags={**request.tags, "dagster/failure_reason": "STEP_FAILURE"},
            status=dg.DagsterRunStatus[status],
        )
        assert run.run_id
        return
    result = (
        world.definitions()
        .resolve_job_def(str(request.job_name))
        .execute_in_process(
            instance=world.instance, run_config=request.run_config, tags=request.tags, raise_on_error=False
        )
    )
    assert result.success


def test_nothing_to_release(world: World) -> None:
    assert "candidate" in skipped(tick(world))


def test_a_candidate_goes_through_staging_once(world: World) -> None:
    first = world.model("one", 0.8, validated=False)
    request = tick(world)
    assert requested(request) == ("release", "1")
    assert isinstance(request, dg.RunRequest)
    assert request.run_config["ops"]["staging_deployment"]["config"] == {"version": "1"}
    world.validate(first)  # staging found it right, and the run was cut off before the gate
    request = tick(world)
    assert requested(request) == ("promote", "1")
    carry_out(world, request)
    assert world.production() == first.digest
    assert "Production serves the newest candidate" in skipped(tick(world))


def test_another_policy_is_validated_anew(world: World) -> None:
    world.model("one", 0.8)
    world.rule('[gate]\nmode = "point"\n[inference]\nruntime = "torch"\n')
    assert requested(tick(world)) == ("release", "1")


def test_a_verdict_against_it_stands_until_something_changes(world: World) -> None:
    first, worse = world.model("one", 0.9), world.model("two", 0.4)
    world.promote(first)
    carry_out(world, tick(world))
    assert world.production() == first.digest
    assert "The gate's verdict on version 2 is reject" in skipped(tick(world))
    current = golden.current(world.lake)
    assert current is not None
    golden.write(world.lake, golden.Golden(2, current.images[:-1], "ann", "less"))
    assert requested(tick(world)) == ("promote", "2")
    carry_out(world, tick(world))
    assert "reject" in skipped(tick(world))
    world.say("approve", worse)
    request = tick(world)
    assert requested(request) == ("promote", "2")
    carry_out(world, request)
    assert world.production() == worse.digest


def test_it_waits_for_the_person_whom_the_policy_or_a_hold_asks_for(world: World) -> None:
    first = world.model("one", 0.8)
    ledger.record(world.lake, "production", "hold", digest=None, version=None, actor="auto:x", reason="drift 6 %")
    carry_out(world, tick(world))
    assert "waits for a person's approval" in skipped(tick(world))
    world.say("approve", first)
    carry_out(world, tick(world))
    assert world.production() == first.digest


def test_barred_models_are_left_alone(world: World) -> None:
    first, second = world.model("one", 0.5), world.model("two", 0.9)
    world.promote(first)
    world.promote(second)
    world.back("broken")
    assert "rolled back by ann@desk: broken" in skipped(tick(world))
    third = world.model("three", 0.95)
    world.say("reject", third)
    assert "rejected" in skipped(tick(world))


def test_an_approved_model_is_released_although_it_is_no_candidate(world: World) -> None:
    version = world.model("one", 0.01, validated=False)
    world.tracking.client.delete_registered_model_alias(models.MODEL_NAME, "candidate")
    assert "no approved one waits" in skipped(tick(world))
    world.say("approve", version)
    assert requested(tick(world)) == ("release", "1")
    world.say("reject", version)
    assert "no approved one waits" in skipped(tick(world))


def test_never_beside_a_release_that_runs(world: World) -> None:
    world.model("one", 0.8)
    for job in ("release", "promote", "rollback_production"):
        run = world.instance.create_run_for_job(
            world.definitions().resolve_job_def(job),
            run_config={"ops": {"rollback": {"config": {"reason": "a test"}}}} if job.startswith("rollback") else {},
            status=dg.DagsterRunStatus.STARTED,
        )
        assert f"A run of {job} is under way" in skipped(tick(world))
        world.instance.delete_run(run.run_id)
    assert requested(tick(world)) == ("promote", "1")


def test_a_state_is_tried_three_times(world: World) -> None:
    first = world.model("one", 0.8)
    keys = set()
    for _ in range(sensors.MAX_ATTEMPTS):
        request = tick(world)
        assert isinstance(request, dg.RunRequest)
        keys.add(request.run_key)
        carry_out(world, request, "FAILURE")
    assert len(keys) == 3
    assert "ended without a verdict" in skipped(tick(world))
    world.say("approve", first)  # another state
    assert requested(tick(world)) == ("promote", "1")


def test_a_service_that_is_down_fails_the_tick_and_uses_no_attempt(world: World) -> None:
    world.model("one", 0.8)
    world.stages["production"].end()
    with pytest.raises(NoService, match="carsdepo serve --stage production"):
        tick(world)


@pytest.mark.slow
def test_the_ledger_is_projected_and_old_disagreements_are_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = world.model("one", 0.6), world.model("two", 0.9)
    assert "empty" in skipped(tick(world, sensors.ledger_projection))
    world.promote(first)
    assert "as the ledger has them" in skipped(tick(world, sensors.ledger_projection))
    world.tracking.client.set_registered_model_alias(models.MODEL_NAME, "production", str(second.version))
    # Young: a run that promotes sets the alias itself a moment later. Mended all the same, and nobody is woken.
    result: Any = tick(world, sensors.ledger_projection)
    assert isinstance(result, dg.SensorResult)  # it did something: a SkipReason would mean that nothing is new
    assert "set" in str(result.skip_reason)
    assert world.aliases(first) == {"production"}
    assert world.alerts() == []
    monkeypatch.setattr(sensors, "SETTLED", timedelta(0))
    world.tracking.client.set_registered_model_alias(models.MODEL_NAME, "production", str(second.version))
    tick(world, sensors.ledger_projection)
    [(kind, body)] = world.alerts()
    assert kind == "ledger"
    assert "alias production was on version 2, the ledger says version 1" in body


def test_a_disagreement_that_stays_is_told_once_and_is_no_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.model("one", 0.6)
    world.promote(first)
    tick(world, sensors.ledger_projection)
    monkeypatch.setattr(sensors, "SETTLED", timedelta(0))
    world.tracking.client.delete_model_version(models.MODEL_NAME, str(first.version))
    world.tracking.client.create_model_version(models.MODEL_NAME, "somewhere", await_creation_for=0)
    for _ in range(3):
        assert "does not know" in skipped(tick(world, sensors.ledger_projection))
    bodies = [body for _, body in world.alerts()]
    assert len(bodies) == 2
    assert any("MLflow's registry does not know: register it again, or roll back" in body for body in bodies)
    assert any("that no training registered" in body for body in bodies)
