"""What is wrong in the settings of a place on AWS, as far as it can be seen before a job asks for anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import dagster as dg

from carsdepo_assets.compute.target import OTHER_VERBS, Verb
from carsdepo_assets.redaction import secret_names

VERBS: tuple[str, ...] = get_args(Verb)
MOST_RUNTIME_S = 28 * 24 * 3600
"""Seconds of the longest training job (Amazon SageMaker API reference, StoppingCondition)."""
# Amazon S3 User Guide, "Bucket naming rules" and "Naming Amazon S3 objects", safe characters.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[\w!.*'()-]+(/[\w!.*'()-]+)*", re.ASCII)


def refuse(mistakes: Sequence[str]) -> None:
    """Lets no job start with settings that have mistakes.

    Raises:
        dagster.Failure: there are some; the message names all of them.
    """
    if mistakes:
        raise dg.Failure(f"The job was not started. The compute target's {' '.join(mistakes)}", allow_retries=False)


def place_on_s3(bucket: str, prefix: str) -> Iterator[str]:
    """Mistakes of `bucket` and `prefix`, which make the URL that the worker reads."""
    if not _BUCKET.fullmatch(bucket):
        yield f"bucket: {bucket!r} is no name of an S3 bucket, such as carsdepo-jobs."
    if not _PREFIX.fullmatch(prefix):
        yield (
            f"prefix: {prefix!r} must be names of letters, digits and !_.*'()- with single slashes between them, such "
            "as team/carsdepo-jobs."
        )


def by_verbs(setting: Mapping[str, Any], name: str, others: bool = False) -> Iterator[str]:
    """Mistakes of a setting by verb: keys that are no verb, and numbers below 0 or beyond any machine.

    Args:
        setting: the value of each verb.
        name: the setting's.
        others: whether it may have `others`.
    """
    verbs = (*VERBS, OTHER_VERBS) if others else VERBS
    for verb, value in setting.items():
        if verb not in verbs:
            yield f"{name}.{verb}: no such verb; there are {', '.join(verbs)}."
        if isinstance(value, int | float) and not 0 <= value < 1e6:
            yield f"{name}.{verb}: {value} is no number that a machine has."


def no_secrets(variables: Mapping[str, str], what: str, instead: str) -> Iterator[str]:
    """The names of variables that hold a secret.

    Args:
        variables: of the worker.
        what: shows them, in words, such as "the job".
        instead: what to do with the secret.
    """
    if secret := secret_names(variables):
        yield (
            f"variables: {', '.join(secret)}: a secret must not be a variable here, since AWS shows it to everybody "
            f"who may describe {what}. {instead}"
        )


def network(subnets: list[str], security_groups: list[str]) -> Iterator[str]:
    """Mistakes of the network of SageMaker's jobs."""
    if bool(subnets) != bool(security_groups):
        yield "subnets: jobs in a VPC need both subnets and security_groups: set both or neither."
