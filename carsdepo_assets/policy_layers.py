"""Reads the policy in force: the built-in values, overridden key by key by the carsdepo.toml files.

The layers, each overriding those before it: built-in values, HOME/carsdepo.toml, carsdepo.toml in the working folder,
the file that the variable CARSDEPO_POLICY names. Arrays are replaced as a whole. `false` removes a value that may be
absent: a goal, or for example training.steps.
"""

from __future__ import annotations

import difflib
import json
import logging
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from carsdepo_assets.policy import Policy, PolicyError

FILE_NAME = "carsdepo.toml"
FILE_VARIABLE = "CARSDEPO_POLICY"
BUILT_IN = "built-in"
Key = tuple[str, ...]
FORMER_KEYS: Mapping[Key, Key] = {("monitoring", "other_world"): ("monitoring", "no_retraining_from")}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layer:
    """One file of the policy."""

    path: Path
    """Where the file is, or would be."""
    required: bool = False
    """Whether it must exist: true for the file that CARSDEPO_POLICY names."""


@dataclass(frozen=True)
class Layered:
    """The policy in force, with the origin of its values."""

    policy: Policy
    """The policy in force."""
    sources: Mapping[Key, Path]
    """The file that set a key last. Keys that are absent here have their built-in value."""


@dataclass(frozen=True)
class Entry:
    """One value in force, as `carsdepo policy show` prints it."""

    key: str
    """The key with its section, such as `gate.level`."""
    value: Any
    """The value in force; None where a file removed it, or where it is absent by default."""
    default: Any
    """The built-in value."""
    source: str
    """The file that set the value, or "built-in"."""
    unit: str
    """What the value counts or measures; "" for choices, names and switches."""
    description: str
    """What the value does."""


def layers(home: Path, folder: Path, named: Path | None) -> tuple[Layer, ...]:
    """The policy's files in the order in which they are applied.

    Args:
        home: The folder of all local state.
        folder: The working folder.
        named: The file that CARSDEPO_POLICY names; None where the variable is not set.

    Returns:
        The layers, the last of which has the last word. A file that would come twice comes once, at its later place.
    """
    required_by_path = {home / FILE_NAME: False}
    for path, required in ((folder / FILE_NAME, False), (named, True)):
        if path is not None:
            required_by_path.pop(path, None)
            required_by_path[path] = required
    return tuple(Layer(path, required) for path, required in required_by_path.items())


def load_policy(files: Sequence[Layer]) -> Policy:
    """The policy in force.

    Args:
        files: The layers, the last of which has the last word.

    Raises:
        PolicyError: As in `read_layers`.
    """
    return read_layers(files).policy


def read_layers(files: Sequence[Layer]) -> Layered:
    """The policy in force, with the file that set each value.

    Args:
        files: The layers, the last of which has the last word.

    Raises:
        PolicyError: Naming the file and the key, where a value does not fit, a key is unknown, a file cannot be read,
            or a required file is missing.
    """
    merged: dict[str, Any] = {}
    sources: dict[Key, Path] = {}
    for layer in files:
        _merge(Policy, merged, _renamed(_toml(layer), layer.path), (), layer.path, sources)
    try:
        # JSON, strictly: TOML's true is no number and its "3" no 3, while its arrays and dates are welcome.
        policy = Policy.model_validate_json(json.dumps(merged, default=str), strict=True)
    except ValidationError as error:
        raise PolicyError("; ".join(_explained(e, sources) for e in error.errors())) from None
    return Layered(policy, sources)


def entries(layered: Layered) -> list[Entry]:
    """Every value in force, in the policy's order, and the goals that a file removed."""
    return list(_entries(Policy, layered.policy.model_dump(mode="json"), Policy().model_dump(mode="json"), (), layered))


class OnDisk:
    """Compares the policy that a running process uses with what its files hold now.

    Args:
        files: The layers that the process read.
        in_use: The policy that it read from them.
    """

    def __init__(self, files: Sequence[Layer], in_use: Policy) -> None:
        self._files, self._in_use = tuple(files), in_use.digest()

    def look(self) -> tuple[str | None, str | None]:
        """Reads the files again.

        Returns:
            The digest of the policy that the files hold now, None where they cannot be read; and a sentence for people
            where the files differ from the policy in use or cannot be read, else None.
        """
        try:
            digest = load_policy(self._files).digest()
        except PolicyError as error:
            return None, f"The policy's files cannot be read, and policy {self._in_use} stays in use: {error}"
        if digest == self._in_use:
            return digest, None
        return digest, (
            f"The policy's files were edited since this service started: they hold policy {digest}, and policy "
            f"{self._in_use} is in use. Restart the service to put the edit in force."
        )


