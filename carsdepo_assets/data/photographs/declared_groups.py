"""The groups that label files of an import give its photographs: kept beside the lake's photographs as metadata.

A manifest.csv, a sidecar or a dataset tool's own file may say which photographs show one car. The first two lie in
raw/uploads; what label files say is found at the import and kept in `batches/declared_groups/<import>.json`.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Protocol

DECLARED_GROUPS = "batches/declared_groups"
_UPLOADS = "raw/uploads/"


class _Files(Protocol):
    def exists(self, key: str) -> bool: ...

    def get(self, key: str) -> bytes: ...


def declared_groups_key(name: str) -> str:
    """Where the groups are stored that the label files of an import say."""
    return f"{DECLARED_GROUPS}/{name}.json"


def declared_groups_of(key: str) -> str | None:
    """The same for a photograph by its key; None where it lies in no folder below raw/uploads."""
    name, below, _ = key.removeprefix(_UPLOADS).partition("/")
    return declared_groups_key(name) if below and key.startswith(_UPLOADS) else None


def folder_of_groups(key: str) -> str | None:
    """The folder of photographs that such a file is about; None for other files."""
    path = PurePosixPath(key)
    return f"{_UPLOADS}{path.stem}/" if str(path.parent) == DECLARED_GROUPS else None


def read_declared_groups(files: _Files, name: str) -> dict[str, str]:
    """The group by the photograph's path below raw/uploads/NAME; empty where nothing was said."""
    key = declared_groups_key(name)
    if not name or not files.exists(key):
        return {}
    groups: dict[str, str] = json.loads(files.get(key))
    return groups
