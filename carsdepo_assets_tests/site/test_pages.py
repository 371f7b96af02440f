"""site/app.py: the pages as a browser gets them: what they show, what they refuse, what they escape."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry.models import CANDIDATE, register
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets.reporting.page import BASE, render
from carsdepo_assets.settings import Settings
from carsdepo_assets.site import reading
from carsdepo_assets.site.app import pages
from carsdepo_assets_tests.data import small_lake
from carsdepo_assets_tests.site import example_lake

EVIL = '<script>alert("x")</script>'
LISTS = (
    "/photographs",
    "/datasets",
    "/explorations",
    "/predictions",
    "/evaluations",
    "/gates",
    "/drift",
    "/kpis",
    "/queues",
    "/studies",
    "/alerts",
)


def client(home: Path, **variables: str) -> TestClient:
    app = FastAPI()
    settings = Settings.read(variables, home=home)
    app.include_router(pages(settings, health=lambda stage: None))
    return TestClient(app)


@pytest.fixture(scope="module")
def browser(filled: example_lake.Filled) -> TestClient:
    return client(Path(filled.lake.url).parent)


class Page(HTMLParser):
    """links: href of every a. sources: what else the page would load. scripts, events: what could run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.sources: list[str] = []
        self.runs: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {k: v or "" for k, v in attrs}
        if tag == "a":
            self.links.append(attributes["href"])
        self.sources += [attributes[k] for k in ("src", "data") if k in attributes]
        if tag in ("image", "link", "use"):
            self.sources.append(attributes.get("href", ""))
        if tag == "script" or any(k.startswith("on") for k in attributes):
            self.runs.append(tag)


@pytest.mark.slow
def test_every_link_of_the_site_leads_somewhere(browser: TestClient) -> None:
    seen: set[str] = set()
    waiting = ["/", *LISTS]
    while waiting:
        path = waiting.pop().split("#")[0]
        if path in seen or not path.startswith("/"):
            continue
        seen.add(path)
        answer = browser.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        page = Page(answer.text)
        assert page.runs == []
        assert all(s.startswith("data:image/") for s in page.sources), path
        waiting += page.links
    assert {"/predictions/p0003", "/queues/drift-r1", "/reports/drift/r1.html"} < seen
    assert len([p for p in seen if p.startswith("/models/")]) == 2


def test_the_first_page_says_what_goes_on(browser: TestClient, filled: example_lake.Filled) -> None:
    text = browser.get("/").text
    for wanted in (
        "Production does not serve what it should",
        "6.4 %",
        "version 2",
        "KPIs of November",
        "6 of 8 goals met.",
    ):
        assert wanted in text
    assert "carsdepo approve 2 --reason" in text
    assert "auto:0a1b2c3d4e5f" in browser.get(f"/models/{filled.first}").text


def test_a_prediction_shows_its_photograph_with_boxes_where_they_are(browser: TestClient) -> None:
    text = browser.get("/predictions/p0001").text
    assert '<rect class="box" x="10.0" y="12.0" width="30.0" height="38.0"' in text
    assert f'viewBox="0 0 {example_lake.small_lake.WIDTH} {example_lake.small_lake.HEIGHT}"' in text
    (picture,) = re.findall(r'<image href="data:image/jpeg;base64,([^"]+)"', text)
    assert base64.b64decode(picture)[:2] == b"\xff\xd8"
    assert 'class="graph"' in text


def test_a_box_under_the_threshold_is_not_drawn(home: Path) -> None:
    lake = Lake.open(home / "lake")
    shot = example_lake.Shot(example_lake.small_lake.car(1), [(0, 0.2, 1, 2, 3, 4)])
    example_lake.ingest(lake, example_lake.answered(lake, [shot], "d" * 16, 1))
    text = client(home).get("/predictions/p0000").text
    assert 'class="box"' not in text
    assert "below the threshold" in text


def test_lists_show_one_models_answers(browser: TestClient, filled: example_lake.Filled) -> None:
    assert browser.get(f"/predictions?digest={filled.first}").text.count("<figure>") == 4
    assert browser.get(f"/predictions?digest={filled.second}").text.count("<figure>") == 0
    assert browser.get("/predictions?digest=' OR 1=1 --").text.count("<figure>") == 0


