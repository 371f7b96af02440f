"""Secrets that stand nowhere else, in every place where a user may put one, and the search for them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

KEY = "kq-Zp4Wn8Rb2Tx6"
WEBHOOK_USER, WEBHOOK_PASSWORD = "wu-Hd5Lm1Qc7", "wp%2FYs3Gk9Vf6"  # the password as it is spelled in a URL
WEBHOOK_PATH, WEBHOOK_QUERY = "B0wt4Kj8Nz2Pr", "wq-Ue7Ax3Fo5"
ALERT_PASSWORD, ALERT_PATH = "ap-Ci6Sb2Mw8", "B1at9Xe5Dl3Gh"
MLFLOW_PASSWORD = "mp-Oy2Jr7Tn4"
AWS_SECRET, AWS_TOKEN = "as/Vw8Bq3Kd6Zx1Lp5Hc9Nf2", "at/Rg4Mt7Ya1Ju6Ew3Qs8Ib5"
ENDPOINT_PASSWORD = "ep-Fn9Xk4Ps2"

SPELLED = (
    KEY, WEBHOOK_USER, WEBHOOK_PASSWORD, WEBHOOK_PATH, WEBHOOK_QUERY, ALERT_PASSWORD, ALERT_PATH, MLFLOW_PASSWORD,
    AWS_SECRET, AWS_TOKEN, ENDPOINT_PASSWORD,
)  # fmt: skip


def basic(user: str, password: str) -> str:
    """As the Authorization header has it."""
    return base64.b64encode(f"{user}:{password}".encode()).decode().rstrip("=")


SECRETS = frozenset(
    {*SPELLED, *map(unquote, SPELLED)}
    | {basic(WEBHOOK_USER, unquote(WEBHOOK_PASSWORD)), basic("robot", ALERT_PASSWORD)}
    | {basic("tracker", MLFLOW_PASSWORD)}
)


@dataclass(frozen=True)
class Planted:
    """hook: port of whoever takes the alerts; mlflow: port of the MLflow server."""

    hook: int
    mlflow: int

    @property
    def webhook(self) -> str:
        user = f"{WEBHOOK_USER}:{WEBHOOK_PASSWORD}"
        return f"http://{user}@127.0.0.1:{self.hook}/services/{WEBHOOK_PATH}?token={WEBHOOK_QUERY}"

    @property
    def alert_url(self) -> str:
        return f"json://robot:{ALERT_PASSWORD}@127.0.0.1:{self.hook}/{ALERT_PATH}"

    @property
    def mlflow_uri(self) -> str:
        return f"http://tracker:{MLFLOW_PASSWORD}@127.0.0.1:{self.mlflow}"

    def environment(self) -> dict[str, str]:
        return {
            "CARSDEPO_API_KEY": KEY,
            "CARSDEPO_ALERT_WEBHOOK": self.webhook,
            "CARSDEPO_ALERT_URLS": self.alert_url,
            "CARSDEPO_MLFLOW": self.mlflow_uri,
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
            "AWS_SESSION_TOKEN": AWS_TOKEN,
            "AWS_ENDPOINT_URL": f"http://s3:{ENDPOINT_PASSWORD}@127.0.0.1:{self.mlflow}",
            "AWS_REGION": "eu-west-1",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        }


def seen(text: str | bytes) -> set[str]:
    """The secrets that stand in it."""
    data = text.encode() if isinstance(text, str) else text
    return {secret for secret in SECRETS if secret.encode() in data}


def seen_below(folder: Path) -> dict[str, set[str]]:
    """The secrets in the raw bytes of every file below a folder, and in the files' names."""
    places = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        secrets = seen(path.read_bytes()) | seen(str(path.relative_to(folder)))
        if secrets:
            places[str(path.relative_to(folder))] = secrets
    return places


def given(environment: Mapping[str, str]) -> set[str]:
    """The names of the variables that hold one."""
    return {name for name, value in environment.items() if seen(value)}
