"""What a service learns from its variables where a model lies in its container, as SageMaker starts it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

FOLDER, VERSION = "CARSDEPO_MODEL_FOLDER", "CARSDEPO_MODEL_VERSION"
KEY, POLICY = "CARSDEPO_VERIFICATION_PEM", "CARSDEPO_POLICY_TOML"
VALUE_CHARACTERS = 1024  # of a variable of a container (API reference, ContainerDefinition.Environment)


class ContainedModel(BaseModel):
    """A model in a folder of the container, and what a service needs besides it in place of a lake and files."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    """The folder with the model's files, manifest and signature."""
    version: int | None = None
    """The model's number in the registry."""
    verification_key: str = ""
    """The public key (PEM) that must have signed it; empty: none is at hand."""
    policy: str = ""
    """The policy's TOML."""

    @classmethod
    def read(cls, env: Mapping[str, str]) -> Self | None:
        """Reads the variables; None where none names a folder.

        Raises:
            ValueError: The version is no number.
        """
        if not env.get(FOLDER):
            return None
        version = env.get(VERSION) or None
        if version is not None and not re.fullmatch(r"[0-9]{1,9}", version):
            raise ValueError(f"{VERSION}={version!r} is no number of a version.")
        pieces = [env[name] for n in range(100) if (name := f"{POLICY}_{n}") in env]
        return cls(
            folder=Path(env[FOLDER]),
            version=None if version is None else int(version),
            verification_key=env.get(KEY, ""),
            policy="".join(pieces),
        )

    def variables(self) -> dict[str, str]:
        """The variables from which `read` makes the same."""
        length = VALUE_CHARACTERS
        pieces = [self.policy[start : start + length] for start in range(0, len(self.policy), length)]
        version = {} if self.version is None else {VERSION: str(self.version)}
        key = {KEY: self.verification_key} if self.verification_key else {}
        return {
            FOLDER: str(self.folder),
            **version,
            **key,
            **{f"{POLICY}_{n}": piece for n, piece in enumerate(pieces)},
        }
