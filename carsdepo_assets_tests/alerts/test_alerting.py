"""alerts/alerting.py: an alert is sent once: repetition, channels that fail, and concurrent processes."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from carsdepo_assets.alerts.alerting import send
from carsdepo_assets.alerts.channels import Alert, Channel, Log, Webhook
from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import AlertPolicy, Policy
from carsdepo_assets_tests.alerts.receiver import Receiver

ALERT = Alert("drift", "drift:r1", "warning", "Drift", "6 % of traffic")
HOURLY = Policy(alerts=AlertPolicy(repeat_after_s=3600))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Faulty:
    """A plugin with a fault of its own."""

    name: str = "faulty"
    calls: list[str] = field(default_factory=list)

    def deliver(self, alert: Alert) -> None:
        self.calls.append(alert.key)
        raise ZeroDivisionError("a fault in a plugin")


def test_the_same_key_is_one_alert_until_the_policy_repeats_it(lake: Lake, hook: Receiver) -> None:
    channels: list[Channel] = [Log(), Webhook(hook.url())]
    first = send(lake, HOURLY, channels, ALERT, NOON)
    again = [send(lake, HOURLY, channels, ALERT, NOON + timedelta(minutes=m)) for m in (0, 30, 59)]
    other = send(lake, HOURLY, channels, replace(ALERT, key="drift:r2"), NOON)
    later = send(lake, HOURLY, channels, ALERT, NOON + timedelta(minutes=61))
    assert again == [None, None, None]
    assert None not in (first, other, later)
    assert [b["key"] for b in hook.bodies] == ["drift:r1", "drift:r2", "drift:r1"]
    rows = sorted(lake.read("alerts").to_pylist(), key=lambda r: (r["at"], r["key"]))
    assert [(r["at"], r["key"], r["failed"]) for r in rows] == [
        (NOON, "drift:r1", []),
        (NOON, "drift:r2", []),
        (NOON + timedelta(minutes=61), "drift:r1", []),
    ]
    assert {r["alert_id"] for r in (first, other, later) if r} == {r["alert_id"] for r in rows}


def test_a_failing_channel_is_recorded_and_hinders_no_other(
    lake: Lake, hook: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    hook.statuses = [410]
    caplog.set_level(logging.CRITICAL, "carsdepo_assets.alerts.alerting")
    faulty = Faulty()
    row = send(lake, HOURLY, [faulty, Webhook(hook.url()), Log()], ALERT, NOON)
    assert row is not None
    assert row["sent"] == ["log"]
    assert row["failed"] == ["faulty: ZeroDivisionError, see the log", f"webhook:127.0.0.1:{hook.port}: HTTP 410"]
    assert lake.read("alerts").to_pylist()[0]["failed"] == row["failed"]


def test_a_channel_that_was_down_gets_the_alert_later_and_the_others_do_not(lake: Lake, hook: Receiver) -> None:
    hook.statuses = [410, 200]
    channels: list[Channel] = [Log(), Webhook(hook.url())]
    send(lake, HOURLY, channels, ALERT, NOON)
    assert send(lake, HOURLY, channels, ALERT, NOON + timedelta(seconds=30)) is None
    later = send(lake, HOURLY, channels, ALERT, NOON + timedelta(seconds=61))
    assert later is not None
    assert (later["sent"], later["failed"]) == ([f"webhook:127.0.0.1:{hook.port}"], [])
    assert send(lake, HOURLY, channels, ALERT, NOON + timedelta(seconds=200)) is None
    assert len(hook.bodies) == 2


def test_many_at_the_same_moment_tell_people_once(lake: Lake, hook: Receiver) -> None:
    def tell(_: int) -> bool:
        return send(Lake.open(lake.url), HOURLY, [Webhook(hook.url())], ALERT, NOON) is not None

    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(tell, range(6)))
    assert sum(told) == 1
    assert len(hook.bodies) == 1


def test_the_resource_tells_by_every_channel_it_is_given(lake: Lake, hook: Receiver) -> None:
    resource = AlertsResource(webhook=hook.url(), urls=[hook.url("json")], dagster_url="http://127.0.0.1:3000/")
    told = [
        resource.send(lake, HOURLY, kind="drift", key="k", severity="info", title="Title", body="Body")
        for _ in range(2)
    ]
    assert told == [True, False]
    assert [b["title"] for b in hook.bodies] == ["Title", "Title"]
    (row,) = lake.read("alerts").to_pylist()
    assert row["sent"][:2] == ["log", f"webhook:127.0.0.1:{hook.port}"]
    assert resource.run_url("abc") == "http://127.0.0.1:3000/runs/abc"