def _toml(layer: Layer) -> dict[str, Any]:
    path = layer.path
    named = f" {FILE_VARIABLE} names it." if layer.required else ""
    try:
        if path.is_symlink() and not path.exists():  # not as if it were absent: its thresholds would silently be gone
            problem = f"a link to {path.readlink()}, which is not there. Repair or remove the link."
        elif path.exists() and not path.is_file():
            problem = "no regular file. Replace it by a TOML file, or remove it."
        else:
            return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' Notepad begins files with a mark
    except (FileNotFoundError, NotADirectoryError):
        if layer.required:
            raise PolicyError(
                f"{FILE_VARIABLE} names {path}, and there is no such file. Correct the variable, or unset it."
            ) from None
        return {}
    except OSError as error:
        problem = f"cannot be read: {error.strerror}."
    except RecursionError:
        problem = "not a policy: its values are nested too deeply."
    except ValueError as error:  # of TOML, of UTF-8, of a number with thousands of digits
        problem = f"not TOML: {error}. Correct the line it names."
    raise PolicyError(f"{path}: {problem}{named}")


def _renamed(table: dict[str, Any], file: Path) -> dict[str, Any]:
    """A file's table with former names of keys replaced by today's; each is warned of once in a process."""
    for (section, old), (_, new) in FORMER_KEYS.items():
        inside = table.get(section)
        if isinstance(inside, dict) and old in inside:
            if new in inside:
                raise PolicyError(f"{file}: {section}.{old} is the former name of {section}.{new}. Remove {old}.")
            _warn_once(
                f"{file}: {section}.{old} is now called {section}.{new}. The former name is still read: rename it."
            )
            table = table | {section: {(new if k == old else k): v for k, v in inside.items()}}
    return table


@cache
def _warn_once(message: str) -> None:
    _log.warning(message)


def _merge(
    model: type[BaseModel] | None, into: dict[str, Any], new: Mapping[str, Any], at: Key, file: Path, sources: Any
) -> None:
    """Puts a file's table over the values so far. model None: a table whose keys are names, such as the goals'."""
    for name, value in new.items():
        key = (*at, name)
        field = None if model is None else model.model_fields.get(name)
        inner = _section(field)
        if isinstance(value, dict) and (inner is not None or _is_table(field)):
            if not isinstance(into.get(name), dict):
                into[name] = {} if inner is not None or field is None else field.get_default(call_default_factory=True)
                sources.pop(key, None)
            _merge(inner, into[name], value, key, file, sources)
            continue
        _check_finite(value, key, file)
        for inside in [k for k in sources if k[: len(key)] == key]:
            del sources[inside]
        sources[key] = file
        if value is False and model is None:
            if name not in into:
                raise PolicyError(
                    f"{file}: {'.'.join(key)}: false removes a value, and there is none of that name. "
                    f"There are: {', '.join(sorted(into))}."
                )
            del into[name]
        else:
            into[name] = None if value is False and _may_be_absent(field) else value


def _section(field: FieldInfo | None) -> type[BaseModel] | None:
    annotation = None if field is None else field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def unit_of(field: FieldInfo) -> str:
    """The unit that policy.py gives to a value; "" where it has none, such as a choice or a switch."""
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


def _is_table(field: FieldInfo | None) -> bool:
    return field is not None and get_origin(field.annotation) is dict


def _may_be_absent(field: FieldInfo | None) -> bool:
    kinds = () if field is None else get_args(field.annotation)
    return NoneType in kinds and bool not in kinds


def _check_finite(value: Any, key: Key, file: Path) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise PolicyError(f"{file}: {'.'.join(key)}: {value} is not a finite number.")
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inside:
        _check_finite(one, (*key, str(name)), file)


def _explained(error: Any, sources: Mapping[Key, Path]) -> str:
    """One of pydantic's errors, with the files that it comes from in front."""
    key = tuple(map(str, error["loc"]))
    files = {f for k, f in sources.items() if k[: len(key)] == key or key[: len(k)] == k}
    where = ", ".join(sorted(map(str, files))) or BUILT_IN
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(".".join(key), [".".join(k) for k in _keys(Policy, ())], n=1)
        return f"{where}: {'.'.join(key)}: there is no such key" + (f"; {near[0]} is one." if near else ".")
    given = "" if isinstance(error["input"], dict) else f", not {json.dumps(error['input'], ensure_ascii=False)[:60]}"
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {'.'.join(key)}: {message}{given}."


def _keys(model: type[BaseModel], at: Key) -> Iterator[Key]:
    for name, field in model.model_fields.items():
        inner = _section(field)
        yield from [(*at, name)] if inner is None else _keys(inner, (*at, name))


def _entries(
    model: type[BaseModel], values: Mapping[str, Any], defaults: Mapping[str, Any], at: Key, layered: Layered
) -> Iterator[Entry]:
    for name, field in model.model_fields.items():
        key, inner = (*at, name), _section(field)
        if inner is not None:
            yield from _entries(inner, values[name], defaults[name], key, layered)
            continue
        unit, meaning = unit_of(field), field.description or ""
        if _is_table(field):
            for one in {**defaults[name], **values[name]}:
                pair = values[name].get(one), defaults[name].get(one)
                yield Entry(".".join((*key, one)), *pair, _source(layered, (*key, one)), unit, meaning)
        else:
            yield Entry(".".join(key), values[name], defaults[name], _source(layered, key), unit, meaning)


def _source(layered: Layered, key: Key) -> str:
    file = layered.sources.get(key)
    return BUILT_IN if file is None else str(file)
