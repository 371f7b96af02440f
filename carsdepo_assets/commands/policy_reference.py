"""The policy reference of the documentation: Markdown that is generated from the models in policy.py."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from carsdepo_assets.policy import Dimension, Longer, OtherDetector, OtherStart, Policy
from carsdepo_assets.policy_layers import FORMER_KEYS, unit_of

_TYPES = {int: "integer", float: "number", bool: "true or false", str: "text"}


def policy_reference() -> str:
    """The reference of all values of the policy.

    Returns:
        Markdown: one heading and one table (key, type, default, unit, meaning) for each section, in the policy's
        order; then the changes that `training.fallbacks` may list, and former names of keys. It begins with a
        second-level heading, so that a page can put its own title and introduction above it.
    """
    parts = [_section(name, type(section)) for name, section in Policy()]
    changes = [f"### `{{ change = {json.dumps(m().change)} }}`\n\n{_table('', m)}" for m in (Longer, OtherStart)]
    changes.append(f'### `{{ change = "detector" }}`\n\n{_table("", OtherDetector)}')
    parts.append("## Changes for `training.fallbacks`\n\n" + "\n\n".join(changes))
    parts.append(f"## A dimension of `study.space`\n\n{inspect.getdoc(Dimension) or ''}\n\n{_table('', Dimension)}")
    former = [f"| `{'.'.join(old)}` | `{'.'.join(new)}` |" for old, new in FORMER_KEYS.items()]
    parts.append(
        "## Former names\n\nThese keys are still read, with a warning.\n\n"
        "| former key | key |\n|---|---|\n" + "\n".join(former)
    )
    return "\n\n".join(parts) + "\n"


def _section(name: str, model: type[BaseModel]) -> str:
    inner: dict[str, Any] = {key: f.annotation for key, f in model.model_fields.items() if _is_section(f)}
    own = f"## `[{name}]`\n\n{inspect.getdoc(model) or ''}\n\n{_table(name, model)}"
    return "\n\n".join([own, *(_section(f"{name}.{key}", one) for key, one in inner.items())])


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _table(section: str, model: type[BaseModel]) -> str:
    rows = [
        row
        for name, field in model.model_fields.items()
        if not _is_section(field)
        for row in _rows(f"{section}.{name}".lstrip("."), field)
    ]
    return "| key | type | default | unit | meaning |\n|---|---|---|---|---|\n" + "\n".join(rows)


def _rows(key: str, field: FieldInfo) -> Iterator[str]:
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    meaning, unit = _cell(field.description or "Names the change."), _cell(unit_of(field))
    if isinstance(default, dict) and default:  # a table of names, such as the goals
        for name, value in default.items():
            yield f"| `{key}.{name}` | number or false | `{json.dumps(value)}` | {unit} | {meaning} |"
        return
    if default == {}:
        yield f"| `{key}.NAME` | {_dict_value(field)} | none | {unit} | {meaning} |"
        return
    shown = "" if field.is_required() else _default(default)
    yield f"| `{key}` | {_cell(_type(field))} | {shown} | {unit} | {meaning} |"


def _type(field: FieldInfo) -> str:
    limits = ", ".join(_limit(m) for m in field.metadata if isinstance(m, (Ge, Gt, Le, Lt, MinLen, MaxLen)))
    return _type_name(field.annotation) + (f" ({limits})" if limits else "")


def _dict_value(field: FieldInfo) -> str:
    """The type of the values of a table whose names people choose."""
    value = get_args(field.annotation)[1]
    if get_origin(value) is not Annotated:
        return _type_name(value)
    kind, *marks = get_args(value)
    return _type(FieldInfo.from_annotation(Annotated[kind, *marks]))


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{json.dumps(choice)}`" for choice in arguments)
    if origin in (Union, types.UnionType) and type(None) in arguments:
        return " or ".join(_type_name(a) for a in arguments if a is not type(None)) + " or false for none"
    if origin is tuple:
        return "list of texts" if arguments[0] is str else "list of tables"
    return _TYPES.get(annotation, "text")


def _limit(limit: Any) -> str:
    match limit:
        case Ge(ge):
            return f"at least {ge:,}"
        case Gt(gt):
            return f"above {gt:,}"
        case Le(le):
            return f"at most {le:,}"
        case Lt(lt):
            return f"below {lt:,}"
        case MinLen(length):
            return f"length at least {length}"
        case _:
            return f"length at most {limit.max_length}"


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return _cell(", ".join(f"`{getattr(v, 'name', v)}`" for v in value))
    return f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
