"""The names of models on an endpoint that serves several of them: what release code uploads, a caller names and the
container compares.

A name is the key of an archive below the endpoint's prefix, which SageMaker calls TargetModel. It says which model is
in it, so that an archive is never overwritten by another one; what the container loaded is compared with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HEADER = "X-Amzn-SageMaker-Target-Model"
"""The header by which SageMaker tells a container which model was asked for."""
_NAME = re.compile(r"(?:v([0-9]{1,9})-)?([0-9a-f]{16})-([0-9a-f]{16})\.tar\.gz")


@dataclass(frozen=True)
class TargetModel:
    """One model of an endpoint."""

    digest: str
    """16 hex digits of its weights."""
    identity: str
    """16 hex digits over its manifest and the key that signed it."""
    version: int | None
    """Its number in the registry."""

    @property
    def name(self) -> str:
        """What TargetModel is."""
        version = "" if self.version is None else f"v{self.version}-"
        return f"{version}{self.digest}-{self.identity}.tar.gz"

    @classmethod
    def parse(cls, name: str) -> TargetModel | None:
        """What a name says; None for one that no release gives."""
        match = _NAME.fullmatch(name.lstrip("/"))
        if match is None:
            return None
        return cls(match[2], match[3], None if match[1] is None else int(match[1]))
