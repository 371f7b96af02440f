"""deploy/backup, deploy/restore: a backup is whole or not there, and a restore touches no server that has data."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets_tests.deploy.server_copy import ServerCopy

pytestmark = pytest.mark.slow

PIPES: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
FILES = {"lake/training/one two.json": "{}", "lake/raw/a photograph's name.jpg": "pixels", "mlartifacts/m": "weights"}


@pytest.fixture
def server(tmp_path: Path) -> ServerCopy:
    server = ServerCopy(tmp_path, "docker")
    server.do("setup", "cars.example")
    data = server.engine / "data"
    for folder in ("lake", "mlartifacts", "var/lib/carsdepo", "var/lib/dagster"):
        (data / folder).mkdir(parents=True)
    for name, text in FILES.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(text)
    (data / "database").write_text("rows")
    return server


@pytest.fixture
def backup(server: ServerCopy) -> Path:
    told = server.do("backup", "my backups")
    assert told.returncode == 0, told.stderr
    (folder,) = (server.folder / "my backups").iterdir()
    return folder


def new_machine(server: ServerCopy) -> None:
    """Nothing is left but the backup."""
    shutil.rmtree(server.secrets)
    for folder in ("lake", "mlartifacts", "var/lib/carsdepo", "var/lib/dagster"):
        shutil.rmtree(server.engine / "data" / folder)
        (server.engine / "data" / folder).mkdir()


def test_what_was_backed_up_comes_back(server: ServerCopy, backup: Path) -> None:
    before = {file: file.read_bytes() for file in server.secrets.rglob("*") if file.is_file()}
    new_machine(server)
    told = server.do("restore", str(backup.relative_to(server.folder)))
    assert told.returncode == 0, told.stderr
    assert {file: file.read_bytes() for file in server.secrets.rglob("*") if file.is_file()} == before
    for name, text in FILES.items():
        assert (server.engine / "data" / name).read_text() == text
    assert (server.engine / "data/restored").read_text() == "rows"
    assert sorted(path.name for path in server.deploy.glob("secrets*")) == ["secrets"]


def test_settings_of_the_environment_win_over_the_restored_ones(server: ServerCopy, backup: Path) -> None:
    new_machine(server)
    assert server.do("restore", str(backup)).returncode == 0
    assert server.settings()["HTTPS_PORT"] == "443"
    assert "https://cars.example:9443\n" in server.do("up", HTTPS_PORT="9443").stdout
    assert "https://cars.example:9443\n" in server.do("up").stdout


def test_a_server_that_does_not_run_is_not_backed_up(server: ServerCopy) -> None:
    (server.engine / "stopped").touch()
    told = server.do("backup")
    assert (told.returncode, told.stdout) == (1, "")
    assert "The server does not run" in told.stderr
    assert not (server.folder / "backups").exists()


@pytest.mark.parametrize("broken", ["database", "mlartifacts"])
def test_of_a_failed_backup_nothing_is_left(server: ServerCopy, broken: str) -> None:
    path = server.engine / "data" / broken
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    told = server.do("backup")
    assert told.returncode == 1
    assert "The backup was not finished, and nothing of it was left in backups" in told.stderr
    assert not (server.folder / "backups").exists()


def test_a_full_disk_fails_a_backup_though_the_engines_client_does_not_notice(server: ServerCopy) -> None:
    (server.engine / "data/lake/raw/large.jpg").write_bytes(b"x" * 400_000)
    limited = f"ulimit -f 200; trap '' XFSZ; exec '{server.deploy / 'backup'}' backups"  # KiB of a file, as a full disk
    told = subprocess.run(
        ["bash", "-c", limited],
        env={"PATH": server.path},
        cwd=server.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.returncode == 1
    assert "lake.tar could not be written into backups" in told.stderr
    assert not (server.folder / "backups").exists()


def resum(backup: Path) -> None:
    sums = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(backup.iterdir())
        if file.name != "SHA256SUMS"
    ]
    (backup / "SHA256SUMS").write_text("".join(sums))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda b: (b / "lake.tar").write_bytes((b / "lake.tar").read_bytes()[:-700]), "is damaged"),
        (lambda b: (b / "lake.tar").unlink(), "is damaged"),
        (lambda b: (b / "SHA256SUMS").unlink(), "has no SHA256SUMS"),
        (lambda b: (b / "SHA256SUMS").write_text(""), "is damaged"),
        (lambda b: (b / "SHA256SUMS").write_text((b / "SHA256SUMS").read_text()[:200]), "is damaged"),
        (lambda b: ((b / "lake.tar").unlink(), resum(b)), "lake.tar is missing"),
        (lambda b: ((b / "mlflow.dump").unlink(), resum(b)), "mlflow.dump is missing"),
        (lambda b: ((b / "secrets.tar").unlink(), resum(b)), "secrets.tar is missing"),
    ],
)
def test_a_damaged_or_half_backup_changes_nothing(server: ServerCopy, backup: Path, harm: object, said: str) -> None:
    new_machine(server)
    calls = len(server.calls())
    assert callable(harm)
    harm(backup)
    told = server.do("restore", str(backup))
    assert told.returncode == 1
    assert said in told.stderr
    assert "othing was changed" in told.stderr
    assert not server.secrets.exists()
    assert len(server.calls()) == calls


def test_a_server_that_has_data_keeps_it_and_its_secrets(server: ServerCopy, backup: Path) -> None:
    (server.secrets / "CARSDEPO_ALERT_URLS").write_text("https://alerts.example")  # other than in the backup
    (server.engine / "volumes/carsdepo_lake").touch()
    told = server.do("restore", str(backup))
    assert told.returncode == 1
    assert "This server has data, in the volume carsdepo_lake: nothing was changed" in told.stderr
    assert (server.secrets / "CARSDEPO_ALERT_URLS").read_text() == "https://alerts.example"
    assert [path.name for path in server.deploy.glob("secrets*")] == ["secrets"]
    assert not any(" up --detach" in call for call in server.calls())


def test_other_secrets_are_put_aside(server: ServerCopy, backup: Path) -> None:
    (server.secrets / "CARSDEPO_ALERT_URLS").write_text("https://alerts.example")
    told = server.do("restore", str(backup))
    assert told.returncode == 0, told.stderr
    (kept,) = server.deploy.glob("secrets.2*")
    assert f"they are in {kept} now" in told.stdout
    assert (kept / "CARSDEPO_ALERT_URLS").read_text() == "https://alerts.example"
    assert (server.secrets / "CARSDEPO_ALERT_URLS").read_text() == ""


def test_backups_at_once_are_one_or_two_whole_ones(server: ServerCopy) -> None:
    with ThreadPoolExecutor() as pool:
        told = list(pool.map(lambda _: server.do("backup"), range(3)))
    whole = sorted((server.folder / "backups").iterdir())
    assert whole
    assert len(whole) == sum(one.returncode == 0 for one in told), told
    for backup in whole:
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=backup, check=True)


def test_a_restore_waits_for_no_other_one(server: ServerCopy, backup: Path) -> None:
    new_machine(server)
    with subprocess.Popen(["flock", str(server.deploy), "sh", "-c", "echo locked; read end"], **PIPES) as other:
        assert other.stdout.readline() == "locked\n"
        told = server.do("restore", str(backup))
        other.communicate("\n")
    assert (told.returncode, told.stderr) == (1, "Another deploy/restore is at work here.\n")
    assert not server.secrets.exists()
