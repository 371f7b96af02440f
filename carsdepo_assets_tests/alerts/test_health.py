"""alerts/health.py: a stage in trouble: which alerts are sent, when, and when not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from carsdepo_assets.alerts.channels import Alert
from carsdepo_assets.alerts.health import Trouble, examine, follow

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WELL = {"status": "serving", "digest": "new"}
OLD = {"status": "serving", "digest": "old"}


@pytest.mark.parametrize(
    ("health", "kind", "what"),
    [
        (None, "service_down", "does not answer"),
        ({"status": "empty", "digest": None}, "service_down", "answers, but is empty"),
        ({"status": "failed", "error": "no weights"}, "service_down", "answers, but is failed: no weights"),
        (OLD, "ledger", "serves old, the ledger says new"),
        (OLD | {"error": "a file was changed"}, "ledger", "serves old, the ledger says new: a file was changed"),
        (
            WELL | {"ready": False, "not_ready_because": ["Answers cannot be captured: the disk is full"]},
            "service_down",
            "answers, but is not ready: Answers cannot be captured: the disk is full",
        ),
    ],
)
def test_trouble_has_a_kind_and_words(health: dict[str, Any] | None, kind: str, what: str) -> None:
    assert examine("new", health) == (kind, what)


def test_serving_the_ledgers_digest_is_no_trouble() -> None:
    assert examine("new", WELL) is None
    assert examine("new", WELL | {"ready": True, "not_ready_because": []}) is None


def story(steps: list[tuple[int, dict[str, Any] | None]]) -> list[tuple[int, Alert]]:
    """(second, alert) of a sequence of answers to /healthz."""
    state: Trouble | None = None
    alerts = []
    for second, health in steps:
        state, alert = follow("production", "http://x", "new", health, state, NOON + timedelta(seconds=second))
        if alert is not None:
            alerts.append((second, alert))
    return alerts


def test_a_short_silence_is_no_alert() -> None:
    assert story([(0, WELL), (30, None), (60, None), (90, WELL), (120, OLD), (150, WELL)]) == []


def test_a_long_one_is_told_of_under_one_key_and_so_is_its_end() -> None:
    alerts = story([(0, None), (30, None), (61, None), (91, None), (300, WELL), (330, WELL)])
    assert [(second, a.severity) for second, a in alerts] == [(61, "critical"), (91, "critical"), (300, "info")]
    assert alerts[0][1].key == alerts[1][1].key
    assert "carsdepo serve --stage production" in alerts[0][1].body
    assert "well again" in alerts[2][1].title


def test_two_outages_are_two_alerts() -> None:
    alerts = story([(0, None), (61, None), (90, WELL), (120, None), (181, None)])
    keys = [a.key for _, a in alerts if a.severity == "critical"]
    assert len(keys) == 2
    assert len(set(keys)) == 2


def test_another_digest_for_long_is_the_ledgers_alert() -> None:
    ((_, alert),) = story([(0, OLD), (61, OLD)])
    assert alert.kind == "ledger"
    assert "serves old" in alert.title
