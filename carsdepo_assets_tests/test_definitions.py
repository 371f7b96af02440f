"""definitions.py: the graph as a whole, what loading it imports, and the files that Dagster reads."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from carsdepo_assets.definitions import defs
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.graph_snapshot import GRAPH

ROOT = Path(__file__).parent.parent
BANNED = (
    "torch",
    "ultralytics",
    "cv2",
    "mlflow",
    "dagster_mlflow",
    "whylogs",
    "great_expectations",
    "matplotlib",
    "boto3",
    "fastapi",
    "uvicorn",
    "httpx",
    "onnxruntime",
    "openvino",
    "apprise",
    "optuna",
    "transformers",
    "sklearn",
)
SENSORS = (
    "new_uploads",
    "new_labels",
    "new_metadata",
    "study_after_drift",
    "retrain",
    "settle_runs",
    "release_candidate",
    "ledger_projection",
    "endpoints_follow_ledger",
    "new_inferences",
    "measure_drift",
    "drift_router",
    "cut_drift_queues",
    "measure_quality",
    "new_business_files",
    "failed_runs",
    "release_news",
    "service_health",
    "waiting_runs",
    "publish_figures",
)
BLOCKING = {
    "batch_is_sound",
    "photographs_are_sound",
    "labels_are_sound",
    "digest_is_registered",
    "answers_equal_offline",
    "bad_input_is_refused",
    "capture_arrives",
}


def test_graph_snapshot() -> None:
    graph = defs().resolve_asset_graph()
    found = {}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        partitions = None
        if isinstance(node.partitions_def, dg.DynamicPartitionsDefinition):
            partitions = node.partitions_def.name
        elif isinstance(node.partitions_def, dg.DailyPartitionsDefinition):
            partitions = "day"
        found[key.to_user_string()] = (node.group_name, partitions, {k.to_user_string() for k in node.parent_keys})
    assert found == GRAPH


def test_every_asset_is_described_in_the_catalogue() -> None:
    """A person who opens any asset reads what it is, who owns it, what it is made of, and gets to its code."""
    graph = defs().resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        summary = " ".join((node.description or "").partition("\n\n")[0].split())
        assert len(summary.split()) >= 5, key
        assert summary.endswith("."), key
        assert "..." not in (node.description or ""), key
        assert node.owners, key
        assert all(owner.startswith("team:") for owner in node.owners), key
        assert node.kinds, key
        assert node.tags["carsdepo/step"] == node.group_name, key
        assert node.tags["carsdepo/unit_of_work"] == (GRAPH[key.to_user_string()][1] or "all"), key
        assert "dagster/code_references" in node.metadata, key
        assert re.fullmatch("[0-9a-f]{16}", node.code_version or ""), key


def test_every_check_and_job_is_described() -> None:
    graph = defs().resolve_asset_graph()
    for check in graph.asset_check_keys:
        assert graph.get(check).description, check
    for job in defs().resolve_all_job_defs():
        assert job.description or job.name == "__ASSET_JOB", job.name
    for sensor in defs().sensors or []:
        assert sensor.description, sensor.name


def test_sensors_run_by_default() -> None:
    found = {s.name: s.default_status for s in defs().sensors or []}
    assert found == dict.fromkeys(SENSORS, dg.DefaultSensorStatus.RUNNING)


def test_blocking_checks_stand_where_a_bad_batch_would_poison() -> None:
    graph = defs().resolve_asset_graph()
    blocking = {c.name for c in graph.asset_check_keys if graph.get(c).blocking}
    assert blocking == BLOCKING


@pytest.mark.slow
def test_loading_imports_nothing_heavy() -> None:
    code = (
        "import json, sys\nfrom carsdepo_assets.definitions import defs\ndefs()\n"
        f"print(json.dumps([m for m in {BANNED!r} if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout) == []


@pytest.mark.slow
@pytest.mark.parametrize("command", [["dagster", "definitions", "validate"], ["dg", "check", "defs"]])
def test_dagster_accepts_the_project(command: list[str], tmp_path: Path) -> None:
    tool = Path(sys.executable).parent / command[0]
    done = subprocess.run([str(tool), *command[1:]], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_generated_dagster_yaml_is_the_committed_one_elsewhere(tmp_path: Path) -> None:
    settings = Settings.read({}, home=tmp_path)
    made = yaml.safe_load((settings.dagster_home() / "dagster.yaml").read_text())
    kept = yaml.safe_load((ROOT / "dagster.yaml").read_text().replace(".carsdepo/", f"{tmp_path}/"))
    assert made == kept


def test_committed_dagster_yaml_keeps_all_state_below_carsdepo(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    folders = [
        config["storage"]["sqlite"]["base_dir"],
        config["local_artifact_storage"]["config"]["base_dir"],
        config["compute_logs"]["config"]["base_dir"],
    ]
    assert all(f.startswith(".carsdepo/") for f in folders)
    assert config["telemetry"] == {"enabled": False}
