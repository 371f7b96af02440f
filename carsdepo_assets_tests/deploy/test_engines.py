"""deploy/engine.sh, deploy/up: one engine for everything, chosen before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets_tests.deploy.server_copy import ServerCopy

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("engines", "plugin", "compose", "engine"),
    [
        (("docker",), True, "", "docker"),
        (("docker", "podman", "podman-compose"), True, "", "docker"),
        (("docker", "podman", "podman-compose"), False, "", "podman"),
        (("podman", "podman-compose"), False, "", "podman"),
        (("docker", "podman", "podman-compose"), True, "podman-compose", "podman"),
        (("docker", "podman", "podman-compose"), True, "podman compose", "podman"),
        (("docker", "podman", "docker-compose"), False, "docker-compose", "docker"),
    ],
)
def test_images_are_built_and_asked_for_where_compose_runs_them(
    tmp_path: Path, engines: tuple[str, ...], plugin: bool, compose: str, engine: str
) -> None:
    server = ServerCopy(tmp_path, *engines, plugin=plugin)
    for image in ("service", "worker-cpu"):  # there already; orchestrator is not
        (server.engine / "images").mkdir(exist_ok=True)
        (server.engine / "images" / f"carsdepo-{image}").touch()
    told = server.do("up", "cars.example", **({"COMPOSE": compose} if compose else {}))
    assert told.returncode == 0, told.stderr
    calls = [call for call in server.calls() if not call.endswith("compose version")]
    assert {call.split()[0].removesuffix("-compose") for call in calls} == {engine}
    assert any(call.startswith(f"{engine} build") for call in calls)


@pytest.mark.parametrize(
    ("engines", "variables", "said"),
    [
        ((), {}, "Neither 'docker compose' nor podman-compose"),
        (("docker",), {}, "without its compose plugin"),
        (("podman",), {"COMPOSE": "podman-compose"}, "COMPOSE names 'podman-compose', which is no command"),
        (("podman-compose",), {}, "podman-compose needs podman, which is not there"),
        (("docker", "podman"), {"COMPOSE": " "}, "COMPOSE names ''"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_made(
    tmp_path: Path, engines: tuple[str, ...], variables: dict[str, str], said: str
) -> None:
    server = ServerCopy(tmp_path, *engines, plugin=False)
    told = server.do("up", "cars.example", **variables)
    assert told.returncode == 1
    assert said in told.stderr
    assert not server.secrets.exists()
    assert not any(" build" in call for call in server.calls())


def test_an_engine_that_does_not_answer_is_named(tmp_path: Path) -> None:
    server = ServerCopy(tmp_path, "docker")
    (server.engine / "no-daemon").touch()
    told = server.do("up", "cars.example")
    assert told.returncode == 1
    assert "docker does not answer" in told.stderr
    assert not server.secrets.exists()


def test_what_an_up_was_told_holds_for_the_next_one(tmp_path: Path) -> None:
    server = ServerCopy(tmp_path, "docker")
    (server.folder / "gpu.yaml").write_text("services: {}\n")
    server.do("up", "cars.example", COMPOSE_OVERRIDE="gpu.yaml", REGISTRY="r.example/team", TAG="1.2")
    calls = len(server.calls())
    told = server.do("up")
    again = server.calls()[calls:]
    assert "docker pull r.example/team/carsdepo-service:1.2" in again
    ups = [call for call in again if call.endswith("up --detach")]
    assert ups
    assert all(f"--file {server.folder}/gpu.yaml" in call for call in ups)
    (server.folder / "gpu.yaml").unlink()
    told = server.do("up")
    assert told.returncode == 1
    assert "COMPOSE_OVERRIDE names" in told.stderr


def test_a_new_certificate_is_read_by_nginx(tmp_path: Path) -> None:
    server = ServerCopy(tmp_path, "docker")
    server.do("up", "cars.example")
    file = server.secrets / "server.env"
    file.write_text(file.read_text().replace("cars.example", "new.example"))
    assert not any(call.endswith("restart nginx") for call in server.calls())
    told = server.do("up")
    assert "https://new.example:443" in told.stdout
    assert any(call.endswith("restart nginx") for call in server.calls())
