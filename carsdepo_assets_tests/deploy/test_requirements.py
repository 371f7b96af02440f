"""deploy/images/requirements.py: each image's packages are current, hashed and enough for what the image does."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from carsdepo_assets_tests.deploy.narrow_environment import make_environment, variables
from carsdepo_assets_tests.deploy.scripts import IMAGES, ROOT, script

requirements = script(IMAGES / "requirements.py")
LOCK = requirements.locked((ROOT / "requirements.lock").read_text())
# What pip installs of a package, by the packages that require it on Linux.
TORCH = {"torch", "torchvision", "ultralytics", "ultralytics-thop", "triton", "efficientnet-lite-pytorch"}


def entries(image: str) -> dict[str, str]:
    packages: dict[str, str] = requirements.locked((IMAGES / f"requirements-{image}.lock").read_text())
    return packages


def test_the_locks_are_current() -> None:
    command = [sys.executable, str(IMAGES / "requirements.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("image", requirements.IMAGES)
def test_a_lock_is_closed_and_each_entry_is_that_of_the_whole_lock(image: str) -> None:
    packages, left_out = entries(image), requirements.LEFT_OUT.get(image, frozenset())
    for name, text in packages.items():
        assert text == LOCK[name]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\n$", text)
        for line in metadata.requires(name) or ():
            requirement = Requirement(line)
            needed = canonicalize_name(requirement.name)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert needed in packages or needed in left_out, f"{name} requires {needed}"
    text = (IMAGES / f"requirements-{image}.lock").read_text()
    assert "://" not in text


def test_the_service_has_neither_torch_nor_dagster_and_the_orchestrator_no_torch() -> None:
    service, orchestrator = entries("service").keys(), entries("orchestrator").keys()
    heavy = {"mlflow", "mlflow-skinny", "pandas", "matplotlib", "great-expectations", "boto3", "onnx"}
    assert not service & (TORCH | heavy)
    assert not [name for name in service | orchestrator if name.startswith(("nvidia-", "cuda-"))]
    assert not [name for name in service if name.startswith("dagster")]
    assert not orchestrator & TORCH
    assert {"dagster-webserver", "dagster-postgres", "mlflow"} <= orchestrator


def test_the_worker_can_do_what_the_others_can() -> None:
    worker = entries("worker-cuda").keys()
    assert entries("service").keys() | entries("orchestrator").keys() <= worker
    left_out = worker - entries("worker-cpu").keys()
    assert requirements.LEFT_OUT["worker-cpu"] <= left_out
    assert not [n for n in left_out if not n.startswith(("nvidia-", "cuda-", "triton"))]


def test_a_dependency_of_no_image_and_a_package_that_the_lock_lacks_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(requirements.RequirementsError, match=r"requirements.lock lacks typer, which service needs"):
        requirements.contents({name: text for name, text in LOCK.items() if name != "typer"}, "service")
    with pytest.raises(requirements.RequirementsError, match="no-such-package is required and not installed"):
        requirements.closure(["no-such-package"])
    fewer = {image: tuple(n for n in names if n != "duckdb") for image, names in requirements.IMAGES.items()}
    monkeypatch.setattr(requirements, "IMAGES", fewer)
    assert requirements.main(["--check"]) == 1
    assert "differ in duckdb" in capsys.readouterr().out


@pytest.mark.slow
def test_the_orchestrators_packages_load_the_code_location(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "environment", entries("orchestrator"))
    code = (
        "import carsdepo_assets.cli, dagster_webserver, dagster_postgres, dagster_aws.pipes\n"
        "from carsdepo_assets.definitions import defs\n"
        "import importlib.util, mlflow\n"
        "assert importlib.util.find_spec('torch') is None\n"
        "print(len(defs().resolve_asset_graph().get_all_asset_keys()))"
    )
    state = {"CARSDEPO_HOME": str(tmp_path / "home"), "DAGSTER_HOME": ""}
    result = subprocess.run(
        [python, "-W", "ignore", "-c", code], env=variables(**state), capture_output=True, text=True, timeout=280
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 10


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_cpu_workers_packages_train(tmp_path: Path) -> None:
    from carsdepo_assets_tests.training.test_worker import spec_for

    python = make_environment(tmp_path / "environment", entries("worker-cpu"))
    (tmp_path / "spec.json").write_text(spec_for(tmp_path, epochs=1).model_dump_json())
    result = subprocess.run(
        [python, "-m", "carsdepo_assets.training.worker", "--spec", str(tmp_path / "spec.json")],
        env=variables(),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert result.returncode == 0, result.stderr
    assert '"training": "all 2 planned steps"' in result.stdout
