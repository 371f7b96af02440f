"""business/assets.py, business/jobs.py, business/sensors.py: the assets, the job, its sensor and the schedule."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from carsdepo_assets.business import assets, file_states, jobs, sensors
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets_tests.business.business_rows import drop

DROPPED = {
    "inspections": (
        "I1,L1,2026-05-01,8,0,30,30,EUR",
        "I2,L2,2026-07-01,8,9,30,30,EUR",
        "I3,L3,2026-07-02,8,6,9,15,EUR",
    ),
    "transactions": ("T1,L1,2026-05-02,2026-05-30,9900,EUR", "T2,L3,2026-07-03,2026-07-17,9900,EUR"),
    "disputes": ("D1,T9,2026-07-20,damage,100,EUR",),
}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


@pytest.fixture
def resources(tmp_path: Path) -> dict[str, dg.ConfigurableResource]:
    return {
        "lake": LakeResource(url=str(tmp_path / "lake"), home=str(tmp_path)),
        "policy": PolicyResource(files=[str(tmp_path / "carsdepo.toml")]),
    }


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def dropped(lake: Lake) -> None:
    for kind, lines in DROPPED.items():
        drop(lake, kind, "a.csv", *lines)  # type: ignore[arg-type]


def definitions(resources: dict[str, dg.ConfigurableResource]) -> dg.Definitions:
    return dg.Definitions(
        assets=dg.load_assets_from_modules([assets]),
        jobs=[jobs.business_job, jobs.kpi_job],
        sensors=[sensors.new_business_files],
        schedules=[jobs.kpis_every_morning],
        resources=resources,
        executor=dg.in_process_executor,
    )


@pytest.mark.slow
def test_the_job_takes_files_to_a_report(
    lake: Lake, resources: dict[str, dg.ConfigurableResource], tmp_path: Path
) -> None:
    dropped(lake)
    (tmp_path / "carsdepo.toml").write_text('[business]\nbaseline_until = "2026-06-30"\n')
    result = definitions(resources).resolve_job_def("business").execute_in_process()
    assert result.success
    events = {e.asset_key.to_user_string(): e for e in result.get_asset_materialization_events() if e.asset_key}
    assert set(events) == {*DROPPED, "kpi_report"}
    metadata = {k: e.materialization.metadata for k, e in events.items()}
    assert metadata["inspections"]["dagster/row_count"].value == 2
    assert metadata["inspections"]["rows_in_quarantine"].value == 1
    assert metadata["kpi_report"]["cost_reduction_pct"].value == pytest.approx(50.0)
    assert metadata["kpi_report"]["speed_improvement_pct"].value == pytest.approx(50.0)
    assert Path(str(metadata["kpi_report"]["report"].value)).is_file()
    checks = {(c.asset_key.to_user_string(), c.check_name): c for c in result.get_asset_check_evaluations()}
    assert {k: c.passed for k, c in checks.items()} == {
        ("inspections", "rows_are_sound"): False,  # one of three rows
        ("transactions", "rows_are_sound"): True,
        ("disputes", "rows_are_sound"): True,
        ("kpi_report", "goals_are_met"): True,
        ("kpi_report", "automation_is_accurate"): False,
        ("kpi_report", "disputes_name_known_sales"): False,
    }
    assert all(c.severity == dg.AssetCheckSeverity.WARN for c in checks.values())


@pytest.mark.slow
def test_a_missed_goal_warns(lake: Lake, resources: dict[str, dg.ConfigurableResource], tmp_path: Path) -> None:
    dropped(lake)
    (tmp_path / "carsdepo.toml").write_text(
        '[business]\nbaseline_until = "2026-06-30"\n[business.goals]\ncost_reduction_pct = 60\n'
    )
    result = definitions(resources).resolve_job_def("business").execute_in_process()
    (check,) = [c for c in result.get_asset_check_evaluations() if c.check_name == "goals_are_met"]
    assert not check.passed
    assert "50.0 %, goal: at least 60 %" in str(check.description)


def tick(resources: dict[str, dg.ConfigurableResource], instance: dg.DagsterInstance) -> dg.RunRequest | dg.SkipReason:
    context = dg.build_sensor_context(instance=instance, resources=resources)
    return sensors.new_business_files(context)  # type: ignore[return-value]


@pytest.mark.slow
def test_the_sensor_compares_states(
    lake: Lake, resources: dict[str, dg.ConfigurableResource], instance: dg.DagsterInstance
) -> None:
    assert "Nothing new" in str(tick(resources, instance))
    key = drop(lake, "disputes", "a.csv", "D1,T1,2026-07-20,damage,100,EUR")
    assert "being written" in str(tick(resources, instance))
    assert lake.root is not None
    old = time.time() - 60
    os.utime(lake.root / key, (old, old))
    first = tick(resources, instance)
    assert isinstance(first, dg.RunRequest)
    assert first.run_key == tick(resources, instance).run_key  # type: ignore[union-attr]
    definitions(resources).resolve_job_def("business").execute_in_process(instance=instance, tags=first.tags)
    assert "Nothing new" in str(tick(resources, instance))


def test_a_file_whose_time_alone_changed_starts_no_run_and_is_hashed_once(
    lake: Lake,
    resources: dict[str, dg.ConfigurableResource],
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = drop(lake, "disputes", "a.csv", "D1,T1,2026-07-20,damage,100,EUR")
    assert lake.root is not None
    now = time.time()
    os.utime(lake.root / key, (now - 900, now - 900))
    definitions(resources).resolve_job_def("business").execute_in_process(instance=instance)
    rows = lake.read("disputes").num_rows, lake.read("quarantine").num_rows
    read: list[str] = []
    real = file_states._sha256
    monkeypatch.setattr(
        file_states, "_sha256", lambda lake, entry, policy: read.append(entry.key) or real(lake, entry, policy)
    )
    os.utime(lake.root / key, (now - 600, now - 600))
    for _ in range(3):
        assert "Nothing new" in str(tick(resources, instance))
    assert read == [key]
    assert (lake.read("disputes").num_rows, lake.read("quarantine").num_rows) == rows
    drop(lake, "disputes", "a.csv", "D1,T1,2026-07-20,damage,101,EUR")  # as long as before
    os.utime(lake.root / key, (now - 300, now - 300))
    assert isinstance(tick(resources, instance), dg.RunRequest)


def test_a_run_that_fails_is_tried_again_and_then_given_up(
    lake: Lake, resources: dict[str, dg.ConfigurableResource], instance: dg.DagsterInstance
) -> None:
    key = drop(lake, "disputes", "a.csv", "D1,T1,2026-07-20,damage,100,EUR")
    assert lake.root is not None
    old = time.time() - 60
    os.utime(lake.root / key, (old, old))
    keys = []
    for _ in range(3):
        request = tick(resources, instance)
        assert isinstance(request, dg.RunRequest)
        keys.append(request.run_key)
        instance.create_run_for_job(
            definitions(resources).resolve_job_def("business"),
            status=dg.DagsterRunStatus.FAILURE,
            tags={**request.tags, "dagster/failure_reason": "STEP_FAILURE"},
        )
    assert len(set(keys)) == 3
    assert "failed; their logs say why" in str(tick(resources, instance))


def test_the_sensor_waits_for_the_run_under_way(
    lake: Lake, resources: dict[str, dg.ConfigurableResource], instance: dg.DagsterInstance
) -> None:
    drop(lake, "disputes", "a.csv", "D1,T1,2026-07-20,damage,100,EUR")
    instance.create_run_for_job(definitions(resources).resolve_job_def("business"), status=dg.DagsterRunStatus.STARTED)
    assert "under way" in str(tick(resources, instance))


def test_schedule_and_sensor_run_by_default() -> None:
    assert sensors.new_business_files.default_status == dg.DefaultSensorStatus.RUNNING
    assert jobs.kpis_every_morning.default_status == dg.DefaultScheduleStatus.RUNNING
