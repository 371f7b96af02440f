"""monitoring/assets.py and sensors.py: reports and profiles materialize, and each report is routed once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.monitoring import assets, jobs, routing, sensors
from carsdepo_assets.monitoring.reference import build_reference
from carsdepo_assets.orchestration.ui_metadata import significant
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets_tests.compute.in_process import in_process
from carsdepo_assets_tests.monitoring import monitored_lake
from carsdepo_assets_tests.monitoring.monitored_lake import RULES, drawn_answers, photographs

pytestmark = pytest.mark.slow

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@dg.asset
def labelling_queue() -> None:
    """Stands for step 1's asset."""


cut_queue_job = dg.define_asset_job("cut_queue", selection=["labelling_queue"])


class House:
    """A lake, its resources, and an instance that remembers runs."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.lake = Lake.open(folder / "lake")
        self.instance = instance
        self.policy_file = folder / "carsdepo.toml"
        self.policy_file.write_text("[monitoring]\nresamples = 400\n")
        self.resources: dict[str, Any] = {
            "lake": LakeResource(url=str(folder / "lake"), home=str(folder)),
            "policy": PolicyResource(files=[str(self.policy_file)]),
            "alerts": AlertsResource(),
            "compute": in_process(),
        }
        self.definitions = dg.Definitions(
            assets=[*dg.load_assets_from_modules([assets]), labelling_queue],
            jobs=[jobs.drift_job, jobs.route_job, jobs.profile_job, jobs.quality_job, cut_queue_job],
            sensors=[sensors.measure_drift, sensors.drift_router, sensors.cut_drift_queues, sensors.measure_quality],
            resources=self.resources,
        )

    def materialize(
        self, *chosen: dg.AssetsDefinition, partition: str | None = None, **config: Any
    ) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            list(chosen),
            resources=self.resources,
            instance=self.instance,
            partition_key=partition,
            run_config={"ops": {k: {"config": v} for k, v in config.items()}},
        )

    def alert(self, key: str, severity: str, title: str, body: str) -> bool:
        policy = self.resources["policy"].read()
        alerts: AlertsResource = self.resources["alerts"]
        return alerts.send(self.lake, policy, kind="drift", key=key, severity=severity, title=title, body=body)  # type: ignore[arg-type]

    def tick(self, name: str, cursor: str | None = None) -> dg.SensorExecutionData:
        repository = self.definitions.get_repository_def()
        sensor = repository.get_sensor_def(name)
        context = dg.build_sensor_context(
            instance=self.instance, repository_def=repository, resources=self.resources, cursor=cursor
        )
        return sensor.evaluate_tick(context)

    def route(self) -> dg.ExecuteInProcessResult:
        """What the daemon does with the router's request."""
        request = self.tick("drift_router")
        (wanted,) = request.run_requests or []
        job = self.definitions.resolve_job_def("route_drift")
        return job.execute_in_process(instance=self.instance, tags=dict(wanted.tags))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield House(tmp_path, instance)


@pytest.fixture
def digest(house: House) -> str:
    digest = monitored_lake.put_model(house.lake)
    monitored_lake.promote(house.lake, digest)
    monitored_lake.put_dataset(house.lake, photographs("r", 400, 1))
    policy = house.resources["policy"].read()
    assert policy.monitoring == RULES.monitoring
    build_reference(house.lake, digest, policy, drawn_answers)
    return digest


def traffic(house: House, digest: str, night: float, unit: str = "w", n: int = 200) -> None:
    monitored_lake.put_answers(
        house.lake, digest, photographs(unit, n, 2, night), unit=unit, start=datetime.now(UTC) - timedelta(hours=1)
    )


def metadata(result: dg.ExecuteInProcessResult, key: str) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node(key)
    return {k: v.value for k, v in event.metadata.items()}


def test_a_report_materializes_with_what_people_want_to_see(house: House, digest: str) -> None:
    traffic(house, digest, 0.3)
    now = datetime.now(UTC)
    times = {"from_time": (now - timedelta(hours=24)).isoformat(), "to_time": now.isoformat()}
    result = house.materialize(assets.reference_profile, assets.drift_report, drift_report=times)
    reference, report = metadata(result, "reference_profile"), metadata(result, "drift_report")
    assert reference["reused"] is True
    assert reference["dagster/row_count"] == 400
    assert report["band"] == "high"
    assert "darker" in report["summary"]  # as the first or beside it
    assert report["drift"] == significant(house.lake.read("drift").to_pylist()[0]["drift"])
    assert Path(report["report"]).is_file()
    assert report["distributions"].startswith("![picture](data:image/png")
    assert {r.data["source"] for r in report["sources"].records} >= {"source", "camera"}


