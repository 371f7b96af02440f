"""A template of one queue in place of those of deploy/aws, and the answers to `deploy`'s questions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.aws import changes

TABLE = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "carsdepo-trial-uploads"}}


def text(**resources: Any) -> str:
    return json.dumps({"Parameters": {"Env": {"Type": "String"}}, "Resources": resources})


@pytest.fixture
def one_template(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Every stack has this template; the test may change it."""
    content = {"text": text(Uploads=TABLE)}
    monkeypatch.setattr(changes, "text_of", lambda stack: content["text"])
    return content


def yes(question: str) -> bool:
    return True


def no(question: str) -> bool:
    return False
