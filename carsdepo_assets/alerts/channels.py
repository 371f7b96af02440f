"""Where an alert goes: this process's log, a webhook, or any service that apprise knows (mail, chat, paging)."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, Protocol
from urllib.parse import urlsplit

from carsdepo_assets.certificates import trusted

Severity = Literal["info", "warning", "critical"]
LOGGER = "carsdepo.alerts"
_TIMEOUT_S = 5.0
_TRIES = 3
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}


class ChannelError(RuntimeError):
    """The channel did not take the alert. Its message holds no URL: those carry passwords and tokens."""


@dataclass(frozen=True)
class Alert:
    """kind: as in the table `alerts`. key: the same key within policy.alerts.repeat_after_s is one alert."""

    kind: str
    key: str
    severity: Severity
    title: str
    body: str

    def fields(self) -> dict[str, str]:
        return asdict(self)


class Channel(Protocol):
    """name: which channel this is, without secrets; the alert's row keeps it."""

    @property
    def name(self) -> str: ...

    def deliver(self, alert: Alert) -> None:
        """Raises ChannelError where the alert did not arrive."""


@dataclass(frozen=True)
class Log:
    """One JSON line in the log `carsdepo.alerts`, at the level of the severity."""

    name: str = "log"

    def deliver(self, alert: Alert) -> None:
        logging.getLogger(LOGGER).log(_LEVELS[alert.severity], "%s", json.dumps(alert.fields(), ensure_ascii=False))


@dataclass(frozen=True)
class Webhook:
    """POST of the alert's fields as JSON. `text` (title and body) is what chat systems' own webhooks show.

    Tried three times where nothing answers or the answer is 429 or 5xx; any other refusal is final.
    """

    url: str = field(repr=False)
    timeout_s: float = _TIMEOUT_S
    pause_s: float = 0.3

    @property
    def name(self) -> str:
        return f"webhook:{urlsplit(self.url).netloc.rpartition('@')[2]}"

    def deliver(self, alert: Alert) -> None:
        import httpx

        body = {**alert.fields(), "text": f"{alert.title}\n{alert.body}"}
        reason = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(self.pause_s * attempt)
            try:
                answer = httpx.post(self.url, json=body, timeout=self.timeout_s, verify=trusted())
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise ChannelError("not an http(s) URL; see CARSDEPO_ALERT_WEBHOOK") from error
            except httpx.TransportError as error:
                reason = f"{type(error).__name__}: {error}".replace(self.url, "its URL")
                continue
            if answer.is_success:
                return
            reason = f"HTTP {answer.status_code}"
            if answer.status_code != 429 and answer.status_code < 500:
                raise ChannelError(reason)
        raise ChannelError(f"{reason}, {_TRIES} times")


@dataclass(frozen=True)
class Apprise:
    """Any apprise URL: mailto://, slack://, pagerduty://, json:// …"""

    url: str = field(repr=False)

    @property
    def name(self) -> str:
        return f"{urlsplit(self.url).scheme or 'apprise'}:{hashlib.sha256(self.url.encode()).hexdigest()[:6]}"

    def deliver(self, alert: Alert) -> None:
        import apprise

        kinds = {
            "info": apprise.NotifyType.INFO,
            "warning": apprise.NotifyType.WARNING,
            "critical": apprise.NotifyType.FAILURE,
        }
        service = apprise.Apprise()
        with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as said:
            if not service.add(self.url):
                raise ChannelError("apprise knows no such URL; see CARSDEPO_ALERT_URLS")
            taken = service.notify(
                title=alert.title, body=alert.body, notify_type=kinds[alert.severity], body_format="text"
            )
            words = " ".join(said.getvalue().split()).replace(self.url, "its URL")
        if not taken:
            raise ChannelError(words[:200] or "refused without a reason")


def channels(webhook: str | None, urls: Sequence[str]) -> list[Channel]:
    """The log, and what is set up beside it."""
    found: list[Channel] = [Log()]
    if webhook:
        found.append(Webhook(webhook))
    return found + [Apprise(url) for url in urls]
