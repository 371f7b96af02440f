"""What fits into a request for a SageMaker job: names, environment variables, hyper-parameters and tags.

The limits are those of Amazon SageMaker's API reference, pages CreateTrainingJob and CreateProcessingJob.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

LONGEST_NAME = 63
TRAINING_VALUE = 512  # characters of an environment variable of a training job
PROCESSING_VALUE = 256  # the same of a processing job
MOST_VARIABLES = 100
MOST_HYPERPARAMETERS = 100
# The page's text limits values to 256 characters and its constraint to 2500: 256 satisfies both.
PART = 256
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_SUFFIX = 3  # characters for "-2" to "-99"


def job_name(text: str) -> str:
    """A name that SageMaker accepts, the same for the same text, with room for an attempt's number.

    Other characters than letters, digits and hyphens become hyphens; a longer text is cut, and a digest of all of it
    takes the place of its end.
    """
    name = re.sub(r"-+", "-", re.sub(r"[^a-zA-Z0-9-]", "-", text)).strip("-")
    longest = LONGEST_NAME - _SUFFIX
    if not name or len(name) > longest:
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        name = f"{name[: longest - len(digest) - 1].rstrip('-')}-{digest}".strip("-")
    assert _NAME.fullmatch(name)
    return name


def attempt_name(name: str, attempt: int) -> str:
    """The name of an attempt, which counts from 1: `name`, `name-2`, `name-3`."""
    return name if attempt == 1 else f"{name}-{attempt}"


def fit_environment(variables: Mapping[str, str], limit: int) -> tuple[dict[str, str], dict[str, str]]:
    """Separates variables that fit into a request's Environment from those that are too long.

    Returns:
        The variables that fit, and hyper-parameters `NAME.0`, `NAME.1` ... with the parts of the others, which the
        container's entrypoint joins.

    Raises:
        ValueError: a value that is too long holds a line break, which no hyper-parameter may.
    """
    fitting = {name: value for name, value in variables.items() if len(value) <= limit}
    parts: dict[str, str] = {}
    for name, value in variables.items():
        if name in fitting:
            continue
        if "\n" in value or "\r" in value:
            raise ValueError(
                f"The variable {name} has {len(value)} characters; SageMaker takes {limit} in an environment variable, "
                "and longer ones go as hyper-parameters, which must not hold line breaks. Put it into a file on S3 and "
                "give its URL."
            )
        parts |= {f"{name}.{i}": value[at : at + PART] for i, at in enumerate(range(0, len(value), PART))}
    return fitting, parts


def check_counts(variables: Mapping[str, str], hyperparameters: Mapping[str, str]) -> None:
    """Raises ValueError where a request has more variables or hyper-parameters than SageMaker takes."""
    if len(variables) > MOST_VARIABLES:
        raise ValueError(f"The job has {len(variables)} environment variables; SageMaker takes {MOST_VARIABLES}.")
    if len(hyperparameters) > MOST_HYPERPARAMETERS:
        split = sorted({n.rpartition(".")[0] for n in hyperparameters if n.rpartition(".")[2].isdecimal()})
        raise ValueError(
            f"The job has {len(hyperparameters)} hyper-parameters; SageMaker takes {MOST_HYPERPARAMETERS}. Split over "
            f"several, since they are too long for the environment: {', '.join(split) or 'none'}. Put the longest "
            "into a file on S3 and give its URL."
        )


def merge_tags(tags: list[dict[str, str]], more: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags of a request with those of Dagster, whose values lose characters that AWS refuses in tags."""
    merged = {tag["Key"]: tag["Value"] for tag in tags}
    for key, value in more.items():
        merged.setdefault(key[:128], re.sub(r"[^\w .:/=+@-]", "-", str(value))[:256])
    return [{"Key": key, "Value": value} for key, value in merged.items()]


class Price(NamedTuple):
    """What an hour of one instance costs."""

    per_hour: float | None
    """On demand; None: unknown."""
    currency: str = "USD"

    def of(self, seconds: float | None, instances: int) -> dict[str, float]:
        """What a job cost, as metadata: its billable seconds times its instances times the price; empty: unknown.

        SageMaker's billable seconds of a spot job already hold the saving (API reference, DescribeTrainingJob).
        """
        if seconds is None or self.per_hour is None:
            return {}
        return {f"money_{self.currency}": round(seconds * instances * self.per_hour / 3600, 4)}


def present(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata without what is not known."""
    return {key: value for key, value in metadata.items() if value is not None}