@pytest.mark.parametrize("path", ["/", *LISTS])
def test_an_empty_lake_says_what_to_do(tmp_path: Path, path: str) -> None:
    answer = client(tmp_path).get(path)
    assert answer.status_code == 200
    assert "Nothing here yet" in answer.text or 'class="empty"' in answer.text
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(
    "path",
    [
        *(f"/{kind}/{'a' * 300}" for kind in ("predictions", "models", "queues", "reports")),
        *(f"/{kind}/%00" for kind in ("predictions", "models", "queues", "reports")),
        "/queues/%ff",
    ],
)
def test_what_can_be_no_name_is_not_there(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 404
    assert "Not found" in answer.text


@pytest.mark.parametrize("path", ["/predictions/nope", "/models/nope", "/queues/nope", "/reports/gate/nope.html"])
def test_what_is_not_there_is_a_page_that_says_so(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 404
    assert "nope" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "../mlflow.db",
        "%2e%2e/%2e%2e/etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "gate/..%2f..%2fmodels/x.html",
        "%2fetc%2fpasswd",
        "drift/r1.json",
        "drift/",
        "drift/r1.html%00",
        "a%0d%0aX-Evil:1.html",
        "",
    ],
)
def test_nothing_but_html_below_reports_is_served(browser: TestClient, path: str) -> None:
    answer = browser.get(f"/reports/{path}")
    assert answer.status_code == 404
    assert "X-Evil" not in answer.headers


@pytest.mark.parametrize("name", ["models", "queues", "predictions"])
def test_names_that_lead_out_of_their_folder_are_refused(browser: TestClient, name: str) -> None:
    for escape in ("..%2f..%2fetc", "%2e%2e", "a%00b", "x" * 3000, "%ff%fe"):
        assert browser.get(f"/{name}/{escape}").status_code == 404, escape


def test_reports_come_with_a_policy_that_lets_nothing_run_or_load(browser: TestClient) -> None:
    for path in ("/reports/drift/r1.html", "/"):
        headers = browser.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "img-src data:" in policy
        assert "script" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert "drift report" in browser.get("/reports/drift/r1.html").text


def test_all_that_comes_from_outside_is_escaped(home: Path) -> None:
    lake = Lake.open(home / "lake")
    filled = example_lake.fill(home, [example_lake.Shot(example_lake.small_lake.car(1), listing=EVIL, source=EVIL)])
    example_lake.release(lake, filled.second, 2, reason=EVIL)
    example_lake.report(lake, "drift", "evil", EVIL, EVIL)
    lake.put("reports/drift/evil.json", lake.get("reports/drift/evil.json").replace(b"2026", b"3026"))
    row: dict[str, Any] = {"alert_id": "1", "at": filled.lake.read("drift")["at"][0].as_py(), "severity": EVIL}
    lake.append("alerts", [{**row, "title": EVIL, "body": EVIL, "failed": [EVIL], "sent": []}], "1")
    site = client(home)
    for path in (
        "/",
        "/predictions",
        "/predictions/p0000",
        "/drift",
        "/queues/drift-r1",
        "/alerts",
        "/models/%3Cscript%3E",
    ):
        text = site.get(path).text
        assert Page(text).runs == [], path
        assert "&lt;script" in text, path


def test_what_an_alert_names_can_be_opened(home: Path) -> None:
    lake = Lake.open(home / "lake")
    at = datetime(2026, 3, 2, 12, tzinfo=UTC)
    body = (
        "Report: http://127.0.0.1:8000/reports/drift/r1.html.\nRun: http://127.0.0.1:3000/runs/r?a=1&b=2\n"
        'Not javascript:alert(1) http://<script> http://x"onmouseover=alert(1)'
    )
    lake.append(
        "alerts",
        [{"alert_id": "1", "at": at, "severity": "info", "title": "t", "body": body, "sent": [], "failed": []}],
        "1",
    )
    text = client(home).get("/alerts").text
    assert Page(text).runs == []
    cell = text[text.index("Report: ") : text.index("</td>", text.index("Report: "))]
    assert re.findall(r'href="([^"]*)"', cell) == [
        "/reports/drift/r1.html", "http://127.0.0.1:3000/runs/r?a=1&amp;b=2",
    ]  # fmt: skip


