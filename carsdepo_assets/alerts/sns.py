"""The channel of alerts to an SNS topic, from which they go to mail, queues, functions and paging services."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from typing import Any

from carsdepo_assets.alerts.channels import Alert, ChannelError
from carsdepo_assets.lake.aws_access import AwsNotReady, require_access
from carsdepo_assets.settings_aws import topic_place

# Amazon SNS API reference, "Publish": a subject has less than 100 characters; what is published has 256 KiB at most,
# attributes included; an SMS has 140 bytes.
SUBJECT = 99
MOST_BYTES = 256 * 1024 - 1024  # a KiB for subject and attributes
SMS = 140
_TIMEOUT_S = 5.0
_TRIES = 3
_CUT = " … (cut: SNS takes no more)"


@dataclass(frozen=True)
class Sns:
    """Publishes an alert to a topic: as JSON for programs, as text for mail, its title for SMS.

    The attributes `severity` and `kind` are for subscriptions' filter policies. The request is tried three times where
    AWS does not answer, is too busy, or has a fault of its own; any other refusal is final.
    """

    topic: str
    """The topic's ARN, which names its region."""

    @property
    def name(self) -> str:
        """`sns:` and the topic's name."""
        return f"sns:{topic_place(self.topic)[1]}"

    def deliver(self, alert: Alert) -> None:
        """Raises ChannelError where the topic did not take the alert."""
        import boto3
        from botocore.config import Config  # type: ignore[import-untyped]
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

        tries = Config(
            connect_timeout=_TIMEOUT_S,
            read_timeout=_TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": _TRIES},
        )
        try:
            require_access(region=False)
            boto3.client("sns", region_name=topic_place(self.topic)[0], config=tries).publish(
                TopicArn=self.topic, **request(alert)
            )
        except ClientError as error:
            raise ChannelError(f"SNS refused it: {error.response.get('Error', {}).get('Code', 'no code')}") from error
        except AwsNotReady as error:
            raise ChannelError(str(error)) from None
        except BotoCoreError as error:
            raise ChannelError(f"SNS did not take it: {error}") from error


def request(alert: Alert) -> dict[str, Any]:
    """What is published of an alert, as boto3 takes it, within SNS's limits; only a body is ever cut."""
    text = _message(alert, alert.body)
    if len(text.encode()) > MOST_BYTES:
        low, high = 0, len(alert.body)  # the longest body that fits
        while low < high:
            middle = (low + high + 1) // 2
            fits = len(_message(alert, alert.body[:middle] + _CUT).encode()) <= MOST_BYTES
            low, high = (middle, high) if fits else (low, middle - 1)
        text = _message(alert, alert.body[:low] + _CUT)
    return {
        "Subject": subject(alert),
        "Message": text,
        "MessageStructure": "json",
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value}
            for name, value in (("severity", alert.severity), ("kind", alert.kind))
        },
    }


def subject(alert: Alert) -> str:
    """Severity and title as a line of ASCII that SNS takes; letters lose their accents, other signs become a ?."""
    words = " ".join(f"[{alert.severity}] {alert.title}".split())
    plain = "".join(c for c in unicodedata.normalize("NFKD", words) if not unicodedata.combining(c))
    line = "".join(c if " " <= c <= "~" else "?" for c in plain)
    return line if len(line) <= SUBJECT else f"{line[: SUBJECT - 3]}..."


def _message(alert: Alert, body: str) -> str:
    """A text for each kind of subscriber; `default` is for queues, functions and HTTP."""
    title = alert.title[:1000]
    fields = {**alert.fields(), "title": title, "body": body}
    sms = f"[{alert.severity}] {title}".encode()[:SMS].decode(errors="ignore")
    by_protocol = {"default": json.dumps(fields, ensure_ascii=False), "email": f"{title}\n\n{body}", "sms": sms}
    text = json.dumps(by_protocol, ensure_ascii=False)
    return text.encode(errors="replace").decode()  # names of files may hold bytes that are no text