def test_the_last_day_is_measured_where_no_time_is_given(house: House, digest: str) -> None:
    traffic(house, digest, 0.0)
    house.materialize(assets.drift_report)
    (row,) = house.lake.read("drift").to_pylist()
    assert row["window_to"] - row["window_from"] == timedelta(hours=24)
    assert row["photographs"] == 200
    assert row["band"] == "none"


def test_a_time_that_is_none_is_refused(house: House, digest: str) -> None:
    with pytest.raises(dg.Failure, match="not an ISO time"):
        house.materialize(assets.drift_report, drift_report={"from_time": "yesterday"})


def test_without_a_model_in_production_the_reference_says_what_to_do(house: House) -> None:
    with pytest.raises(dg.Failure, match="Production serves nothing yet"):
        house.materialize(assets.reference_profile)


def test_a_day_has_its_profile(house: House, digest: str) -> None:
    monitored_lake.put_answers(house.lake, digest, photographs("w", 60, 2), start=TODAY)
    result = house.materialize(assets.inference_profile, partition=TODAY.date().isoformat())
    shown = metadata(result, "inference_profile")
    assert shown["answers"] == 60
    assert Path(shown["profile"]).is_file()
    empty = house.materialize(assets.inference_profile, partition="2026-01-02")
    assert metadata(empty, "inference_profile") == {"answers": 0}


def test_quality_is_asked_for_once_for_each_state_of_the_labels(house: House, digest: str) -> None:
    monitored_lake.put_answers(house.lake, digest, photographs("w", 3, 2), start=TODAY)
    assert not house.tick("measure_quality").run_requests
    image = house.lake.read("inferences").to_pylist()[0]["image_id"]
    house.lake.append("annotations", [{"revision_id": "l1", "image_id": image, "boxes": [], "sequence": 1}], "l1")
    first = house.tick("measure_quality")
    (request,) = first.run_requests or []
    assert request.partition_key == TODAY.date().isoformat()
    assert not house.tick("measure_quality", first.cursor).run_requests
    result = house.materialize(assets.live_quality, partition=request.partition_key)
    assert metadata(result, "live_quality")["labelled_since"] == 1
    house.lake.append("annotations", [{"revision_id": "l2", "image_id": image, "boxes": [], "sequence": 2}], "l2")
    assert house.tick("measure_quality", first.cursor).run_requests


def test_labels_of_answers_whose_clock_was_wrong_hold_up_no_others(house: House, digest: str) -> None:
    for unit, start in (("w", TODAY), ("f", datetime(2999, 1, 1, 12, tzinfo=UTC))):
        monitored_lake.put_answers(house.lake, digest, photographs(unit, 1, 2), unit=unit, start=start)
    for n, row in enumerate(house.lake.read("inferences").to_pylist()):
        label = {"revision_id": f"l{n}", "image_id": row["image_id"], "boxes": [], "sequence": 1}
        house.lake.append("annotations", [label], f"l{n}")
    requests = house.tick("measure_quality").run_requests or []
    assert [request.partition_key for request in requests] == [TODAY.date().isoformat()]


def test_enough_answers_ask_for_a_report_and_the_days_profile(house: House, digest: str) -> None:
    assert "nothing" in str(house.tick("measure_drift").skip_message)
    traffic(house, digest, 0.0, n=40)
    assert "50 are needed" in str(house.tick("measure_drift").skip_message)
    traffic(house, digest, 0.0, "more", n=40)
    requests = house.tick("measure_drift").run_requests or []
    by_job = {r.job_name: r for r in requests}
    assert set(by_job) == {"drift", "profile_answers"}
    config = by_job["drift"].run_config["ops"]["drift_report"]["config"]
    house.materialize(assets.drift_report, drift_report=config)
    assert house.lake.read("drift").to_pylist()[0]["photographs"] == 80
    assert not house.tick("measure_drift").run_requests


def test_failing_reports_do_not_start_a_run_every_tick(house: House, digest: str) -> None:
    traffic(house, digest, 0.0)
    job = house.definitions.resolve_job_def("drift")
    for _ in range(sensors.PAUSE.after_failures):
        wrong = {"ops": {"drift_report": {"config": {"from_time": "never"}}}}
        job.execute_in_process(instance=house.instance, run_config=wrong, raise_on_error=False)
    assert "failed" in str(house.tick("measure_drift").skip_message)


