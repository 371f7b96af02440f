"""Sends one photograph through the front of an environment, and prints the answer and where its model comes from."""

from __future__ import annotations

import json
import tempfile
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

from deploy.aws.account import Account, DeployError
from deploy.aws.changes import outputs_of

_PATIENCE_S = 60


def run(account: Account, photograph: Path | None = None) -> dict[str, Any]:
    """Sends a photograph and prints the answer and its model's lineage.

    Args:
        account: with the environment.
        photograph: to send; None: one that is rendered for it.

    Returns:
        The answer.

    Raises:
        DeployError: The front is not there, refuses the photograph, or names a model that is not in the lake.
    """
    url = outputs_of(account, "front").get("Url")
    if not url:
        raise DeployError(f"There is no front: make deploy ENV={account.env} SIZE=small.")
    name, data = ("sample.png", rendered()) if photograph is None else (photograph.name, photograph.read_bytes())
    answer = inspect(url, api_key(account), name, data)
    print(f"{url}/v1/inspections inspected {name}:")
    print(json.dumps(answer, indent=2))
    digest = answer["model"]["digest"]
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
    content_type, body = form(name, data)
    request = urllib.request.Request(
        f"{url}/v1/inspections", body, {"Content-Type": content_type, "X-API-Key": key}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:
            content: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read().decode("utf-8", "replace")[:500]
        raise DeployError(f"The front answers with status {error.code}: {text}") from error
    except OSError as error:
        raise DeployError(f"The front does not answer: {error}.") from error
    return content


def form(name: str, data: bytes) -> tuple[str, bytes]:
    """A form with one photograph: its content type and its body."""
    boundary = uuid.uuid4().hex
    quoted = name.replace("\\", "\\\\").replace('"', "%22")
    parts = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="source"\r\n\r\nvalidation\r\n'.encode(),
        f'--{boundary}\r\nContent-Disposition: form-data; name="photographs"; filename="{quoted}"\r\n'.encode(),
        b"Content-Type: application/octet-stream\r\n\r\n",
        data,
        f"\r\n--{boundary}--\r\n".encode(),
    )
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)


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


def rendered() -> bytes:
    """A photograph of the sample's renderer."""
    from carsdepo_assets.demo.train_loop import render_sample

    with tempfile.TemporaryDirectory() as folder:
        render_sample(Path(folder), 1)
        return next(p for p in sorted(Path(folder).rglob("*")) if p.suffix in (".jpg", ".png")).read_bytes()
