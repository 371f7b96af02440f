"""commands/dev.py, commands/code_servers.py: Ctrl-C ends everything in about ten seconds; also twice or early.

And a code server that is killed below it comes back, so that the sensors go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from carsdepo_assets.commands import dev
from carsdepo_assets.commands.code_servers import code_servers, proxies
from carsdepo_assets.commands.services import health
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.end_to_end.dagster_server import Server, free_port
from carsdepo_assets_tests.end_to_end.killing import CarsdepoDev

# Beyond END_S only the killing of what is left is waited for. A busy machine slows that, not the servers' own ending.
SLACK_S = 25.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    names = ("DAGSTER", "MLFLOW", "STAGING", "PRODUCTION")
    return Settings.read({f"CARSDEPO_{n}_PORT": str(free_port()) for n in names}, home=tmp_path / "home")


@pytest.fixture
def running(settings: Settings, tmp_path: Path) -> Iterator[CarsdepoDev]:
    started = CarsdepoDev(settings, tmp_path / "terminal.log")
    yield started
    started.end()


def until(ready: Callable[[], object], running: CarsdepoDev, seconds: float = 300) -> None:
    limit = time.monotonic() + seconds
    while not ready():
        assert running.process.poll() is None, running.shown()
        assert time.monotonic() < limit, running.shown()
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("times", "code"), [(1, dev.OK), (2, dev.KILLED)])
@pytest.mark.parametrize("when", ["while it starts", "when it serves"])
def test_ctrl_c_ends_all(when: str, times: int, code: int, settings: Settings, running: CarsdepoDev) -> None:
    until(lambda: "Ctrl-C ends all" in running.shown(), running)
    if when == "when it serves":
        for stage in ("staging", "production"):
            until(lambda stage=stage: health(settings.service_url(stage)) is not None, running)
    started = time.monotonic()
    ended, left = running.interrupt(times)
    assert time.monotonic() - started < dev.END_S + SLACK_S
    assert left == []
    # Two signals that come together may be delivered as one: then it is the ordinary end.
    assert ended in ({code} if times == 1 else {code, dev.OK})
    assert "Ending all" in running.shown()
    assert "Traceback" not in running.shown()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_code_server_that_was_killed_comes_back(settings: Settings, running: CarsdepoDev) -> None:
    """`dagster dev` alone does not notice: no sensor would tick and no run would start until someone pressed Reload."""
    server = Server(settings, settings.home / "logs" / "dev.log")

    def servers() -> list[psutil.Process]:
        below = psutil.Process(running.process.pid).children()
        return [s for child in below for proxy in proxies(child.pid) for s in code_servers(proxy)]

    def ticks() -> int:
        return sum(status in ("SUCCESS", "SKIPPED") for status in server.ticks("settle_runs"))

    server.wait("a tick", ticks, 300)
    [killed] = servers()
    killed.kill()
    server.wait("another code server", lambda: [s.pid for s in servers() if s.pid != killed.pid], 300)
    before = server.wait("the code location", ticks, 300)
    server.wait("a tick of it", lambda: ticks() > before, 300)
    assert "code server died; it is started anew" in running.shown()
