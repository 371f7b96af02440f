"""What a service learns from its variables where its models lie in its container, as SageMaker starts it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

FOLDER, VERSION = "CARSDEPO_MODEL_FOLDER", "CARSDEPO_MODEL_VERSION"
KEY, POLICY = "CARSDEPO_VERIFICATION_PEM", "CARSDEPO_POLICY_TOML"
MODELS, MOST, MEMORY = "CARSDEPO_MODELS_FOLDER", "CARSDEPO_MODELS_IN_MEMORY", "CARSDEPO_MODELS_MEMORY_PERCENT"
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
        return cls(
            folder=Path(env[FOLDER]),
            version=None if version is None else int(version),
            verification_key=env.get(KEY, ""),
            policy=_policy(env),
        )

    def variables(self) -> dict[str, str]:
        """The variables from which `read` makes the same."""
        version = {} if self.version is None else {VERSION: str(self.version)}
        return {FOLDER: str(self.folder), **version, **_key_and_policy(self.verification_key, self.policy)}


class ContainedModels(BaseModel):
    """Several models below a folder of the container, which are loaded and unloaded on demand.

    This is a container of SageMaker's multi-model endpoints.
    """

    model_config = ConfigDict(frozen=True)

    folder: Path
    """The folder below which SageMaker puts models, each at NAME/model."""
    most: int = Field(default=2, ge=1)
    """How many models may be in memory at a time."""
    memory_percent: int = Field(default=80, ge=1, le=100)
    """The share of the container's memory that may be used."""
    verification_key: str = ""
    """The public key (PEM) that must have signed them; empty: none is at hand."""
    policy: str = ""
    """The policy's TOML."""

    @classmethod
    def read(cls, env: Mapping[str, str]) -> Self | None:
        """Reads the variables; None where none names a folder.

        Raises:
            ValueError: A number is none, or is out of its range.
        """
        if not env.get(MODELS):
            return None
        numbers = {"most": env.get(MOST), "memory_percent": env.get(MEMORY)}
        return cls.model_validate(
            {
                "folder": Path(env[MODELS]),
                "verification_key": env.get(KEY, ""),
                "policy": _policy(env),
                **{name: value for name, value in numbers.items() if value},
            }
        )

    def variables(self) -> dict[str, str]:
        """The variables from which `read` makes the same."""
        numbers = {MOST: str(self.most), MEMORY: str(self.memory_percent)}
        return {MODELS: str(self.folder), **numbers, **_key_and_policy(self.verification_key, self.policy)}


def _policy(env: Mapping[str, str]) -> str:
    return "".join(env[name] for n in range(100) if (name := f"{POLICY}_{n}") in env)


def _key_and_policy(key: str, policy: str) -> dict[str, str]:
    pieces = [policy[start : start + VALUE_CHARACTERS] for start in range(0, len(policy), VALUE_CHARACTERS)]
    return {**({KEY: key} if key else {}), **{f"{POLICY}_{n}": piece for n, piece in enumerate(pieces)}}
