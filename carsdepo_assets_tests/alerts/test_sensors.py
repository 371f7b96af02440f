"""alerts/sensors.py: in a real Dagster instance, with services that really answer or do not."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._utils.error import SerializableErrorInfo

from carsdepo_assets.alerts.resources import AlertsResource, FiguresResource
from carsdepo_assets.alerts.sensors import failed_runs, service_health
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.resources import LakeResource, PolicyResource, ServicesResource
from carsdepo_assets_tests.cloudwatch.emf_rules import measured


@dg.op
def break_down() -> None:
    try:
        raise KeyError("no such camera")
    except KeyError as error:
        raise RuntimeError("it broke") from error


@dg.op
def refuse() -> None:
    raise dg.Failure(description="The batch is unsound: half of it is black.")


@dg.job
def breaking() -> None:
    break_down()


@dg.job
def refusing() -> None:
    refuse()


def resources(lake: Lake, port: int = 1) -> dict[str, Any]:
    url = f"http://127.0.0.1:{port}"
    return {
        "lake": LakeResource(url=lake.url, home=lake.url),
        "policy": PolicyResource(files=["absent.toml"]),
        "services": ServicesResource(production=url, staging=url),
        "alerts": AlertsResource(dagster_url="http://dagster"),
        "figures": FiguresResource(namespace="Carsdepo"),
    }


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (breaking, "break_down: KeyError: 'no such camera'"),
        (refusing, "refuse: The batch is unsound: half of it is black."),
    ],
)
def test_a_failed_run_is_told_of_once(
    lake: Lake, job: dg.JobDefinition, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        context = dg.build_run_status_sensor_context(
            "failed_runs", result.get_run_failure_event(), instance, result.dagster_run, resources=resources(lake)
        ).for_run_failure()
        failed_runs(context)
        counted = measured(capsys.readouterr().out)
        failed_runs(context)
    assert counted == {("Carsdepo", "RunsFailed", "Part=loop"): [1]}
    (row,) = lake.read("alerts").to_pylist()
    assert (row["kind"], row["severity"]) == ("run_failed", "warning")
    assert row["title"] == f"Run of {job.name} failed"
    assert row["body"] == f"{expected}\nhttp://dagster/runs/{result.run_id}"


def test_a_run_that_is_tried_again_is_not_told_of(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = breaking.execute_in_process(
            instance=instance, raise_on_error=False, tags={"dagster/will_retry": "true"}
        )
        context = dg.build_run_status_sensor_context(
            "failed_runs", result.get_run_failure_event(), instance, result.dagster_run, resources=resources(lake)
        ).for_run_failure()
        failed_runs(context)
    assert lake.read("alerts").num_rows == 0
    assert measured(capsys.readouterr().out) == {}


def test_a_run_that_never_began_is_told_of_with_the_reason(lake: Lake) -> None:
    """Its last event says only "marked as failed from outside"."""
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(breaking)
        error = SerializableErrorInfo("the code server took longer than 300 s\n\nStack Trace:\n  ...", [], "Timeout")
        instance.report_engine_event("Could not start the run.", run, EngineEventData(error=error))
        instance.report_engine_event("Noted afterwards.", run, EngineEventData())
        instance.report_run_failed(run)
        failure = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)[-1].dagster_event
        context = dg.build_run_status_sensor_context(
            "failed_runs", failure, instance, instance.get_run_by_id(run.run_id), resources=resources(lake)
        ).for_run_failure()
        failed_runs(context)
    (row,) = lake.read("alerts").to_pylist()
    told = "run: This run has been marked as failed from outside the execution context."
    assert row["body"].startswith(f"{told} Could not start the run. the code server took longer than 300 s\n")


@contextmanager
def service(health: dict[str, Any]) -> Iterator[int]:
    """Answers /healthz with `health`, which may be changed meanwhile; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(health).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return None

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tick(lake: Lake, cursor: str | None, port: int) -> dg.SensorResult:
    context = dg.build_sensor_context(cursor=cursor, resources=resources(lake, port))
    result = service_health(context)
    assert isinstance(result, dg.SensorResult)
    return result


def older(cursor: str | None, seconds: float) -> str:
    """The cursor as it would be had its troubles begun earlier."""
    content = json.loads(cursor or "{}")
    for trouble in content.values():
        trouble["since"] = (datetime.fromisoformat(trouble["since"]) - timedelta(seconds=seconds)).isoformat()
    return json.dumps(content)


def test_before_the_first_deployment_nobody_is_asked(lake: Lake) -> None:
    result = tick(lake, None, 1)
    assert json.loads(result.cursor or "") == {}
    assert "nothing to serve" in str(result.skip_reason)


def test_silence_another_digest_and_recovery(lake: Lake) -> None:
    ledger.record(lake, "production", "promote", digest="new", version=1, actor="ada@desk", reason="first")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()[1]
    first = tick(lake, None, nobody)
    assert lake.read("alerts").num_rows == 0
    second = tick(lake, older(first.cursor, 61), nobody)
    assert "Done" in str(second.skip_reason)
    assert "does not answer" in str(second.skip_reason)
    (down,) = lake.read("alerts").to_pylist()
    assert (down["kind"], down["severity"]) == ("service_down", "critical")
    tick(lake, second.cursor, nobody)
    assert lake.read("alerts").num_rows == 1
    content: dict[str, Any] = {"stage": "production", "status": "serving", "digest": "old"}
    with service(content) as port:
        third = tick(lake, second.cursor, port)
        assert sorted(lake.read("alerts")["kind"].to_pylist()) == ["ledger", "service_down"]
        content["digest"] = "new"
        fourth = tick(lake, third.cursor, port)
    assert json.loads(fourth.cursor or "") == {}
    assert lake.read("alerts")["severity"].to_pylist().count("info") == 1


def test_the_sensors_run_by_default() -> None:
    assert {s.default_status for s in (failed_runs, service_health)} == {dg.DefaultSensorStatus.RUNNING}
