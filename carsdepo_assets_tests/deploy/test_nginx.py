"""deploy/nginx/nginx.conf, deploy/nginx/service.conf, deploy/users: who reaches what, with a real nginx."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import ssl
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets_tests.end_to_end.dagster_server import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
PASSWORDS = {"ann": "correct horse battery", "vera": "staple of twelve or more"}
JSON = {"Content-Type": "application/json"}
UPSTREAMS = {"viewer": 3000, "webserver": 3000, "production": 8000, "staging": 8001, "mlflow": 5000}
DOORS = {"dagster": "8443", "mlflow": "5000", "production": "8000", "staging": "8001"}

pytestmark = pytest.mark.skipif(
    not (shutil.which("nginx") and shutil.which("openssl")), reason="nginx or openssl is not installed"
)


class Upstream(BaseHTTPRequestHandler):
    """Answers with what reached it."""

    server: Any

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        body = json.dumps({"upstream": self.server.name, "path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


class Door:
    """nginx with the configuration of a team's server, in front of upstreams that answer what reached them."""

    def __init__(self, folder: Path) -> None:
        self.deploy = folder / "deploy"
        shutil.copytree(DEPLOY, self.deploy, ignore=shutil.ignore_patterns("secrets*"))
        self.script("setup", "localhost")
        self.upstreams: list[ThreadingHTTPServer] = []
        self.ports = {name: free_port() for name in DOORS}
        self._addresses: dict[str, str] = {}
        for name, port in UPSTREAMS.items():
            server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
            server.name = name  # type: ignore[attr-defined]
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.upstreams.append(server)
            self._addresses[f"http://{name}:{port}"] = f"http://127.0.0.1:{server.server_address[1]}"
        (folder / "resolver.conf").write_text("")  # addresses need none
        self._configuration = folder / "nginx.conf"
        text = (self.deploy / "nginx/nginx.conf").read_text().replace("/tmp/", f"{folder}/")
        for name, listen in DOORS.items():
            text = text.replace(f"listen {listen} ssl", f"listen 127.0.0.1:{self.ports[name]} ssl")
        text = text.replace("listen 127.0.0.1:8080", f"listen 127.0.0.1:{free_port()}")
        text = text.replace("/run/carsdepo", f"{self.deploy}/secrets/nginx").replace(
            "/etc/carsdepo", f"{self.deploy}/nginx"
        )
        text = text.replace("/dev/stdout", f"{folder}/access.log").replace("/dev/stderr", f"{folder}/error.log")
        own = "user root;\n" if os.getuid() == 0 else ""  # else the workers may not enter pytest's folder
        self._configuration.write_text(own + self._here(text))
        self._process: subprocess.Popen[bytes] | None = None

    def _here(self, text: str) -> str:
        for name, address in self._addresses.items():
            text = text.replace(name, address)
        return text

    def script(self, name: str, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"COMPOSE": "false"}  # there are no containers
        command = [str(self.deploy / name), *arguments]
        return subprocess.run(command, input=given, text=True, capture_output=True, env=environment)

    def user(self, *arguments: str, password: str = "") -> str:
        """deploy/users, and a new nginx that has read it."""
        ended = self.script("users", *arguments, given=password + "\n")
        assert ended.returncode == 0, ended.stderr
        approvers = self.deploy / "secrets/nginx/approvers.map"
        stored_map = approvers.read_text()
        approvers.chmod(0o644)
        approvers.write_text(self._here(stored_map))
        self.end()
        command = ["nginx", "-c", str(self._configuration), "-e", "stderr", "-g", "daemon off;"]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self._wait()
        approvers.write_text(stored_map)
        return ended.stdout

    def _wait(self) -> None:
        limit = time.monotonic() + 30
        while time.monotonic() < limit:
            try:
                self.ask("dagster", "/")
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("nginx does not answer")

    def end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def ask(
        self,
        door: str,
        path: str,
        user: str | None = None,
        method: str = "GET",
        body: bytes | None = None,
        password: str | None = None,
        **headers: str,
    ) -> tuple[int, dict[str, Any]]:
        """Status, and what reached the upstream."""
        trusted = ssl.create_default_context(cafile=str(self.deploy / "secrets/nginx/tls.crt"))
        connection = http.client.HTTPSConnection("localhost", self.ports[door], timeout=20, context=trusted)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if user is not None:
            login = f"{user}:{PASSWORDS[user] if password is None else password}"
            sent["Authorization"] = "Basic " + b64encode(login.encode()).decode()
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text) if answer.status == 200 else {}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    door = Door(tmp_path_factory.mktemp("nginx"))
    try:
        door.user("add", "vera", password=PASSWORDS["vera"])
        door.user("add", "ann", "--approver", password=PASSWORDS["ann"])
        yield door
    finally:
        door.end()
        for server in door.upstreams:
            server.shutdown()
            server.server_close()


@pytest.mark.parametrize("name", DOORS)
def test_nobody_enters_without_the_password(door: Door, name: str) -> None:
    assert door.ask(name, "/")[0] == 401
    assert door.ask(name, "/", "ann", password="wrong")[0] == 401
    assert door.ask(name, "/", "ann", password="")[0] == 401
    assert door.ask(name, "/", "ann")[0] == 200


def test_viewers_and_approvers_reach_a_webserver_each_and_no_password_does(door: Door) -> None:
    for user, upstream in (("vera", "viewer"), ("ann", "webserver")):
        status, reached = door.ask("dagster", "/graphql", user, "POST", b"{}", **JSON)
        assert (status, reached["upstream"]) == (200, upstream)
        assert reached["headers"]["X-Carsdepo-User"] == user
        assert "Authorization" not in reached["headers"]


