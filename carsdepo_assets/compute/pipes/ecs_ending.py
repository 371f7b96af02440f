"""How a task of ECS ended, as DescribeTasks shows it, and why RunTask started none.

The stop codes are those of the type Task of the Amazon ECS API Reference. The failure reasons come from the page
"Amazon ECS API failure reasons" of the ECS Developer Guide, "Capacity is unavailable" from the page "How do I
troubleshoot an Amazon ECS RunTask API for a Fargate task that fails with a 'Capacity is unavailable' error?" of AWS
re:Post.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Kind = Literal["ended well", "interrupted", "no capacity", "failed"]

_TAKEN_BACK = {"SpotInterruption", "TerminationNotice", "InfrastructureHealth"}
_NO_CAPACITY = (
    "RESOURCE:", "Capacity is unavailable", "EMPTY CAPACITY PROVIDER", "NO ACTIVE INSTANCES", "insufficient capacity",
    "InsufficientInstanceCapacity",
)  # fmt: skip
_LASTING = ("ATTRIBUTE", "LOCATION", "MISSING", "INACTIVE")  # asking again does not help
_HINTS = (
    ("CannotPullContainer", "Check that the image and its tag are in ECR in this region, that the execution role may"
     " pull it, and that the subnet reaches ECR"),
    ("ResourceInitializationError", "Check that the execution role may read the secrets and the environment files, and"
     " that the subnet reaches them"),
    ("secret", "Check that the execution role may read the secret"),
)  # fmt: skip


@dataclass(frozen=True)
class Ending:
    """How a task ended."""

    kind: Kind
    text: str
    """What AWS says; empty where the task ended well."""


def lacks_capacity(reason: str) -> bool:
    """Whether a reason says that there is no machine at present."""
    return any(words.lower() in reason.lower() for words in _NO_CAPACITY)


def lasts(reason: str) -> bool:
    """Whether a reason of RunTask stays until somebody changes something."""
    return reason.upper().startswith(_LASTING)


def ending(task: Mapping[str, Any], container: str | None) -> Ending:
    """How a stopped task ended.

    Args:
        task: as DescribeTasks returns it, with lastStatus STOPPED.
        container: the one whose exit code counts; None: the task's only one.
    """
    stop_code, stopped_reason = task.get("stopCode") or "", task.get("stoppedReason") or "no reason was given"
    one = the_container(task, container)
    exit_code, reason = one.get("exitCode"), one.get("reason") or ""
    if exit_code == 0 and stop_code != "TaskFailedToStart":
        return Ending("ended well", "")
    if stop_code in _TAKEN_BACK or stopped_reason.startswith("Host EC2"):
        return Ending("interrupted", f"AWS took the machine back ({stop_code}: {stopped_reason})")
    if stop_code == "TaskFailedToStart":
        if lacks_capacity(stopped_reason):
            return Ending("no capacity", stopped_reason)
        text = _joined(stopped_reason, reason)
        hints = [hint for words, hint in _HINTS if words.lower() in text.lower()]
        return Ending("failed", ". ".join([f"it did not start: {text.rstrip('.')}", *hints[:1]]))
    if "OutOfMemory" in reason or "OutOfMemory" in stopped_reason:
        return Ending(
            "failed",
            f"it ran out of memory (exit code {exit_code}: {reason or stopped_reason}): give the task more memory, or "
            "train with smaller batches or fewer loader processes",
        )
    if exit_code is None:
        why = f"{stop_code}: {_joined(stopped_reason, reason)}"
        return Ending("failed", f"its container {one.get('name', container)} has no exit code ({why})")
    words = {
        137: "it was killed by SIGKILL (exit code 137): it ran out of memory, or did not end in time after SIGTERM",
        143: "it was ended by SIGTERM (exit code 143)",
    }.get(exit_code, f"exit code {exit_code}")
    if stop_code == "UserInitiated":
        return Ending("failed", f"somebody stopped it ({stopped_reason.rstrip('.')}): {words}")
    return Ending("failed", words + (f" ({reason})" if reason else ""))


def the_container(task: Mapping[str, Any], container: str | None) -> Mapping[str, Any]:
    """The container whose exit code counts; empty where the task has none of this name."""
    containers = task.get("containers") or []
    named = [c for c in containers if container is None or c.get("name") == container]
    return named[0] if len(named) == 1 else {}


def ran_s(task: Mapping[str, Any], now: datetime | None) -> float:
    """Seconds for which a task has run, by AWS's clock.

    Args:
        task: as DescribeTasks returns it.
        now: AWS's time; None: the task has stopped.
    """
    start = task.get("startedAt")
    end = task.get("stoppedAt") or now
    return max(0.0, (end - start).total_seconds()) if start is not None and end is not None else 0.0


def paid_s(task: Mapping[str, Any]) -> float:
    """Seconds of a stopped task that Fargate charges for.

    From the start of the download of the image to the end, at least one minute (page "AWS Fargate Pricing"). On EC2 the
    instance is paid, idle or not, so that this is the task's share of it.
    """
    start = task.get("pullStartedAt") or task.get("startedAt")
    end = task.get("stoppedAt")
    return max(60.0, (end - start).total_seconds()) if start is not None and end is not None else 0.0


def _joined(*reasons: str) -> str:
    return ": ".join(dict.fromkeys(r for r in reasons if r))
