"""inference/web_origins.py: without a key a foreign web page can neither send photographs nor read pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from carsdepo_assets.inference.app import create_app
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.inference.served_models import photograph, settings_of
from carsdepo_assets_tests.inference.service_process import load_red_pixels

FILES = {"photographs": ("a.jpg", photograph(1), "image/jpeg")}


def client(folder: Path, **changes: Any) -> TestClient:
    """A client of a production service that has no model: what reaches it is answered with 503."""
    settings = settings_of(folder, **changes)
    Lake.open(settings.lake)
    return TestClient(create_app(settings, "production", load_red_pixels), base_url="http://127.0.0.1:8000")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost:8000", 200),
        ("[::1]:8000", 200),
        ("10.0.0.7", 200),
        ("inspect.example", 200),  # of the service's own URL
        ("cars.example:9", 200),  # of CARSDEPO_ALLOWED_HOSTS
        ("rebound.example", 400),
        ("127.0.0.1.rebound.example", 400),
        ("localhost.rebound.example", 400),
        ("", 400),
        ("[", 400),
    ],
)
def test_a_name_that_is_not_ours_is_refused(tmp_path: Path, host: str, expected: int) -> None:
    changes = {"production_url": "https://inspect.example", "allowed_hosts": ("Cars.example",)}
    answer = client(tmp_path, **changes).get("/healthz", headers={"Host": host})
    assert answer.status_code == expected
    if expected == 400:
        assert answer.json()["error"]["reason"] == "unknown_host"
        assert "CARSDEPO_ALLOWED_HOSTS" in answer.json()["error"]["detail"]


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, 503),
        ("http://127.0.0.1:8000", 503),
        ("http://127.0.0.1:3000", 403),  # another server on this machine
        ("https://evil.example", 403),
        ("null", 403),
    ],
)
def test_a_foreign_page_cannot_post(tmp_path: Path, origin: str | None, expected: int) -> None:
    headers = {} if origin is None else {"Origin": origin}
    answer = client(tmp_path).post("/v1/inspections", files=FILES, headers=headers)
    assert answer.status_code == expected
    assert answer.json()["error"]["reason"] == ("no_model" if expected == 503 else "foreign_origin")


def test_links_from_other_pages_open(tmp_path: Path) -> None:
    assert client(tmp_path).get("/", headers={"Origin": "https://wiki.example"}).status_code == 200


def test_a_key_protects_whatever_the_name(tmp_path: Path) -> None:
    with_key = client(tmp_path, api_key="k")
    assert with_key.get("/healthz", headers={"Host": "anything.example"}).status_code == 200
    answer = with_key.post("/v1/inspections", files=FILES, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 401


def test_every_name_is_allowed_where_the_settings_say_so(tmp_path: Path) -> None:
    assert client(tmp_path, allowed_hosts=("*",)).get("/healthz", headers={"Host": "any.example"}).status_code == 200