def test_a_name_that_a_client_sends_is_replaced(door: Door) -> None:
    for path in ("/", "/graphql"):
        method, body = ("POST", b"{}") if path == "/graphql" else ("GET", None)
        _, reached = door.ask("dagster", path, "vera", method, body, X_Carsdepo_User="ann", **JSON)
        assert reached["headers"]["X-Carsdepo-User"] == "vera"
        assert reached["upstream"] == "viewer"


@pytest.mark.parametrize(
    "foreign",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_a_foreign_page_cannot_use_a_persons_login(door: Door, foreign: dict[str, str]) -> None:
    assert door.ask("dagster", "/graphql", "ann", "POST", b"{}", **JSON, **foreign)[0] == 403
    socket = {"Upgrade": "websocket", "Connection": "upgrade"}
    assert door.ask("dagster", "/graphql", "ann", **socket, **foreign)[0] == 403


def test_its_own_pages_can(door: Door) -> None:
    own = {"Origin": f"https://localhost:{door.ports['dagster']}", "Sec_Fetch_Site": "same-origin"}
    assert door.ask("dagster", "/graphql", "ann", "POST", b"{}", **JSON, **own)[0] == 200
    status, reached = door.ask("dagster", "/graphql", "ann", Upgrade="websocket", Connection="upgrade", **own)
    assert status == 200
    assert reached["headers"]["Upgrade"] == "websocket"


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {}),
        ("POST", {"Content_Type": "text/plain"}),
        ("POST", {"Content_Type": "application/x-www-form-urlencoded"}),
        ("POST", {"Content_Type": "application/graphql"}),
    ],
)
def test_mutations_that_a_form_or_a_picture_could_send_are_refused(
    door: Door, method: str, headers: dict[str, str]
) -> None:
    query = "/graphql?query=mutation%7BlaunchRun%7D"
    assert door.ask("dagster", query, "ann", method, b"" if method == "POST" else None, **headers)[0] == 405


def test_mlflow_can_be_read_and_not_written(door: Door) -> None:
    read = "/ajax-api/2.0/mlflow/runs/search"
    status, reached = door.ask("mlflow", read, "vera", "POST", b"{}", **JSON)
    assert status == 200
    assert reached["headers"]["Host"] == "mlflow:5000"  # MLflow refuses every other name
    for path in (
        "/ajax-api/2.0/mlflow/runs/create",
        "/api/2.0/mlflow/runs/search/../create",
        "/api/2.0/mlflow/runs/log",
    ):
        for user in ("vera", "ann"):
            assert door.ask("mlflow", path, user, "POST", b"{}", **JSON)[0] == 403
    for method in ("PUT", "DELETE", "PATCH"):
        assert door.ask("mlflow", read, "ann", method)[0] == 403


def test_programs_show_their_own_key_and_people_need_none(door: Door) -> None:
    key = (door.deploy / "secrets/CARSDEPO_API_KEY").read_text().strip()
    for stage in ("production", "staging"):
        _, asked = door.ask(stage, "/v1/inspections", None, "POST", b"x", X_API_Key=key)
        assert (asked["upstream"], asked["headers"]["X-API-Key"]) == (stage, key)
        large = b"x" * 2**22
        for path in ("/v1/inspections", "/invocations"):
            assert door.ask(stage, path, None, "POST", large, X_API_Key="a wrong one")[0] == 401
            assert door.ask(stage, path, "ann", "POST", large)[0] == 401  # a person's login is no key
        _, page = door.ask(stage, "/reports/x.html", "vera")
        assert page["headers"]["X-API-Key"] == key
        assert "X-API-Key" not in door.ask(stage, "/readyz")[1]["headers"]
        assert door.ask(stage, "/reports/x.html", "vera", "POST", b"x")[0] == 403
        assert door.ask(stage, "/v1/inspections/x", None)[0] == 401


def test_users_are_checked_and_can_be_removed(door: Door) -> None:
    for name in ("../ann", "Ann", "a:b", 'a"b', ""):
        refused = door.script("users", "add", name, given="long enough a password\n")
        assert refused.returncode != 0, name
    assert door.script("users", "add", "eve", given="short\n").returncode != 0
    assert door.script("users", "list").stdout == "vera viewer\nann approver\n"
    PASSWORDS["tom"] = "tom's long password"
    door.user("add", "tom", "--approver", password=PASSWORDS["tom"])
    assert door.ask("dagster", "/", "tom")[1]["upstream"] == "webserver"
    door.user("add", "tom", password=PASSWORDS["tom"])
    assert door.ask("dagster", "/", "tom")[1]["upstream"] == "viewer"
    door.user("remove", "tom")
    assert door.ask("dagster", "/", "tom")[0] == 401
    stored = (door.deploy / "secrets/nginx/users").read_text()
    assert all(password not in stored for password in PASSWORDS.values())
    assert door.script("users", "list").stdout == "vera viewer\nann approver\n"


def test_a_second_setup_changes_nothing(door: Door) -> None:
    files = {f: f.read_bytes() for f in (door.deploy / "secrets").rglob("*") if f.is_file()}
    ended = door.script("setup", "another.example")
    assert ended.returncode == 0, ended.stderr
    assert {f: f.read_bytes() for f in (door.deploy / "secrets").rglob("*") if f.is_file()} == files
    assert (door.deploy / "secrets").stat().st_mode & 0o777 == 0o700
