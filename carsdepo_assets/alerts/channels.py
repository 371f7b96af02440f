"""The channels of alerts: this process's log, a webhook, or any service that apprise supports (mail, chat, paging).

The one to an SNS topic is in sns.py.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, Protocol, TypedDict, cast

from carsdepo_assets.certificates import trusted

Severity = Literal["info", "warning", "critical"]
LOGGER = "carsdepo.alerts"
_TIMEOUT_S = 5.0
_TRIES = 3
_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}


class ChannelError(RuntimeError):
    """The channel did not take the alert. The message holds no URL, since URLs carry passwords and tokens."""


class _Unavailable(ChannelError):
    """No answer, or one that asks to try again."""


class AlertFields(TypedDict):
    """The fields of an Alert by name: what AlertsResource.send takes, and what the table `alerts` keeps."""

    kind: str
    key: str
    severity: Severity
    title: str
    body: str


@dataclass(frozen=True)
class Alert:
    """A message to people."""

    kind: str
    """One of the kinds of the table `alerts`."""
    key: str
    """Alerts with the same key within policy.alerts.repeat_after_s are one alert."""
    severity: Severity
    title: str
    body: str

    def fields(self) -> AlertFields:
        """The fields by name."""
        return cast(AlertFields, asdict(self))


class Channel(Protocol):
    """Carries alerts to people."""

    @property
    def name(self) -> str:
        """Names the channel without its secrets; the alert's row keeps the name."""

    def deliver(self, alert: Alert) -> None:
        """Sends an alert.

        Raises:
            ChannelError: it did not arrive.
        """


@dataclass(frozen=True)
class Log:
    """Writes one JSON line to the log `carsdepo.alerts`, at the level of the severity."""

    name: str = "log"

    def deliver(self, alert: Alert) -> None:
        """Never fails."""
        logging.getLogger(LOGGER).log(_LEVELS[alert.severity], "%s", json.dumps(alert.fields(), ensure_ascii=False))


@dataclass(frozen=True)
class Webhook:
    """Posts the alert's fields as JSON. `text` (title and body) is the field that chat systems' webhooks show.

    The request is tried three times where nothing answers or the answer is 429 or 5xx; any other refusal is final.
    """

    url: str = field(repr=False)
    timeout_s: float = _TIMEOUT_S
    """Seconds for one request."""
    pause_s: float = 0.3
    """Seconds before the second try; twice as long before the third."""

    @property
    def name(self) -> str:
        """`webhook:` and the host."""
        return f"webhook:{_host(self.url)}"

    def deliver(self, alert: Alert) -> None:
        """Raises ChannelError where the webhook refused the alert or did not answer."""
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_incrementing

        tries = Retrying(
            retry=retry_if_exception_type(_Unavailable),
            stop=stop_after_attempt(_TRIES),
            wait=wait_incrementing(start=self.pause_s, increment=self.pause_s),
            reraise=True,
        )
        try:
            tries(self._post, {**alert.fields(), "text": f"{alert.title}\n{alert.body}"})
        except _Unavailable as error:
            raise ChannelError(f"{error}, {_TRIES} times") from error

    def _post(self, body: dict[str, str]) -> None:
        import httpx

        try:
            answer = httpx.post(self.url, json=body, timeout=self.timeout_s, verify=trusted())
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError) as error:
            raise ChannelError("not an http(s) URL; see CARSDEPO_ALERT_WEBHOOK") from error
        except httpx.DecodingError:  # it was received: what the answer's body holds is of no interest
            return
        except httpx.TransportError as error:
            raise _Unavailable(f"{type(error).__name__}: {error}".replace(self.url, "its URL")) from error
        if answer.is_success:
            return
        is_final = answer.status_code != 429 and answer.status_code < 500
        raise (ChannelError if is_final else _Unavailable)(f"HTTP {answer.status_code}")


@dataclass(frozen=True)
class Apprise:
    """Sends over a service that apprise supports, named by its URL: mailto://, slack://, pagerduty://, json:// …"""

    url: str = field(repr=False)

    @property
    def name(self) -> str:
        """The URL's scheme and a digest of the URL."""
        scheme = self.url.partition(":")[0]
        return f"{scheme if scheme.isalnum() else 'apprise'}:{hashlib.sha256(self.url.encode()).hexdigest()[:6]}"

    def deliver(self, alert: Alert) -> None:
        """Raises ChannelError where apprise did not take the URL or its service refused the alert."""
        import apprise

        kinds = {
            "info": apprise.NotifyType.INFO,
            "warning": apprise.NotifyType.WARNING,
            "critical": apprise.NotifyType.FAILURE,
        }
        service = apprise.Apprise()
        with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as captured:
            if not service.add(self.url):
                raise ChannelError("apprise supports no such URL; see CARSDEPO_ALERT_URLS")
            taken = service.notify(
                title=alert.title, body=alert.body, notify_type=kinds[alert.severity], body_format="text"
            )
            message = " ".join(captured.getvalue().split()).replace(self.url, "its URL")
        if not taken:
            raise ChannelError(message[:200] or "refused without a reason")


def channels(webhook: str | None, urls: Sequence[str]) -> list[Channel]:
    """The channels in use: always the log, then the webhook and apprise's services that are set up.

    Args:
        webhook: URL of the webhook; None where none is set up.
        urls: apprise URLs.
    """
    channels_in_use: list[Channel] = [Log()]
    if webhook:
        channels_in_use.append(Webhook(webhook))
    return channels_in_use + [Apprise(url) for url in urls]


def _host(url: str) -> str:
    """Host and port of a URL without user and password, which may themselves hold `/`, `?` and `#`; never raises."""
    after_scheme = url.partition("://")[2]  # nothing of what is no URL: it may be a token
    authority = re.split(r"[/?#]", after_scheme)[0]
    if "@" not in authority and ":" in authority and not re.fullmatch(r"[^:]+:\d*|\[.*\](:\d*)?", authority):
        return re.split(r"[/?#]", after_scheme.rpartition("@")[2])[0]  # a password goes on behind the first of those
    return authority.rpartition("@")[2]
