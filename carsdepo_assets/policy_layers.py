"""The policy in force: what is built in, and over it the files, merged key by key, each with its source.

Later layers go before earlier ones: built-in defaults, HOME/carsdepo.toml, carsdepo.toml in the working folder, the
file that CARSDEPO_POLICY names. An array is replaced as a whole. `false` takes away what may be absent: a goal, or a
value such as training.steps whose absence means something.
"""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Layer:
    """A file of the policy. required: CARSDEPO_POLICY names it, so it must be there; any other may be absent."""

    path: Path
    required: bool = False


@dataclass(frozen=True)
class Layered:
    """policy: what holds. sources: the file that set a key last; a key that is missing there is built in."""

    policy: Policy
    sources: Mapping[Key, Path]


@dataclass(frozen=True)
class Entry:
    """A value in force. value None with a source: taken away there, or absent by default."""

    key: str
    value: Any
    default: Any
    source: str
    description: str


def layers(home: Path, folder: Path, named: Path | None) -> tuple[Layer, ...]:
    """The files in order, those that go before the others last; a file that is meant twice counts once, at its last."""
    found = {home / FILE_NAME: False}
    for path, required in ((folder / FILE_NAME, False), (named, True)):
        if path is not None:
            found.pop(path, None)
            found[path] = required
    return tuple(Layer(path, required) for path, required in found.items())


def load_policy(files: Sequence[Layer]) -> Policy:
    """The policy in force. Raises PolicyError as read_layers does."""
    return read_layers(files).policy


def read_layers(files: Sequence[Layer]) -> Layered:
    """The policy with its sources.

    Raises PolicyError naming file and key where a value does not fit, a key is unknown, or a named file is missing.
    """
    merged: dict[str, Any] = {}
    sources: dict[Key, Path] = {}
    for layer in files:
        _merge(Policy, merged, _toml(layer), (), layer.path, sources)
    try:
        # JSON, strictly: TOML's true is no number and its "3" no 3, while its arrays and dates are welcome.
        policy = Policy.model_validate_json(json.dumps(merged, default=str), strict=True)
    except ValidationError as error:
        raise PolicyError("; ".join(_explained(e, sources) for e in error.errors())) from None
    return Layered(policy, sources)


def entries(layered: Layered) -> list[Entry]:
    """Every value in force, in the policy's order, and the goals that a file took away."""
    return list(_entries(Policy, layered.policy.model_dump(mode="json"), Policy().model_dump(mode="json"), (), layered))


class OnDisk:
    """Whether the files still say what a running process took from them at its start."""

    def __init__(self, files: Sequence[Layer], in_use: Policy) -> None:
        self._files, self._in_use = tuple(files), in_use.digest()

    def look(self) -> tuple[str | None, str | None]:
        """(digest of the policy that the files hold now, a sentence). None: they cannot be read; nothing to say."""
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
        if path.is_symlink() and not path.exists():  # not as if it were absent: its thresholds would be gone unsaid
            problem = f"a link to {path.readlink()}, which is not there. Mend or remove the link."
        elif path.exists() and not path.is_file():
            problem = "no regular file. Put a file of TOML there, or nothing."
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


def _merge(
    model: type[BaseModel] | None, into: dict[str, Any], new: Mapping[str, Any], at: Key, file: Path, sources: Any
) -> None:
    """Puts a file's table over what holds so far. model None: a table whose keys are names, such as the goals'."""
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
                    f"{file}: {'.'.join(key)}: false takes a value away, and there is none of that name. "
                    f"There are: {', '.join(sorted(into))}."
                )
            del into[name]
        else:
            into[name] = None if value is False and _may_be_absent(field) else value


def _section(field: FieldInfo | None) -> type[BaseModel] | None:
    annotation = None if field is None else field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _is_table(field: FieldInfo | None) -> bool:
    return field is not None and get_origin(field.annotation) is dict


def _may_be_absent(field: FieldInfo | None) -> bool:
    kinds = () if field is None else get_args(field.annotation)
    return NoneType in kinds and bool not in kinds


def _check_finite(value: Any, key: Key, file: Path) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise PolicyError(f"{file}: {'.'.join(key)}: {value} is no number to decide by.")
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
    said = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {'.'.join(key)}: {said}{given}."


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
        said = field.description or ""
        if _is_table(field):
            for one in {**defaults[name], **values[name]}:
                pair = values[name].get(one), defaults[name].get(one)
                yield Entry(".".join((*key, one)), *pair, _source(layered, (*key, one)), said)
        else:
            yield Entry(".".join(key), values[name], defaults[name], _source(layered, key), said)


def _source(layered: Layered, key: Key) -> str:
    found = layered.sources.get(key)
    return BUILT_IN if found is None else str(found)
