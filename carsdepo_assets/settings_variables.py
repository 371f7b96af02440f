"""How settings and environment variables stand for each other: which variable sets a field, and a value as its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr
from pydantic_settings import BaseSettings, EnvSettingsSource


class Variables(EnvSettingsSource):
    """The fields that the given variables set, and not those of this process."""

    def __init__(self, settings: type[BaseSettings], env: Mapping[str, str]) -> None:
        super().__init__(settings, case_sensitive=True)
        # By the prefix: pydantic would also take a variable that is called as a field, such as `home`.
        self.env_vars = {name: value for name, value in env.items() if value and name.startswith("CARSDEPO_")}


def variable_of(settings: type[BaseSettings], field: str | None) -> str:
    """The variable that sets a field."""
    return str(settings.model_fields[str(field)].validation_alias)


def plain(secret: SecretStr | None) -> str | None:
    """The secret itself, for the one that uses it."""
    return None if secret is None else secret.get_secret_value()


def text_of(value: Any) -> str:
    """A field's value as its variable has it; it may be a secret."""
    if isinstance(value, tuple):
        return " ".join(map(text_of, value))
    return plain(value) or "" if isinstance(value, SecretStr) else "" if value is None else str(value)


def explained(settings: type[BaseSettings], error: Any) -> str:
    """A sentence on one of pydantic's errors, with the variable's name."""
    message = str(error["msg"])
    if error["type"] == "value_error":  # one of ours names its variable
        return message.removeprefix("Value error, ")
    place = str(error["loc"][0])
    return f"{variable_of(settings, place) if place in settings.model_fields else place}: {message}."
