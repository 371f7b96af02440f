"""inference/documentation.py: /docs needs no other server, and operations ask for the key where there is one."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from carsdepo_assets.inference.app import create_app
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.inference.served_models import settings_of
from carsdepo_assets_tests.inference.service_process import load_red_pixels

OPERATIONS = (
    "/metrics",
    "/docs",
    "/docs/start.js",
    "/docs/swagger-ui.css",
    "/docs/swagger-ui-bundle.js",
    "/openapi.json",
)


def client(folder: Path, policy: str = "", **changes: Any) -> TestClient:
    settings = settings_of(folder, policy, **changes)
    Lake.open(settings.lake)
    return TestClient(create_app(settings, "staging", load_red_pixels), base_url="http://127.0.0.1:8001")


def test_the_page_loads_its_own_parts_alone(tmp_path: Path) -> None:
    browser = client(tmp_path)
    page = browser.get("/docs")
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert parts == ["/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/start.js"]
    assert not re.search(r"<script>|\son\w+=|https?://", page.text)
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    for part, kind in zip(parts, ("text/css", "text/javascript", "text/javascript"), strict=True):
        answer = browser.get(part)
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, kind)
    assert '"url": "/openapi.json"' in browser.get("/docs/start.js").text
    assert "/v1/inspections" in browser.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize("path", OPERATIONS)
def test_operations_ask_for_the_key(tmp_path: Path, path: str) -> None:
    closed = client(tmp_path, api_key="k3y")
    refused = closed.get(path)
    assert refused.status_code == 401
    assert refused.json()["error"]["reason"] == "unauthorized"
    assert refused.headers["www-authenticate"].startswith("Basic")
    assert closed.get(path, headers={"X-API-Key": "wrong"}).status_code == 401
    assert closed.get(path, headers={"X-API-Key": "k3y"}).status_code == 200
    password = base64.b64encode(b"prometheus:k3y").decode()
    assert closed.get(path, headers={"Authorization": f"Basic {password}"}).status_code == 200


@pytest.mark.parametrize("path", OPERATIONS)
def test_operations_are_open_without_a_key_or_by_policy(tmp_path: Path, path: str) -> None:
    assert client(tmp_path).get(path).status_code == 200
    by_policy = client(tmp_path, "[inference]\nopen_operations = true\n", api_key="k3y")
    assert by_policy.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/ping"])
def test_probes_need_no_key(tmp_path: Path, path: str) -> None:
    assert client(tmp_path, api_key="k3y").get(path).status_code in (200, 503)


def test_a_browser_gets_a_page_of_what_is_not_there_and_a_program_gets_json(tmp_path: Path) -> None:
    as_browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    settings = settings_of(tmp_path)
    Lake.open(settings.lake)
    for stage, pages in (("production", True), ("staging", False)):
        browser = TestClient(create_app(settings, stage, load_red_pixels), base_url="http://127.0.0.1:8001")
        for path, status in (("/nowhere", 404), ("/a/b?c=<b>", 404), ("/v1/inspections", 405)):
            answer = browser.get(path, headers=as_browser)
            assert answer.status_code == status
            assert ("text/html" in answer.headers["content-type"]) is pages
            assert ("Not here" in answer.text) is pages
            assert "<b>" not in answer.text
            assert browser.get(path).json()["error"]["reason"] in ("not_found", "wrong_method")
            if pages:
                assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert browser.get("/v1/inspections", headers=as_browser).headers["allow"] == "POST"
