"""deploy/users: who may log in, without nginx (test_nginx.py has one)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from carsdepo_assets_tests.deploy.server_copy import ServerCopy

PASSWORD = "correct horse battery\n"


@pytest.fixture
def server(tmp_path: Path) -> ServerCopy:
    server = ServerCopy(tmp_path, "docker")
    assert server.do("setup", "cars.example").returncode == 0
    return server


def test_a_name_is_no_pattern(server: ServerCopy) -> None:
    server.do("users", "add", "ann", given=PASSWORD)
    told = server.do("users", "remove", "a.n")
    assert (told.returncode, told.stdout) == (1, "")
    assert "There is no user 'a.n'" in told.stderr
    assert server.do("users", "list").stdout == "ann viewer\n"
    server.do("users", "add", "a.n", given=PASSWORD)
    server.do("users", "remove", "a.n")
    assert server.do("users", "list").stdout == "ann viewer\n"


def test_who_approves_follows_the_last_word(server: ServerCopy) -> None:
    assert server.do("users", "add", "ann", "--approver", given=PASSWORD).stdout == (
        "ann may log in as an approver.\nIt holds from now on.\n"
    )
    server.do("users", "add", "bob", "--approver", given=PASSWORD)
    server.do("users", "add", "ann", given=PASSWORD)
    assert server.do("users", "list").stdout == "bob approver\nann viewer\n"
    server.do("users", "remove", "bob")
    assert (server.secrets / "nginx/approvers.map").read_text() == ""


@pytest.mark.parametrize("engines", [(), ("docker",)])
def test_without_a_running_nginx_it_holds_from_its_start_on(tmp_path: Path, engines: tuple[str, ...]) -> None:
    server = ServerCopy(tmp_path, *engines)
    server.do("setup", "cars.example")
    (server.engine / "stopped").touch()
    told = server.do("users", "add", "ann", given=PASSWORD)
    assert told.returncode == 0, told.stderr
    assert "it holds from its next start on" in told.stdout


@pytest.mark.parametrize("password", ["short\n", "a password of Windows\r\n", "a" * 257 + "\n", ""])
def test_a_password_that_could_not_be_typed_again_changes_nothing(server: ServerCopy, password: str) -> None:
    told = server.do("users", "add", "ann", given=password)
    assert told.returncode == 1
    assert told.stderr.endswith("nothing was changed.\n")
    assert server.do("users", "list").stdout == ""


def test_changes_at_once_are_all_kept(server: ServerCopy) -> None:
    with ThreadPoolExecutor() as pool:
        told = list(pool.map(lambda n: server.do("users", "add", f"u{n}", "--approver", given=PASSWORD), range(8)))
    assert all("It holds" in one.stdout for one in told), told
    assert sorted(server.do("users", "list").stdout.splitlines()) == [f"u{number} approver" for number in range(8)]
