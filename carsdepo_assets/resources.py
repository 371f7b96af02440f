"""The lake and the policy as Dagster resources: what assets ask for by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from carsdepo_assets.policy import Policy, load_policy

if TYPE_CHECKING:
    from carsdepo_assets.lake.lake import Lake


class LakeResource(dg.ConfigurableResource):
    """url: a folder or s3://bucket/prefix. home: local folder for caches and training work."""

    url: str
    home: str

    def open(self) -> Lake:
        from carsdepo_assets.lake.lake import Lake

        return Lake.open(self.url)

    def work(self, *parts: str) -> Path:
        """A folder below home for work that may be lost, such as caches and training checkpoints."""
        folder = Path(self.home, "work", *parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class PolicyResource(dg.ConfigurableResource):
    """file: carsdepo.toml; the built-in policy holds where it is absent. Read at use: an edit counts at once."""

    file: str

    def read(self) -> Policy:
        return load_policy(Path(self.file))
