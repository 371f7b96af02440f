"""settings.py: a copied or moved home is used where it is now; nothing is ingested again or touches the old place."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.commands.dev import _commands, _environments
from carsdepo_assets.commands.sending import send_folder
from carsdepo_assets.commands.services import end, running
from carsdepo_assets.demo.sample.write import write_sample
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.models import versions
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.resources import ServicesResource
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.end_to_end.dagster_server import Server, free_port
from carsdepo_assets_tests.inference.served_models import exported_and_signed

POLICY = """
[data]
batch_max_age_s = 0
[training]
debounce_s = 0
[evaluation]
floor_map50 = 0.0
[business]
settle_s = 0
"""
# In a process of its own, as a person's commands are: lets the sensors look (before a training all that is new is
# ingested first), brings the folder in again, trains if asked to, and tells what there is.
USE = """
import json, sys
from pathlib import Path
from carsdepo_assets.commands.import_questions import ImportOptions
from carsdepo_assets.demo.train_loop import Loop, bring_in, train
from carsdepo_assets.commands.lineage import lineage_of
from carsdepo_assets.commands.pipeline import Pipeline
from carsdepo_assets.commands.status import read_status
from carsdepo_assets.data.batches.batches import list_batches
from carsdepo_assets.settings import Settings

home, folder, trains = sys.argv[1:]
settings, quiet = Settings.read({}, home=Path(home)), lambda line: None
with Pipeline.open(settings) as pipeline:
    ticked = {}
    ingested = [batch for kind in ("uploads", "labels") if trains == "yes" for batch in pipeline.ingest(kind)]
    for sensor in ("new_uploads", "new_labels", "new_business_files"):
        ticked[sensor] = len(pipeline.tick(sensor).runs)
    before = pipeline.instance.get_runs_count()
    bring_in(pipeline, Loop(), Path(folder), ImportOptions(), "sample", quiet)
    imported = pipeline.instance.get_runs_count() - before
    if trains == "yes":
        train(pipeline, Loop(), quiet, fast=True)
from carsdepo_assets.lake.lake import Lake
lake = Lake.open(settings.lake)
tables = ("uploads", "images", "processed", "annotations", "quarantine", "disputes")
print("said:" + json.dumps({
    "runs": ticked | {"import": imported},
    "ingested": len(ingested),
    "batches": {kind: list_batches(lake, kind) for kind in ("uploads", "labels")},
    "rows": {table: lake.read(table).num_rows for table in tables},
    "status": read_status(settings),
    "lineage": lineage_of(settings, model="latest"),
}))
"""
NO_RUNS = dict.fromkeys(("new_uploads", "new_labels", "new_business_files", "import"), 0)


def use(home: Path, folder: Path, *, trains: bool = False) -> dict[str, Any]:
    """What USE told of it. Of the environment nothing says where a home is."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("CARSDEPO_", "DAGSTER_", "MLFLOW_"))}
    done = subprocess.run(
        [sys.executable, "-c", USE, str(home), str(folder), "yes" if trains else "no"],
        env=environment,
        cwd=folder.parent,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("said:")]
    return dict(json.loads(line.removeprefix("said:")))


def state(home: Path) -> dict[str, tuple[int, int, str]]:
    """path -> size, time and digest of every file; a folder's is its time."""
    found: dict[str, tuple[int, int, str]] = {}
    for path in sorted(home.rglob("*")):
        facts = path.stat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        found[str(path.relative_to(home))] = (facts.st_size, facts.st_mtime_ns, digest)
    return found


def naming(home: Path, place: Path) -> list[str]:
    """Files of the home that hold the path of `place`."""
    files = (p for p in home.rglob("*") if p.is_file())
    return sorted(str(p.relative_to(home)) for p in files if str(place).encode() in p.read_bytes())


def is_history(file: str) -> bool:
    """Dagster's events, Delta's commits and logs tell what happened and where that was then; nothing opens it."""
    return file.startswith(("dagster/", "logs/")) or "/_delta_log/" in file


