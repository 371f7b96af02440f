"""Sends one photograph through the front of an environment, and prints the answer and where its model comes from."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import httpx

from carsdepo_assets.certificates import trusted
from deploy.aws.account import Account, DeployError
from deploy.aws.changes import outputs_of
from deploy.aws.front_handler import MOST_BYTES

_PATIENCE_S = 60


def run(account: Account, name: str, data: bytes) -> dict[str, Any]:
    """Sends a photograph and prints the answer and its model's lineage.

    Args:
        account: with the environment.
        name: of the photograph's file.
        data: its bytes.

    Returns:
        The answer.

    Raises:
        DeployError: The front is not there, refuses the photograph, or names a model that is not in the lake.
    """
    url = outputs_of(account, "front").get("Url")
    if not url:
        raise DeployError(f"There is no front: make deploy ENV={account.env} SIZE=small.")
    answer = inspect(url, api_key(account), name, data)
    print(f"{url}/v1/inspections inspected {name}:")
    print(json.dumps(answer, indent=2))
    try:
        digest = str(answer["model"]["digest"])
    except (LookupError, TypeError) as error:
        raise DeployError("The answer names no model: something else than the inspection service gave it.") from error
    print(f"Lineage of the model {digest}:")
    print(json.dumps(lineage(account, digest), indent=2))
    return answer


def api_key(account: Account) -> str:
    """The key of the front; it is shown nowhere."""
    secrets = account.client("secretsmanager")
    return str(secrets.get_secret_value(SecretId=f"carsdepo/{account.env}/api-key")["SecretString"])


def inspect(url: str, key: str, name: str, data: bytes) -> dict[str, Any]:
    """The front's answer to one photograph.

    Raises:
        DeployError: It gives none; the message has its reason.
    """
    try:
        with httpx.Client(timeout=_PATIENCE_S, verify=trusted()) as client:
            answer = client.send(question(url, key, name, data))
    except httpx.HTTPError as error:
        raise DeployError(f"The front does not answer: {type(error).__name__} {error}.") from error
    if answer.status_code != 200:
        raise DeployError(f"The front answers with status {answer.status_code}: {answer.text[:500]}")
    try:
        content: dict[str, Any] = answer.json()
    except ValueError as error:
        raise DeployError(f"The front's answer is not JSON: {answer.text[:500]!r}") from error
    return content


def question(url: str, key: str, name: str, data: bytes) -> httpx.Request:
    """A request for the inspection of one photograph."""
    return httpx.Request(
        "POST",
        f"{url}/v1/inspections",
        headers={"X-API-Key": key},
        data={"source": "validation"},
        files={"photographs": (name, data)},
    )


def lineage(account: Account, digest: str) -> Any:
    """Where a model comes from, as its file in the lake says.

    Raises:
        DeployError: The lake has no such model.
    """
    from botocore.exceptions import ClientError

    key = f"lake/models/{digest}/lineage.json"
    try:
        return json.load(account.client("s3").get_object(Bucket=account.lake, Key=key)["Body"])
    except ClientError as error:
        raise DeployError(
            f"s3://{account.lake}/{key} cannot be read ({error.response['Error']['Code']}): the endpoint serves a "
            "model whose lineage is not in this environment's lake."
        ) from error


def photograph_to_send(photograph: Path | None) -> tuple[str, bytes]:
    """A photograph's name and bytes; what surrounds them in the form takes less than a kilobyte.

    Args:
        photograph: the file; None: one is rendered.

    Raises:
        DeployError: It cannot be read, or the front would refuse it.
    """
    if photograph is None:
        return "sample.png", rendered()
    try:
        data = photograph.read_bytes()
    except OSError as error:
        raise DeployError(f"The photograph {photograph} cannot be read: {error.strerror}.") from error
    if len(data) > MOST_BYTES - 1000:
        raise DeployError(f"{photograph} has {len(data)} bytes, and the front takes {MOST_BYTES} with the form.")
    return photograph.name, data


def rendered() -> bytes:
    """A photograph of the sample's renderer."""
    from carsdepo_assets.demo.train_loop import render_sample

    with tempfile.TemporaryDirectory() as folder:
        render_sample(Path(folder), 1)
        return next(p for p in sorted(Path(folder).rglob("*")) if p.suffix in (".jpg", ".png")).read_bytes()
