"""alerts/announcements.py and sensors.py (release_news): every event of the ledger is announced once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.alerts.announcements import ANNOUNCED_FOR, announcement, unannounced
from carsdepo_assets.alerts.resources import AlertsResource
from carsdepo_assets.alerts.sensors import release_news
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.resources import LakeResource, PolicyResource


def tell(lake: Lake, **others: Any) -> list[dict[str, Any]]:
    """One tick; the alerts there are then, oldest first."""
    resources = {
        "lake": LakeResource(url=lake.url, home=lake.url, site="http://site"),
        "policy": PolicyResource(files=["absent.toml"]),
        "alerts": AlertsResource(dagster_url="http://dagster"),
    }
    with dg.DagsterInstance.ephemeral() as instance:
        release_news(dg.build_sensor_context(instance=instance, resources=resources | others))
    return sorted(lake.read("alerts").to_pylist(), key=lambda r: r["at"])


def record(lake: Lake, action: Any, digest: str | None, stage: Any = "production", actor: str = "ada@desk") -> None:
    ledger.record(lake, stage, action, digest=digest, version=1 if digest else None, actor=actor, reason="it is better")


def test_each_event_is_told_once_with_its_reason_its_person_and_its_page(lake: Lake) -> None:
    assert tell(lake) == []
    record(lake, "deploy", "d1", "staging", "auto:0a1b")
    record(lake, "promote", "d1")
    record(lake, "promote", "d2")
    record(lake, "rollback", "d1")
    rows = tell(lake)
    assert [r["title"] for r in rows] == [
        "Staging serves version 1",
        "Production serves version 1",
        "Production serves version 1",
        "Production is rolled back to version 1",
    ]
    assert {r["kind"] for r in rows} == {"release"}
    assert rows[-1]["severity"] == "critical"
    assert "the policy (auto:0a1b)" in rows[0]["body"]
    for part in ("it is better.", "Decided by ada@desk", "Before: model d2.", "http://site/models/d1"):
        assert part in rows[-1]["body"]
    assert tell(lake) == rows
    record(lake, "reject", "d2")
    record(lake, "hold", None)
    assert [r["title"] for r in tell(lake)[4:]] == ["Version 1 is rejected", "The next promotion needs a person"]


def test_a_kill_in_the_middle_loses_none(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    record(lake, "promote", "d1")
    record(lake, "promote", "d2")
    first, second = ledger.events(lake)
    alert = announcement(first, str)
    lake.append("alerts", [{"alert_id": "a", "at": first.at, **alert.fields(), "sent": ["log"], "failed": []}], "a")
    assert unannounced(lake, [first, second], second.at) == [second]
    assert [r["key"] for r in tell(lake)] == [f"ledger_event:{first.event_id}", f"ledger_event:{second.event_id}"]


def test_the_past_of_a_lake_that_was_moved_is_not_told_again(lake: Lake) -> None:
    record(lake, "promote", "d1")
    [event] = ledger.events(lake)
    assert unannounced(lake, [event], event.at + ANNOUNCED_FOR - timedelta(seconds=1)) == [event]
    assert unannounced(lake, [event], event.at + ANNOUNCED_FOR) == []
