"""What was asked of SageMaker for an endpoint: noted in the lake before it is asked, so that a look may be cut off."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from carsdepo_assets.lake.lake import Lake


class AskedOfSageMaker(BaseModel):
    """What was asked last for an endpoint; stored at endpoints/<endpoint>.json in the lake."""

    model_config = ConfigDict(frozen=True)

    sequence: int
    """The ledger's event that is carried out."""
    config: str
    """The configuration that was asked for."""
    asked_at: datetime
    changed_before: datetime | None
    """LastModifiedTime of the endpoint before it was asked; None: there was no endpoint."""
    served_at: datetime | None = None
    """When the endpoint was first seen to serve it."""
    idle_removed_at: datetime | None = None
    """When the endpoint was removed because nobody asked it anything."""
    versions: tuple[str, ...] = ()
    """Names of the versions that the endpoint has, where it has several."""


def read_asked(lake: Lake, endpoint: str) -> AskedOfSageMaker | None:
    """What was asked last for an endpoint; None: nothing, or the note is damaged and says nothing."""
    key = _key(endpoint)
    try:
        return AskedOfSageMaker.model_validate_json(lake.get(key)) if lake.exists(key) else None
    except ValidationError:
        return None


def keep_asked(lake: Lake, endpoint: str, asked: AskedOfSageMaker) -> None:
    """Notes what is asked for an endpoint, in place of what was asked before."""
    lake.put(_key(endpoint), asked.model_dump_json(indent=1).encode())


def _key(endpoint: str) -> str:
    return f"endpoints/{endpoint}.json"
