"""Sends each alert once. The table `alerts` keeps what was sent, over which channels, and which of them failed."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from carsdepo_assets.alerts.channels import Alert, Channel, ChannelError
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.policy import Policy
from carsdepo_assets.redaction import redact

__all__ = ["Alert", "send"]

RETRY_AFTER_S = 60.0  # a channel that failed gets the same alert again no sooner
logger = logging.getLogger(__name__)


def send(
    lake: Lake, policy: Policy, channels: Sequence[Channel], alert: Alert, now: datetime | None = None
) -> dict[str, Any] | None:
    """Delivers an alert over each channel that has not taken the same key within policy.alerts.repeat_after_s.

    A channel that fails does not keep the others from getting the alert. A process that is killed between delivery and
    recording sends the alert twice, never not at all.

    Args:
        lake: whose table `alerts` keeps the record.
        policy: the section `alerts` is used.
        channels: where alerts go.
        alert: to send.
        now: the time of the alert; by default the present.

    Returns:
        The new row of the table `alerts`, in which `failed` names each channel that failed with the reason; None where
        every channel had taken the alert before.
    """
    moment = now or datetime.now(UTC)
    digest = hashlib.sha256(alert.key.encode()).hexdigest()
    # Sixteen locks: one slow webhook does not hold up every other alert.
    with one_writer(lake, f"alerts-{digest[0]}"):
        due = _due(lake, channels, alert.key, moment, policy.alerts.repeat_after_s)
        if not due:
            return None
        sent: list[str] = []
        failed: list[str] = []
        for channel in due:
            reason = _deliver(channel, alert)
            if reason is None:
                sent.append(channel.name)
            else:
                failed.append(f"{channel.name}: {reason}")
                logger.warning("alert %s did not reach %s: %s", alert.key, channel.name, reason)
        row: dict[str, Any] = {
            "alert_id": secrets.token_hex(8),
            "at": moment,
            **alert.fields(),
            "sent": sent,
            "failed": failed,
        }
        lake.append("alerts", [row], row["alert_id"])
    return row


def _deliver(channel: Channel, alert: Alert) -> str | None:
    """None when the alert arrived, else the reason, which may also be a fault of a plugin that nobody foresaw."""
    try:
        channel.deliver(alert)
    except ChannelError as error:
        return redact(str(error))
    except Exception as error:
        logger.exception("alert channel %s", channel.name)
        return f"{type(error).__name__}, see the log"
    return None


def _due(lake: Lake, channels: Sequence[Channel], key: str, now: datetime, repeat_after_s: float) -> list[Channel]:
    since = now - timedelta(seconds=repeat_after_s)
    retried = now - timedelta(seconds=min(RETRY_AFTER_S, repeat_after_s))
    rows = lake.read("alerts", columns=["key", "at", "sent", "failed"]).to_pylist()
    recent = [r for r in rows if r["key"] == key and r["at"] > since]
    taken = {name for r in recent for name in r["sent"] or []}
    refused = [line for r in recent if r["at"] > retried for line in r["failed"] or []]
    return [c for c in channels if c.name not in taken and not any(r.startswith(f"{c.name}: ") for r in refused)]