def test_a_damaged_report_does_not_take_the_page_with_it(home: Path) -> None:
    lake = Lake.open(home / "lake")
    example_lake.report(lake, "kpi", "whole", "KPIs", "Fine.")
    lake.put("reports/kpi/broken.json", b'{"at": ')
    site = client(home)
    assert site.get("/").status_code == 200
    text = site.get("/kpis").text
    assert "broken.json cannot be read" in text
    assert "Fine." in text


def test_a_photograph_that_is_gone_leaves_its_answer(home: Path) -> None:
    lake = Lake.open(home / "lake")
    gone, damaged = example_lake.answered(lake, example_lake.shots(2), "d" * 16, 1)
    example_lake.ingest(lake, [gone, damaged])
    lake.delete(gone.sent.photograph_key or "")
    lake.put(damaged.sent.photograph_key or "", b"no photograph")
    site = client(home)
    assert site.get("/predictions").text.count("no photograph kept") == 2
    assert site.get("/predictions/p0000").status_code == 200


@pytest.mark.parametrize("path", ["/", "/predictions", "/predictions/p0000", "/reports/drift/r1.html", "/models/x"])
def test_with_a_key_set_every_page_asks_for_it(filled: example_lake.Filled, path: str) -> None:
    site = client(Path(filled.lake.url).parent, CARSDEPO_API_KEY="s3crét")
    refused = site.get(path)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic")
    assert site.get(path, auth=("anyone", "wrong")).status_code == 401
    for header in (
        {"X-API-Key": "wrong"},
        {"X-API-Key": ""},
        {"Authorization": "Basic ???"},
        {"Authorization": "Basic"},
    ):
        assert site.get(path, headers=header).status_code == 401
    expected = 404 if path == "/models/x" else 200
    basic = base64.b64encode("anyone:s3crét".encode()).decode()
    assert site.get(path, headers={"Authorization": f"Basic {basic}"}).status_code == expected
    assert site.get(path, headers={"X-API-Key": "s3crét".encode()}).status_code == expected


def test_a_report_has_the_sites_navigation_and_the_stored_one_stands_alone(home: Path) -> None:
    lake = Lake.open(home / "lake")
    stored = render(BASE, "base.html")
    lake.put("reports/drift/r9.html", stored.encode())
    browser = client(home)
    served = browser.get("/reports/drift/r9.html").text
    assert served.count('<nav class="site"') == 1
    assert '<a href="/drift" class="on" aria-current="page">Drift</a>' in served
    assert served.index("<body>") < served.index('<nav class="site"') < served.index("<main>")
    assert "<nav" not in stored
    assert browser.get("/drift").text.count('<nav class="site"') == 1


def test_a_report_of_another_form_keeps_every_byte(home: Path) -> None:
    Lake.open(home / "lake").put("reports/gate/odd.html", b"<p>no body tag</p>")
    text = client(home).get("/reports/gate/odd.html").text
    assert text.endswith("<p>no body tag</p>")
    assert '<a href="/gates" class="on"' in text


def test_a_page_that_fails_says_so_and_the_others_work(
    browser: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("an inside")

    with monkeypatch.context() as patch:
        patch.setattr(reading, "reports", broken)
        answer = browser.get("/drift")
        assert (answer.status_code, browser.get("/alerts").status_code) == (500, 200)
    assert "could not be made" in answer.text
    assert "an inside" not in answer.text
    assert "an inside" in caplog.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert browser.get("/drift").status_code == 200


def test_what_keeps_a_registered_model_from_being_released_is_said(home: Path) -> None:
    lake, tracking = Lake.open(home / "lake"), Tracking.at_home(home)
    small_lake.upload(lake, {"a.jpg": small_lake.car(1)})

    def first_page(alias: str | None) -> str:
        register(
            tracking, digest="d" * 16, lake_url=lake.url, dataset_version="v", detector="yolov8n", figures={},
            run_id=None, alias=alias,
        )  # fmt: skip
        return str(client(home).get("/").text)

    under_the_floor = first_page(None)
    assert "No registered model meets <code>evaluation.floor_map50</code>" in under_the_floor
    assert "the release job takes it" not in under_the_floor
    assert "the release job takes it to staging" in first_page(CANDIDATE)
