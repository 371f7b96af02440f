"""resources.py: the services resource says who answers, what it serves, and what to start where none does."""

from __future__ import annotations

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from carsdepo_assets import resources
from carsdepo_assets.registry import ledger
from carsdepo_assets.resources import NoService, ServicesResource
from carsdepo_assets_tests.release.released_lake import World

pytestmark = pytest.mark.slow


def test_it_waits_until_the_stage_serves_the_digest(world: World) -> None:
    ledger.record(world.lake, "staging", "deploy", digest="aaaa", version=7, actor="t", reason="t")
    world.stages["staging"].stuck = "before"
    seen: list[Any] = []

    def waiting(health: dict[str, Any]) -> None:
        seen.append(health["digest"])
        world.stages["staging"].stuck = None

    health = world.services.wait_for("staging", "aaaa", 10, poll_s=0.01, waiting=waiting)
    assert (health["digest"], health["version"]) == ("aaaa", 7)
    assert seen == ["before"]


def test_after_its_time_it_says_what_is_served_instead(world: World) -> None:
    world.stages["staging"].stuck = "before"
    started = time.monotonic()
    with pytest.raises(NoService, match=r"does not serve model aaaa after 0\.3 s: it is serving with before"):
        world.services.wait_for("staging", "aaaa", 0.3)
    assert time.monotonic() - started < 5


def test_no_service_is_said_at_once(world: World) -> None:
    world.stages["production"].end()
    started = time.monotonic()
    with pytest.raises(NoService, match="Start it: `carsdepo serve --stage production`"):
        world.services.wait_for("production", "aaaa", 30)
    assert time.monotonic() - started < 5


def test_the_other_stages_service_is_not_this_ones(world: World) -> None:
    crossed = ServicesResource(production=world.stages["staging"].url, staging=world.stages["production"].url)
    with pytest.raises(NoService, match=r"is not the production service.*CARSDEPO_PRODUCTION_URL"):
        crossed.health("production")


def test_the_key_is_sent_where_there_is_one() -> None:
    with_key = ServicesResource(production="http://a/", staging="http://b", api_key="k")
    assert with_key.headers() == {"X-API-Key": "k"}
    assert (with_key.url("production"), with_key.url("staging")) == ("http://a", "http://b")
    assert ServicesResource(production="http://a", staging="http://b").headers() == {}


def test_a_busy_service_is_waited_for_and_a_silent_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and answers later than a single request waits: that is not a service that is gone."""
    monkeypatch.setattr(resources, "_ANSWER_S", 0.3)
    free = threading.Event()
    asked: list[str] = []

    class Busy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if len(asked) <= 2:
                free.wait(30)
            body = b'{"stage": "staging", "status": "serving", "digest": "aaaa"}'
            with contextlib.suppress(OSError):  # who asked has gone
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        services = ServicesResource(production="http://127.0.0.1:9", staging=f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(NoService, match="takes requests and did not answer"):
            services.health("staging")
        assert services.wait_for("staging", "aaaa", 60)["digest"] == "aaaa"
        assert len(asked) == 3
    finally:
        free.set()
        server.shutdown()
        server.server_close()
