"""alerts/channels.py: every channel keeps one contract, on the real thing: a log, a webhook, apprise over HTTP."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest

from carsdepo_assets.alerts.channels import LOGGER, Alert, Apprise, Channel, ChannelError, Log, Webhook, channels
from carsdepo_assets_tests.alerts.receiver import Receiver

DRIFT = Alert("drift", "drift:1", "critical", "Night photographs ☾", "22 % of <traffic> changed.\nSee the report.")
DOWN = Alert("service_down", "down:1", "info", "Staging is well again", "After 3 minutes.")
Heard = Callable[[], list[tuple[str, str]]]


@pytest.fixture(params=["log", "webhook", "apprise"])
def twin(request: pytest.FixtureRequest, hook: Receiver, caplog: pytest.LogCaptureFixture) -> tuple[Channel, Heard]:
    """A channel, and how to learn (title, body) of what arrived at its far end."""
    if request.param == "log":
        caplog.set_level(logging.INFO, LOGGER)
        return Log(), lambda: [
            (logged["title"], logged["body"])
            for logged in (json.loads(r.getMessage()) for r in caplog.records if r.name == LOGGER)
        ]
    if request.param == "webhook":
        return Webhook(hook.url()), lambda: [(b["title"], b["body"]) for b in hook.bodies]
    return Apprise(hook.url("json")), lambda: [(b["title"], b["message"]) for b in hook.bodies]


def test_what_is_delivered_arrives_whole_and_in_order(twin: tuple[Channel, Heard]) -> None:
    channel, heard = twin
    channel.deliver(DRIFT)
    channel.deliver(DOWN)
    assert heard() == [(DRIFT.title, DRIFT.body), (DOWN.title, DOWN.body)]
    assert channel.name


def test_severity_reaches_every_channel(hook: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    for channel in channels(hook.url(), [hook.url("json")]):
        channel.deliver(DRIFT)
    assert [r.levelno for r in caplog.records if r.name == LOGGER] == [logging.CRITICAL]
    webhook, apprise = hook.bodies
    assert webhook["severity"] == "critical"
    assert webhook["text"] == f"{DRIFT.title}\n{DRIFT.body}"
    assert apprise["type"] == "failure"


@pytest.mark.parametrize(("statuses", "tries"), [([503, 500, 200], 3), ([429, 200], 2), ([200], 1)])
def test_webhook_tries_again_when_the_server_is_busy(hook: Receiver, statuses: list[int], tries: int) -> None:
    hook.statuses = statuses
    Webhook(hook.url(), pause_s=0.01).deliver(DRIFT)
    assert len(hook.bodies) == tries


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://hooks.example/x", "hooks.example"),
        ("https://hooks.example:8443/x?to=me@corp.example", "hooks.example:8443"),
        ("https://bot:secret@hooks.example/x", "hooks.example"),
        ("https://bot:pa/ss@hooks.example/x", "hooks.example"),  # raw characters that a browser would encode
        ("https://bot:pa#ss?word@hooks.example:1/x", "hooks.example:1"),
        ("https://[::1]:8/x", "[::1]:8"),
        ("https://[hooks.example/x", "[hooks.example"),
        ("", ""),
    ],
)
def test_a_webhooks_name_is_its_host_and_no_password(url: str, name: str) -> None:
    assert Webhook(url).name == f"webhook:{name}"
    assert "secret" not in Apprise(url).name


@pytest.mark.parametrize("url", ["https://[hooks.example/x", "no-url", "", "http://"])
def test_a_malformed_webhook_is_a_failed_channel(url: str) -> None:
    with pytest.raises(ChannelError):
        Webhook(url, pause_s=0.01).deliver(DRIFT)


@pytest.mark.parametrize(("status", "tries", "expected"), [(500, 3, "HTTP 500, 3 times"), (404, 1, "HTTP 404")])
def test_webhook_gives_up_with_the_reason(hook: Receiver, status: int, tries: int, expected: str) -> None:
    hook.statuses = [status]
    with pytest.raises(ChannelError, match=f"^{expected}$"):
        Webhook(hook.url(), pause_s=0.01).deliver(DRIFT)
    assert len(hook.bodies) == tries


def test_webhook_does_not_wait_for_ever(hook: Receiver) -> None:
    hook.wait_s = 0.5
    with pytest.raises(ChannelError, match="ReadTimeout"):
        Webhook(hook.url(), timeout_s=0.05, pause_s=0.01).deliver(DRIFT)


@pytest.mark.parametrize(
    "channel",
    [
        Webhook("http://user:s3cret@127.0.0.1:1/t0ken", pause_s=0.01),
        Webhook("t0ken:s3cret"),
        Webhook("ftp://127.0.0.1/t0ken-s3cret"),
        Apprise("json://user:s3cret@127.0.0.1:1/t0ken"),
        Apprise("nothing-known://s3cret/t0ken"),
        Apprise("t0ken s3cret"),
    ],
    ids=lambda c: f"{type(c).__name__} {c.url}",
)
def test_a_failure_is_explained_without_secrets(channel: Channel) -> None:
    with pytest.raises(ChannelError) as caught:
        channel.deliver(DRIFT)
    logged = f"{channel.name} {caught.value}"
    assert str(caught.value)
    assert "s3cret" not in logged
    assert "t0ken" not in logged
