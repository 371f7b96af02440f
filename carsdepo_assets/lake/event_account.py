"""Counts what came of the messages of a queue, and says it in a sentence."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Protocol


class KeptPlaces(Protocol):
    """What keeps texts by name; lake.object_index.ObjectIndex does."""

    def place(self, name: str) -> str | None:
        """The text that was kept; None without one."""

    def keep_place(self, name: str, value: str) -> None:
        """Keeps a text."""


@dataclass
class EventAccount:
    """Counts since the first message of a queue, as one machine has seen it. A message counts each time it comes."""

    since: str = ""
    """When the first message came, UTC."""
    messages: int = 0
    """Received."""
    objects: int = 0
    """Delivered as new or changed."""
    repeated: int = 0
    """Looked at and known already: doubled, late, or found by a listing before."""
    gone: int = 0
    """Known keys that had no object any more."""
    tests: int = 0
    """S3's own, of when notifications are configured."""
    elsewhere: int = 0
    """Objects of another bucket or prefix."""
    unwanted: int = 0
    """Hidden files, unfinished ones, and folders of a console."""
    malformed: int = 0
    """Messages that name no object, or not with every record: they stay, and go to the dead-letter queue."""
    unanswered: int = 0
    """Objects of which S3 told nothing: their messages stay and come again."""
    problem: str = ""
    """The last reason of the last two."""

    def sentence(self) -> str:
        """What a person should know; empty where every message was of use."""
        told = [
            f"{self.malformed} came that name no object (they stay for the dead-letter queue)" * bool(self.malformed),
            f"{self.elsewhere} objects were of another bucket or prefix" * bool(self.elsewhere),
            f"{self.unanswered} objects could not be looked at (their messages come again)" * bool(self.unanswered),
        ]
        if not any(told):
            return ""
        last = f" The last reason: {self.problem.rstrip('.')}." if self.problem else ""
        return f"Of {self.messages} messages since {self.since[:16]}Z: {'; '.join(filter(None, told))}.{last}"


def read_account(places: KeptPlaces, prefix: str) -> EventAccount:
    """What was counted of the events of a prefix; zeros where nothing was, or the place is damaged."""
    try:
        content = json.loads(places.place(_place(prefix)) or "{}")
        return EventAccount(**{f.name: content[f.name] for f in fields(EventAccount) if f.name in content})
    except (ValueError, TypeError):
        return EventAccount()


def keep_account(places: KeptPlaces, prefix: str, account: EventAccount) -> None:
    """Keeps what was counted."""
    account.since = account.since or datetime.now(UTC).isoformat()
    places.keep_place(_place(prefix), json.dumps(asdict(account)))


def _place(prefix: str) -> str:
    return f"events:{prefix}"
