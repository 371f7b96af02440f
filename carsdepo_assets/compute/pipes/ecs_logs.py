"""The last lines of a task's output, from CloudWatch Logs, for the message of a failure.

They are read once, when a task has failed: reading logs while a task runs uses up the quota of GetLogEvents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_METRICS = '{"_aws":'  # a line in CloudWatch's embedded metric format, which says nothing to people


def last_lines(client: Any, container: Mapping[str, Any], task_arn: str, lines: int = 40) -> str:
    """The last lines that a container wrote; empty where it writes to no log group or this role may not read it.

    Args:
        client: a boto3 client of CloudWatch Logs.
        container: its definition. A stream is named prefix/container/task (page "Using the awslogs log driver").
        task_arn: of the task.
        lines: at most.
    """
    settings = container.get("logConfiguration") or {}
    options = settings.get("options") or {}
    group, prefix = options.get("awslogs-group"), options.get("awslogs-stream-prefix")
    if settings.get("logDriver") != "awslogs" or not group or not prefix:
        return ""
    stream = f"{prefix}/{container['name']}/{task_arn.rpartition('/')[2]}"
    try:
        answer = client.get_log_events(logGroupName=group, logStreamName=stream, limit=lines, startFromHead=False)
    except Exception as error:
        return f"(log group {group}, stream {stream}: {error})"
    messages = (event["message"] for event in answer.get("events", []))
    return "\n".join(text for text in messages if not text.startswith(_METRICS))
