"""deploy/compose.yaml, deploy/setup, deploy/backup: what every container of a server must have, and no secret."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ONE_SHOT = "volumes"  # gives the volumes to their users, and ends


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text()))


@pytest.fixture(scope="module")
def lasting(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: service for name, service in compose["services"].items() if name != ONE_SHOT}


def test_every_container_is_closed_limited_watched_and_started_again(lasting: dict[str, dict[str, Any]]) -> None:
    for name, service in lasting.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
        assert service["user"].split(":")[0] not in ("0", "root"), name
        assert {"mem_limit", "cpus", "pids_limit"} <= service.keys(), name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert any(folder.startswith("/tmp:") for folder in service["tmpfs"]), name


def test_nginx_alone_has_ports_and_postgres_no_way_out(
    compose: dict[str, Any], lasting: dict[str, dict[str, Any]]
) -> None:
    assert [name for name, service in lasting.items() if "ports" in service] == ["nginx"]
    assert lasting["postgres"]["networks"] == ["data"]
    assert compose["networks"]["data"]["internal"]
    assert "data" not in lasting["nginx"]["networks"]


def test_the_viewers_webserver_changes_nothing_and_the_approvers_does(lasting: dict[str, dict[str, Any]]) -> None:
    assert "--read-only" in lasting["viewer"]["command"]
    assert "--read-only" not in lasting["webserver"]["command"]
    approvers = {s for s in lasting if s in (DEPLOY / "users").read_text().split("http://")[1].split(":")[0]}
    assert approvers == {"webserver"}
    assert "default http://viewer:3000;" in (DEPLOY / "nginx/nginx.conf").read_text()


def test_secrets_are_files_that_setup_makes_and_git_ignores(compose: dict[str, Any], tmp_path: Path) -> None:
    for name, service in compose["services"].items():
        assert set(service.get("secrets", [])) <= compose["secrets"].keys(), name
        for variable, value in service.get("environment", {}).items():
            assert not re.search(r"PASSWORD|_KEY$|SECRET|TOKEN|WEBHOOK", variable) or value.startswith("/run/secrets/")
    assert not re.search(r"://[^/\s]+:[^/\s]+@", (DEPLOY / "compose.yaml").read_text())
    deploy = tmp_path / "deploy"
    shutil.copytree(DEPLOY, deploy, ignore=shutil.ignore_patterns("secrets*"))
    subprocess.run([str(deploy / "setup"), "localhost"], check=True, capture_output=True)
    for secret in compose["secrets"].values():
        assert (deploy / secret["file"]).is_file(), secret
    ignored = subprocess.run(["git", "check-ignore", "deploy/secrets/postgres_password"], cwd=ROOT, capture_output=True)
    assert ignored.returncode == 0
    assert "deploy/secrets" not in subprocess.run(
        ["git", "ls-files", "deploy"], cwd=ROOT, capture_output=True, text=True
    ).stdout.replace("with-secrets", "")


def test_services_need_neither_the_private_key_nor_the_database(lasting: dict[str, dict[str, Any]]) -> None:
    for name in ("staging", "production"):
        assert set(lasting[name]["secrets"]) == {"CARSDEPO_API_KEY", "model-signing.pub"}
    assert [n for n, service in lasting.items() if "model-signing.key" in service.get("secrets", [])] == ["code"]


def test_keys_of_setup_sign_and_verify_models(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

    from carsdepo_assets.registry.signatures import ensure_keys

    deploy = tmp_path / "deploy"
    shutil.copytree(DEPLOY, deploy, ignore=shutil.ignore_patterns("secrets*"))
    subprocess.run([str(deploy / "setup"), "localhost"], check=True, capture_output=True)
    private, public = deploy / "secrets/model-signing.key", deploy / "secrets/model-signing.pub"
    key = load_pem_private_key(private.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)
    verifying = load_pem_public_key(public.read_bytes())
    assert isinstance(verifying, ec.EllipticCurvePublicKey)
    assert key.public_key().public_numbers() == verifying.public_numbers()
    assert not ensure_keys(private, public)  # they count as a pair: no other is made


def test_the_code_server_alone_reads_where_jobs_run_from_a_folder_that_is_mounted(
    lasting: dict[str, dict[str, Any]],
) -> None:
    asked = {name: service["environment"] for name, service in lasting.items() if "environment" in service}
    assert [name for name, variables in asked.items() if "CARSDEPO_COMPUTE" in variables] == ["code"]
    folder = str(Path(asked["code"]["CARSDEPO_COMPUTE"]).parent)
    assert f"./policy:{folder}:ro" in lasting["code"]["volumes"]


def test_a_file_of_compute_targets_need_not_be_there(tmp_path: Path) -> None:
    file = tmp_path / "compute.toml"
    shown = ["sh", str(DEPLOY / "with-secrets"), "sh", "-c", 'echo "${CARSDEPO_COMPUTE-none}"']
    for variables, there, named in (
        ({"CARSDEPO_COMPUTE": str(file)}, False, "none"),
        ({"CARSDEPO_COMPUTE": str(file)}, True, str(file)),
        ({}, True, "none"),
    ):
        file.unlink(missing_ok=True)
        if there:
            file.write_text('place = "local"\n')
        ran = subprocess.run(shown, env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True)
        assert (ran.returncode, ran.stdout) == (0, named + "\n"), ran.stderr


def test_a_container_without_a_command_says_so() -> None:
    ran = subprocess.run(["sh", str(DEPLOY / "with-secrets")], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (2, "with-secrets needs a command to run.\n")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("podman") is None, reason="podman is not installed")
def test_compose_reads_it(tmp_path: Path) -> None:
    tool = Path(sys.executable).with_name("podman-compose")
    read = subprocess.run(
        [str(tool), "-f", str(DEPLOY / "compose.yaml"), "config"], capture_output=True, text=True, cwd=tmp_path
    )
    assert read.returncode == 0, read.stderr
    resolved = yaml.safe_load(read.stdout)
    assert resolved["services"]["code"]["image"] == "localhost/carsdepo-worker:latest"
    assert resolved["services"]["production"]["image"] == "localhost/carsdepo-service:latest"
    assert resolved["services"]["code"]["environment"]["CARSDEPO_LAKE"] == "/lake"


def test_a_compose_file_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    """By the schema that `make lint-deploy` checks it with; the file of the repository keeps it."""
    tool = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.compose-spec"]
    compose = DEPLOY / "compose.yaml"
    assert subprocess.run([*tool, str(compose)], capture_output=True).returncode == 0
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(compose.read_text().replace("restart:", "restarts:", 1))
    refused = subprocess.run([*tool, str(wrong)], capture_output=True, text=True)
    assert refused.returncode == 1
    assert "restarts" in refused.stdout
