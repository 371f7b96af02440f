"""What an installation in an AWS account must be told: which settings it needs, and the forms of AWS's names.

A further setting that it needs is a further row of NEEDED; one with a form of its own gets a function here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from carsdepo_assets import redaction

ENVIRONMENT = "CARSDEPO_ENVIRONMENT=aws"
NAMESPACE = "Carsdepo"
"""Of the metrics in an AWS account, where none is named."""

# Amazon S3 User Guide, "General purpose bucket naming rules".
_BUCKET = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
# Amazon SNS API reference, "CreateTopic": names have up to 256 letters, digits, hyphens and underscores.
_TOPIC = re.compile(
    r"arn:aws[a-z-]*:sns:(?P<region>[a-z0-9-]+):\d{12}:(?P<name>[\w-]{1,256})(?P<fifo>\.fifo)?", re.ASCII
)
# Amazon CloudWatch API reference, "PutMetricData": up to 255 characters, and AWS/ is AWS's own.
_NAMESPACE = re.compile(r"(?!AWS/)(?!:)[\w.#:/-]{1,255}", re.ASCII)


class Need(NamedTuple):
    """A setting that an installation in an AWS account cannot do without."""

    fits: Callable[[str], bool]
    """Whether a value does."""
    example: str
    """What to set it to."""
    why: str
    """What it is needed for, and what else will not do."""


def is_bucket(name: str) -> bool:
    """Whether S3 allows the name of a bucket."""
    return _BUCKET.fullmatch(name) is not None


def is_lake_on_s3(url: str) -> bool:
    """Whether a lake's URL is s3:// with the name of a bucket."""
    return url.startswith("s3://") and is_bucket(url.removeprefix("s3://").partition("/")[0])


def _is_server(uri: str) -> bool:
    parts = urlsplit(uri)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


# By the settings' field. `compute_file` is read later, by compute/settings_file.py, which names what is wrong in it.
NEEDED: Mapping[str, Need] = {
    "lake": Need(is_lake_on_s3, "s3://BUCKET/lake", "a task's own disk ends with the task"),
    "mlflow_server": Need(
        _is_server, "the http(s):// URL of an MLflow server", "runs in SQLite would end with their task"
    ),
    "compute_file": Need(bool, "a TOML file that says where jobs run", "place and by_asset; docs, AWS, All keys"),
    "pipes_bucket": Need(is_bucket, "the name of an S3 bucket", "jobs and runs share no disk for their messages"),
}


def lacks(field: str, variable: str, value: str | Path | None) -> str | None:
    """What is wrong with a setting in an AWS account, and what to set; None where it will do.

    Args:
        field: of NEEDED.
        variable: that sets it.
        value: as given; None where nothing is set. It may be a secret: only the lake's is in the answer.
    """
    need, text = NEEDED[field], "" if value is None else str(value)
    if text and need.fits(text):
        return None
    shown = text if field == "lake" else "its value"
    present = f"and {shown} will not do" if text else "and it is not set"
    return f"{ENVIRONMENT} needs {variable}, {present}: set it to {need.example} ({need.why})."


def topic_trouble(arn: str) -> str | None:
    """What is wrong with the ARN of a topic for alerts; None where nothing is."""
    match = _TOPIC.fullmatch(arn)
    if match is None:
        return f"{arn!r} is no ARN of an SNS topic, such as arn:aws:sns:eu-west-1:123456789012:carsdepo-alerts"
    if match["fifo"]:
        return f"{arn!r} is a FIFO topic, to which nobody can subscribe by mail: name a standard topic"
    return None


def topic_place(arn: str) -> tuple[str, str]:
    """(region, name) of a topic by its ARN."""
    parts = arn.split(":")
    return parts[3], parts[-1]


def queue_trouble(url: str, lake: str) -> str | None:
    """What is wrong with the URL of a queue, as the end of a sentence that begins with its variable; None: nothing.

    Args:
        url: of the queue; it is not shown, as it may hold a password.
        lake: URL of the lake, which must be in S3.
    """
    if (trouble := _of_no_bucket(lake)) is not None:
        return trouble
    if redaction.has_credentials(url) or not re.fullmatch(r"https?://[^/\s?#]+/[^/\s?#]+/[^/\s?#]+", url):
        return (
            " is not the URL of an SQS queue, such as https://sqs.eu-west-1.amazonaws.com/123456789012/NAME: an ARN or "
            "a name is not enough."
        )
    return None


def inventory_trouble(url: str, lake: str) -> str | None:
    """The same of the folder of an S3 Inventory."""
    if (trouble := _of_no_bucket(lake)) is not None:
        return trouble
    if re.fullmatch(r"s3://[^/]+/.+", url):
        return None
    return f"={url!r} names no folder of inventories: set s3://BUCKET/PREFIX/SOURCE-BUCKET/NAME."


def _of_no_bucket(lake: str) -> str | None:
    if lake.startswith("s3://"):
        return None
    return (
        f" is set, and the lake is {lake or 'not known'}: AWS tells of what is in an account. Set "
        "CARSDEPO_LAKE=s3://BUCKET/PREFIX, or unset it."
    )


def namespace_trouble(name: str) -> str | None:
    """What is wrong with a namespace of CloudWatch's metrics; None where nothing is."""
    if _NAMESPACE.fullmatch(name) is not None:
        return None
    return (
        f"{name!r} is no namespace of CloudWatch, such as Carsdepo/staging: up to 255 letters, digits and ._-/#:, and "
        "not AWS/ at its beginning"
    )