def test_high_drift_asks_for_its_queue_once_and_tells_people_once(house: House, digest: str) -> None:
    traffic(house, digest, 0.3)
    house.materialize(assets.drift_report)
    assert not house.tick("cut_drift_queues").run_requests
    house.route()
    (request,) = house.tick("cut_drift_queues").run_requests or []
    (route,) = house.lake.read("routes").to_pylist()
    report_id = route["report_id"]
    assert request.run_config["ops"]["labelling_queue"]["config"] == {"report_id": report_id}
    assert request.run_key == f"queue:{report_id}"
    assert request.tags[sensors.DRIFT_TAG] == report_id
    assert route["actions"] == ["queue", "hold", "experiment", "study", "alert"]
    # The tick died before its run was launched: the next one asks again, under the same key.
    (again,) = house.tick("cut_drift_queues").run_requests or []
    assert again.run_key == request.run_key
    house.definitions.resolve_job_def("cut_queue").execute_in_process(instance=house.instance, tags=dict(request.tags))
    assert not house.tick("cut_drift_queues").run_requests
    assert not house.tick("drift_router").run_requests
    assert house.lake.read("routes").num_rows == 1
    (alert,) = house.lake.read("alerts").to_pylist()
    assert (alert["kind"], alert["severity"]) == ("drift", "critical")


def test_no_drift_is_routed_to_nothing(house: House, digest: str) -> None:
    traffic(house, digest, 0.0)
    house.materialize(assets.drift_report)
    shown = metadata(house.route(), "drift_route")
    assert "No drift" in shown["message"]
    assert (shown["band"], shown["actions"], shown["reports_routed"]) == ("none", [], 1)
    assert Path(shown["report"]).is_file()
    assert not house.tick("drift_router").run_requests
    assert not house.tick("cut_drift_queues").run_requests
    assert house.lake.read("routes").to_pylist()[0]["actions"] == []
    assert house.lake.read("alerts").num_rows == 0


def test_a_damaged_report_is_shown_and_does_not_fail_the_run(house: House, digest: str) -> None:
    traffic(house, digest, 0.0)
    house.materialize(assets.drift_report)
    house.lake.append("drift", [{"report_id": "torn", "band": None}, {"report_id": None}], "torn")
    assert house.tick("drift_router").run_requests
    shown = metadata(house.route(), "drift_route")
    assert (shown["band"], shown["reports_routed"]) == ("none", 3)
    assert shown["damaged"].keys() == {"torn", "None"}
    assert not house.tick("drift_router").run_requests
    assert house.lake.read("alerts").num_rows == 2


@pytest.mark.slow
def test_a_route_that_was_killed_is_asked_for_again(house: House, digest: str) -> None:
    """Between the alert and the row: the same run once more, neither the alert nor the row a second time."""
    traffic(house, digest, 0.3)
    house.materialize(assets.drift_report)
    (first,) = house.tick("drift_router").run_requests or []
    job = house.definitions.resolve_job_def("route_drift")
    started = house.instance.create_run_for_job(job, tags=dict(first.tags), status=dg.DagsterRunStatus.STARTED)
    assert "under way" in str(house.tick("drift_router").skip_message)
    append = Lake.append
    with pytest.MonkeyPatch.context() as patch:

        def killed(lake: Lake, table: str, *args: Any, **more: Any) -> Any:
            if table == "routes":
                raise KeyboardInterrupt
            return append(lake, table, *args, **more)

        patch.setattr(Lake, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            routing.route_unrouted(house.lake, house.resources["policy"].read(), house.alert, datetime.now(UTC))
    house.instance.report_run_failed(started)
    assert house.lake.read("routes").num_rows == 0
    (again,) = house.tick("drift_router").run_requests or []
    assert again.tags == first.tags
    assert again.run_key != first.run_key
    house.route()
    assert house.lake.read("routes").num_rows == 1
    assert house.lake.read("alerts").num_rows == 1


def test_routes_that_fail_do_not_start_a_run_every_tick(house: House, digest: str) -> None:
    traffic(house, digest, 0.0)
    house.materialize(assets.drift_report)
    policy_text = house.policy_file.read_text()
    job = house.definitions.resolve_job_def("route_drift")
    house.policy_file.write_text("[monitoring]\nresamples = 'many'\n")
    for _ in range(sensors.PAUSE.after_failures):
        assert house.tick("drift_router").run_requests
        job.execute_in_process(instance=house.instance, raise_on_error=False)
    assert "failed" in str(house.tick("drift_router").skip_message)
    house.policy_file.write_text(policy_text)


def test_sensors_run_by_default() -> None:
    for sensor in (sensors.measure_drift, sensors.drift_router, sensors.cut_drift_queues, sensors.measure_quality):
        assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