def ask(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def artifacts_are_shown(settings: Settings, log: Path) -> None:
    """MLflow's own server, as `carsdepo dev` starts it, lists and sends the artifacts of every version's run."""
    url = f"http://127.0.0.1:{settings.mlflow_port}"
    with log.open("wb") as out:
        server = subprocess.Popen(
            _commands(settings)["MLflow"],
            env=_environments(settings)["MLflow"],
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        for version in versions(Tracking.at_home(settings.home)):
            list_artifacts = partial(ask, f"{url}/api/2.0/mlflow/artifacts/list?run_id={version.run_id}&path=model")
            listed = Server(settings, log).wait("MLflow's list of artifacts", list_artifacts, 180)
            assert [file["path"] for file in listed["files"]] == ["model/where.json"]
            sent = ask(f"{url}/get-artifact?run_uuid={version.run_id}&path=model%2Fwhere.json")
            assert sent["digest"] == version.digest
            assert sent["lake_uri"] == version.lake_uri == f"models/{version.digest}"
    finally:
        end(server)


def serves(settings: Settings, folder: Path, digest: str) -> None:
    """Staging's service answers from the model, and captures below the home."""
    lake = Lake.open(settings.lake)
    exported_and_signed(settings, digest)
    ledger.record(lake, "staging", "deploy", digest=digest, version=2, actor="test", reason="a test")
    with running(settings, ("staging",)) as serving:
        urls = {stage: serving.service_url(stage) for stage in ("staging", "production")}
        ServicesResource(**urls).wait_for("staging", digest, 240)
        assert send_folder(serving.service_url("staging"), folder, concurrency=1).failures == []
    assert any(True for _ in lake.list("capture/staging"))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3600)  # 6 commands, 2 trainings, 2 servers: 4 minutes of processor time
def test_a_home_is_copied_and_moved_and_used_on(tmp_path: Path) -> None:
    folder, made = tmp_path / "cars", tmp_path / "a place" / "home"
    write_sample(folder, 24, 5)
    made.mkdir(parents=True)
    (made / "carsdepo.toml").write_text(POLICY)
    lake = Lake.open(made / "lake")
    lake.put(
        "raw/business/disputes/a.csv",
        b"dispute_id,transaction_id,opened_at,cause,amount,currency\nD1,T1,2026-07-20,damage,100,EUR\n",
    )
    first = use(made, folder, trains=True)
    assert first["runs"] == {"new_uploads": 0, "new_labels": 0, "new_business_files": 1, "import": 2}
    assert first["rows"]["images"] == first["rows"]["annotations"] == 24
    assert [file for file in naming(made, made) if not is_history(file)] == [
        "dagster_home/dagster.yaml",  # written anew where the home lies when a command begins
        "ultralytics/Ultralytics/settings.json",  # the same, before ultralytics is imported
    ]

    copy = tmp_path / "copy"
    shutil.copytree(made, copy, copy_function=shutil.copyfile)  # times of now, as by `cp -r`
    unused = state(made)
    again = use(copy, folder)
    assert again["runs"] == NO_RUNS
    assert (again["batches"], again["rows"]) == (first["batches"], first["rows"])
    assert again["lineage"]["place"] == f"{copy}/lake/models/{first['lineage']['digest']}"
    assert state(made) == unused

    moved, used = tmp_path / "elsewhere" / "home", state(copy)
    moved.parent.mkdir()
    made.rename(moved)
    again = use(moved, folder)
    assert again["runs"] == NO_RUNS
    assert (again["batches"], again["rows"]) == (first["batches"], first["rows"])
    label = next(o.key for o in Lake.open(moved / "lake").list("raw/labels") if o.size)
    Lake.open(moved / "lake").put(label, b"1 0.4 0.4 0.3 0.3\n")
    (folder / "labels" / Path(label).name).write_bytes(b"1 0.4 0.4 0.3 0.3\n")
    second = use(moved, folder, trains=True)
    assert (second["runs"], second["ingested"]) == (NO_RUNS, 1)
    assert second["rows"] == first["rows"] | {"annotations": 25}
    assert second["lineage"]["digest"] != first["lineage"]["digest"]
    assert [model["digest"] for model in second["status"]["models"]] == [
        said["lineage"]["digest"] for said in (second, first)
    ]
    assert second["lineage"]["place"].startswith(f"{moved}/lake/")
    ports = {f"{name}_port": free_port() for name in ("mlflow", "staging", "production")}
    settings = Settings.read({}, home=moved).model_copy(update=ports)
    artifacts_are_shown(settings, tmp_path / "mlflow.log")
    serves(settings, folder, second["lineage"]["digest"])

    assert not made.parent.joinpath("home").exists()
    assert list(made.parent.iterdir()) == []
    assert [file for file in naming(moved, made) if not is_history(file)] == []
    assert state(copy) == used
