"""compute/worker/: jobs as processes of their own, and what an installation without torch makes of what they leave."""

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.compute.worker.evaluate import EvaluationSpec
from carsdepo_assets.compute.worker.export import ExportSpec
from carsdepo_assets.compute.worker.process import JobSpec
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.checkpoints import CHECKPOINT_FORMAT, read_torch
from carsdepo_assets.detectors.export.export_card import require_export
from carsdepo_assets.detectors.export.export_model import keep_export
from carsdepo_assets.evaluation import prediction_cache
from carsdepo_assets.evaluation.golden import count_missing, evaluate_on_golden
from carsdepo_assets.lake.golden import key as golden_key
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import is_complete
from carsdepo_assets.policy import Policy
from carsdepo_assets.training.worker import TrainingSpec
from carsdepo_assets_tests.detectors.stored_models import store_model
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset


def start(module: str, spec: JobSpec, tmp_path: Path) -> subprocess.Popen[str]:
    path = tmp_path / "spec.json"
    path.write_text(spec.model_dump_json())
    return subprocess.Popen(
        [sys.executable, "-u", "-m", module, "--spec", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "CARSDEPO_WORK": str(tmp_path / "work"), "OMP_NUM_THREADS": "1"},
    )


def report_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0, out[-3000:]
    [report] = [json.loads(line) for line in out.splitlines() if line.startswith('{"data_version"')]
    return report


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Those distributions are not installed, as in the orchestrator's image."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in names:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr("carsdepo_assets.detectors.export.export_card.version", version)


@pytest.mark.slow
def test_what_a_worker_predicts_and_exports_needs_no_torch_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.open(str(tmp_path / "lake"))
    version, digest = tiny_dataset(lake), store_model(lake, "yolov8n")
    spec = EvaluationSpec(lake=lake.url, digests=(digest,), dataset_version=version)
    report = report_of(start("carsdepo_assets.compute.worker.evaluate", spec, tmp_path))
    assert (report["photographs"], report["predicted"], report["models"]) == (3, 3, digest)
    here = evaluate_on_golden(lake, digest, version, Policy())  # from the cache
    again = report_of(start("carsdepo_assets.compute.worker.evaluate", spec, tmp_path))
    assert again["predicted"] == 0

    images = [f"test{i}" for i in range(3)]
    lake.put(golden_key(1), json.dumps({"version": 1, "images": images}).encode())
    lake.put("datasets/latest.json", json.dumps({"version": version}).encode())
    exported = report_of(
        start("carsdepo_assets.compute.worker.export", ExportSpec(lake=lake.url, digest=digest), tmp_path)
    )
    assert exported["chosen"] == require_export(lake, digest).chosen
    assert {row["runtime"] for row in exported["runtimes"]} == {"torch", "onnxruntime", "openvino"}

    hide(monkeypatch, "torch", "torchvision", "ultralytics")
    monkeypatch.setattr(
        "carsdepo_assets.detectors.catalogue.load_model", lambda *a, **k: pytest.fail("there is no torch")
    )
    assert not prediction_cache.can_predict()
    assert count_missing(lake, digest, version, Policy()) == 0
    assert evaluate_on_golden(lake, digest, version, Policy()).evaluation == here.evaluation
    kept = keep_export(lake, digest, Policy())
    assert kept is not None
    assert kept.chosen == exported["chosen"]


@pytest.mark.slow
def test_a_training_that_is_told_to_stop_leaves_a_checkpoint_and_goes_on(tmp_path: Path) -> None:
    lake = Lake.open(str(tmp_path / "lake"))
    recipe = Recipe(detector="yolov8n", image_size=64, epochs=400, batch=4, seed=1)
    spec = TrainingSpec(lake=lake.url, dataset_version=tiny_dataset(lake), recipe=recipe)
    first = start("carsdepo_assets.training.worker", spec, tmp_path)
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("epoch 2/"):
            break
    first.send_signal(signal.SIGTERM)
    rest, _ = first.communicate(timeout=100)
    assert first.returncode == 128 + signal.SIGTERM, rest[-3000:]
    checkpoint = read_torch(tmp_path / "work" / "training" / spec.key() / "checkpoint.pt", CHECKPOINT_FORMAT)
    assert checkpoint["steps"] >= 4
    assert list(lake.list("models/")) == []

    second = start("carsdepo_assets.training.worker", spec, tmp_path)
    assert second.stdout is not None
    epochs = []
    for line in second.stdout:
        if line.startswith("epoch "):
            epochs.append(int(line.removeprefix("epoch ").split("/")[0]))
            break
    second.kill()
    second.communicate()
    assert epochs[0] > checkpoint["epoch"]  # the next one, or the one that was interrupted
    assert epochs[0] <= checkpoint["epoch"] + 1
    assert not any(is_complete(lake, o.key.split("/")[1]) for o in lake.list("models/"))
