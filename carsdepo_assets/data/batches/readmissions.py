"""Requests of people to have files in quarantine looked at again: `batches/readmitted/<kind>/<time>-<digest>.json`.

A request names files and the batch that refused each. The next plan of batches puts such a file into another batch as
long as no later batch has it, so that a request is honoured once, whenever a process is killed; it is never changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict

from carsdepo_assets.data.objects.manifests import Kind, read_manifest
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.object_index import ObjectIndex
from carsdepo_assets.policy import Policy

READMITTED: Mapping[str, bool] = {"readmitted": True}
"""Among the options of a batch: it holds files that were refused before, and no others."""


class Readmission(BaseModel):
    """A request of a person."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    """When it was made."""
    by: str
    """Who made it."""
    refused: dict[str, str]
    """By key: the id of the batch that refused the file."""


# Requests never change, so a long-lived sensor process reads each once.
_read: dict[tuple[str, str], Readmission] = {}


def ask_again(lake: Lake, kind: Kind, refused: Mapping[str, str], now: datetime, by: str) -> None:
    """Stores a request.

    Args:
        lake: where the files are.
        kind: uploads or labels.
        refused: by key, the id of the batch that refused the file.
        now: the present, with a time zone.
        by: who asks.
    """
    content = Readmission(at=now, by=by, refused=dict(refused)).model_dump_json(indent=1).encode()
    lake.put(f"{_folder(kind)}{now:%Y%m%dT%H%M%S%f}-{hashlib.sha256(content).hexdigest()[:12]}.json", content)


def asked_again(lake: Lake, kind: Kind) -> dict[str, str]:
    """By key of each file that was ever asked for: the id of the batch that had refused it at the newest request."""
    refused: dict[str, str] = {}
    for entry in lake.list(_folder(kind)):
        request = _read.get((lake.url, entry.key))
        if request is None:
            try:
                request = _read[lake.url, entry.key] = Readmission.model_validate_json(lake.get(entry.key))
            except ValueError as error:
                raise LakeError(f"{entry.key}: not a request of files: {error}. Delete it, and ask again.") from error
        refused |= request.refused
    return refused


def readmitted(lake: Lake, kind: Kind, index: ObjectIndex) -> list[str]:
    """Keys of the files that were asked for and that no batch has had since.

    Args:
        lake: where the files are.
        kind: uploads or labels.
        index: says which batch had a file last.
    """
    refused = asked_again(lake, kind)
    states = index.states_of(sorted(refused)) if refused else {}
    return sorted(key for key, state in states.items() if state.batch_id == refused[key])


def check_policy(lake: Lake, batch_id: str, policy: Policy) -> Policy:
    """The policy by which an upload batch is checked: one of files that were refused before may be refused as a whole.

    Args:
        lake: where the batch is.
        batch_id: the batch.
        policy: the policy in force.

    Raises:
        BatchError: the batch is unknown.
    """
    if not READMITTED.items() <= read_manifest(lake, "uploads", batch_id).options.items():
        return policy
    return policy.model_copy(update={"data": policy.data.model_copy(update={"max_quarantined_share": 1.0})})


def _folder(kind: Kind) -> str:
    return f"batches/readmitted/{kind}/"
