"""deploy/aws/proxy-dagster.conf, deploy/aws/proxy-mlflow.conf: nginx behind the load balancer's login."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from carsdepo_assets_tests.end_to_end.dagster_server import free_port
from deploy.aws.templates import FOLDER

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


class Behind(BaseHTTPRequestHandler):
    """Answers with what reached it."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = json.dumps({k.lower(): v for k, v in self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_GET

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module", params=["dagster", "mlflow"])
def proxy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Behind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    text = (FOLDER / f"proxy-{request.param}.conf").read_text().replace("listen 8080", f"listen 127.0.0.1:{port}")
    text = text.replace("/tmp/", f"{folder}/").replace("access_log /dev/stdout people", "access_log off")
    for upstream in ("3000", "5000"):
        text = text.replace(
            f"proxy_pass http://127.0.0.1:{upstream}", f"proxy_pass http://127.0.0.1:{server.server_port}"
        )
    (folder / "nginx.conf").write_text(text)
    assert NGINX is not None
    process = subprocess.Popen(
        [NGINX, "-c", str(folder / "nginx.conf"), "-g", "daemon off;"], stderr=subprocess.DEVNULL
    )
    try:
        _wait(port, process)
        yield request.param, port
    finally:
        process.terminate()
        process.wait(20)
        server.shutdown()
        server.server_close()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None
        time.sleep(0.05)
    raise TimeoutError("nginx does not listen")


def ask(port: int, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(
        method, path, b"{}" if method != "GET" else None, {"Host": "dagster.cars.example", **(headers or {})}
    )
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, json.loads(body) if answer.status == 200 else {}


def test_who_is_logged_in_is_named_and_nobody_else(proxy: tuple[str, int]) -> None:
    name, port = proxy
    sent = {"X-Amzn-Oidc-Identity": "ann", "X-Carsdepo-User": "eve"}
    status, reached = ask(port, "GET", "/", sent)
    assert status == 200
    if name == "dagster":
        assert reached["x-carsdepo-user"] == "ann"
        assert "x-carsdepo-user" not in ask(port, "GET", "/", {"X-Carsdepo-User": "eve"})[1]
    else:
        assert reached["host"] == "127.0.0.1:5000"
        assert "origin" not in ask(port, "GET", "/", {"Origin": "https://dagster.cars.example"})[1]


@pytest.mark.parametrize(
    ("name", "method", "path", "headers", "status"),
    [
        ("dagster", "POST", "/graphql", {"Content-Type": "application/json"}, 200),
        ("dagster", "POST", "/graphql", {"Content-Type": "text/plain"}, 405),
        ("dagster", "GET", "/graphql?query=mutation", {}, 405),
        ("dagster", "POST", "/graphql", {"Content-Type": "application/json", "Origin": "https://evil.example"}, 403),
        ("dagster", "POST", "/graphql", {"Content-Type": "application/json", "Sec-Fetch-Site": "same-site"}, 403),
        ("dagster", "POST", "/graphql",
         {"Content-Type": "application/json", "Origin": "https://dagster.cars.example"}, 200),
        ("dagster", "POST", "/anything", {}, 403),
        ("dagster", "DELETE", "/anything", {}, 403),
        ("mlflow", "GET", "/ajax-api/2.0/mlflow/experiments/search", {}, 200),
        ("mlflow", "POST", "/ajax-api/2.0/mlflow/runs/search", {}, 200),
        ("mlflow", "POST", "/ajax-api/2.0/mlflow/runs/delete", {}, 403),
        ("mlflow", "POST", "/api/2.0/mlflow/runs/create", {}, 403),
        ("mlflow", "PATCH", "/api/2.0/mlflow/registered-models/update", {}, 403),
        ("mlflow", "GET", "/", {"Origin": "https://evil.example"}, 403),
    ],
)  # fmt: skip
def test_what_gets_through(
    proxy: tuple[str, int], name: str, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    if proxy[0] == name:
        assert ask(proxy[1], method, path, headers)[0] == status


def test_both_are_handed_to_their_tasks() -> None:
    text = Path(FOLDER / "dagster.yaml").read_text()
    assert text.count("Value: !Ref ProxyConf") == 2
    assert text.count("Value: !Ref MlflowProxyConf") == 1
