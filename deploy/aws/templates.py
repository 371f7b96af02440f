"""Reads the templates beside this file, and says in which order their stacks are made."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parent
ORDER = ("network", "data", "catalogue", "roles", "dagster", "gpu", "front", "observe")
"""The stacks, each after those whose exports it imports."""
TEMPLATE_BYTES = 51_200
"""Most of a template that is sent with the request (AWS CloudFormation quotas, "Template body size in a request")."""


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms: `!Ref X` is read as {"Ref": "X"}."""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)


def text_of(stack: str) -> str:
    """The text of a stack's template."""
    return (FOLDER / f"{stack}.yaml").read_text()


def template(stack: str) -> dict[str, Any]:
    """A stack's template, with the long forms of CloudFormation's functions."""
    return copy.deepcopy(_parsed(stack))


def declared(stack: str) -> dict[str, dict[str, Any]]:
    """The parameters that a stack's template declares, by name."""
    parameters: dict[str, dict[str, Any]] = copy.deepcopy(_parsed(stack)["Parameters"])
    return parameters


@functools.cache
def _parsed(stack: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.load(text_of(stack), _Loader)
    return content


def stack_name(env: str, stack: str) -> str:
    """The stack's name in the account, such as carsdepo-staging-network."""
    return f"carsdepo-{env}-{stack}"


def walk(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value within a template with its path, itself first."""
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, (*path, str(key)))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from walk(inner, (*path, str(number)))


def exports(stack: str) -> set[str]:
    """The names that a stack exports, without their prefix carsdepo-ENV-."""
    outputs = template(stack).get("Outputs", {})
    return {_suffix(output["Export"]["Name"]) for output in outputs.values() if "Export" in output}


def imports(stack: str) -> set[str]:
    """The names that a stack imports, without their prefix."""
    return {
        _suffix(value["Fn::ImportValue"])
        for _, value in walk(template(stack))
        if isinstance(value, dict) and "Fn::ImportValue" in value
    }


def _suffix(name: Any) -> str:
    return str(name["Fn::Sub"]).removeprefix("carsdepo-${Env}-")
