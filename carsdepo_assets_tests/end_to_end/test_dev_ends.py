"""Ctrl-C of `carsdepo dev`: all ends in about ten seconds, in order and without a trace; also twice, also early."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from carsdepo_assets.commands import dev
from carsdepo_assets.commands.services import health
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.end_to_end.dagster_server import free_port
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


def until(ready: object, running: CarsdepoDev, seconds: float = 200) -> None:
    assert callable(ready)
    limit = time.monotonic() + seconds
    while not ready():
        assert running.process.poll() is None, running.shown()
        assert time.monotonic() < limit, running.shown()
        time.sleep(0.2)


@pytest.mark.slow
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
