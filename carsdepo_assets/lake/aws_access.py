"""Whether this process may ask AWS at all: its credentials and its region, by AWS's own chains.

Without them the S3 clients below the lake ask the machine's role again and again, and end with a chain of errors that
names none of it. boto3 is asked only where no variable settles it; the service's image does without boto3.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from carsdepo_assets.lake.objects import LakeError

_REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")
# Each of these settles where credentials come from; whether they are good is for AWS to say.
_SOURCES = (
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI",),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
    ("AWS_SKIP_SIGNATURE",),
)
# How boto3 names the sources that the lake's two clients have as well. A profile's keys they do not all read.
_SHARED_SOURCES = frozenset({"env", "container-role", "iam-role", "assume-role-with-web-identity"})
_PROFILE = 'eval "$(aws configure export-credentials --format env)"'

_settled: set[bool] = set()  # by "with a region": what was there stays there


class AwsNotReady(LakeError):
    """This process has no credentials, or knows no region; the message says which and what to do."""


def require_access(env: Mapping[str, str] | None = None, *, region: bool) -> None:
    """Looks, before the first use, at what every call of AWS needs.

    Args:
        env: the variables; None: those of this process.
        region: whether a region is needed, too. A lake on another S3 than AWS's has none.

    Raises:
        AwsNotReady: something is missing; one sentence for each thing.
    """
    if env is None and region in _settled:
        return
    variables = os.environ if env is None else env
    problems = [] if _is_settled(variables) else _of_credentials(_session(variables))
    if region and region_name(variables) is None:
        problems.append(
            "This process knows no AWS region: set AWS_DEFAULT_REGION, or `region` of the profile in ~/.aws/config."
        )
    if problems:
        raise AwsNotReady(" ".join(problems))
    if env is None:
        _settled.update({region, False})


def region_name(env: Mapping[str, str] | None = None) -> str | None:
    """The region by AWS's chain: the variables, of which boto3 itself reads one only, then the profile's."""
    variables = os.environ if env is None else env
    named = next((variables[name] for name in _REGION if variables.get(name)), None)
    if named is not None:
        return named
    session = _session(variables)
    if session is None:
        return None
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

    try:
        of_profile = session.get_config_variable("region")
    except BotoCoreError:  # no such profile, which the credentials' trouble says
        return None
    return None if of_profile is None else str(of_profile)


def _is_settled(variables: Mapping[str, str]) -> bool:
    return any(all(variables.get(name) for name in source) for source in _SOURCES)


def _session(variables: Mapping[str, str]) -> Any | None:
    """botocore's session with its own chains; None where the package is not installed."""
    try:
        import botocore.session  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        return None
    return botocore.session.Session(profile=variables.get("AWS_PROFILE"))


def _of_credentials(session: Any | None) -> list[str]:
    if session is None:
        return []
    from botocore.exceptions import BotoCoreError

    try:
        credentials = session.get_credentials()
    except BotoCoreError as error:
        return [f"The AWS credentials cannot be read: {str(error).rstrip('.')}."]
    if credentials is None:
        return [
            "This process has no AWS credentials: give its task or machine a role, or set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY."
        ]
    if credentials.method not in _SHARED_SOURCES:
        return [
            f"The AWS credentials are in a profile (by {credentials.method}), which the lake does not read: hand them "
            f"on as variables, with {_PROFILE}."
        ]
    return []
