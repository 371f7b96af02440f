"""Rules for names and docstrings of the whole repository, which ruff has no rule for.

`make lint` runs `python -m carsdepo_assets_tests.names_check`. It prints a line
`file:line: what is wrong` for each offence, and exits with 1 where there is one.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, BENCHMARKS, TESTS = "carsdepo_assets", "benchmarks", "carsdepo_assets_tests"
# Participles and the like: each tells when a value was obtained, none tells what it is.
VAGUE = frozenset(
    ("found", "said", "known", "done", "rules", "made", "opened", "other_world", "word", "harmed", "beside")
)
_PATH = re.compile(r"[\w./-]+\.(?:py|html|yaml|toml)\b|[\w-]+(?:/[\w-]+)*/")
_DEFINITION = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Offence(NamedTuple):
    """A line of a file that breaks a rule, and the sentence that says how."""

    file: Path
    line: int
    message: str


def names_of_values(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every name that the module gives to a value, function or class, with its line.

    Variables, parameters, stored attributes, fields, names after `as` and captures of `match` count; names that are
    only read do not.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
                yield name, node.lineno
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name, node.lineno


def vague_names(files: Iterable[Path]) -> Iterator[Offence]:
    """Values whose name is one of VAGUE; leading underscores make no difference."""
    for file, tree in _parsed(files):
        for name, line in names_of_values(tree):
            if name.lstrip("_") in VAGUE:
                yield Offence(file, line, f"{name!r} stands for a value: name what the value is")


def shared_class_names(files: Iterable[Path]) -> Iterator[Offence]:
    """Public module-level classes whose name another module's class has too."""
    places: dict[str, list[tuple[Path, int]]] = defaultdict(list)
    for file, tree in _parsed(files):
        for node in _public(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append((file, node.lineno))
    for name, where in places.items():
        for file, line in where[1:]:
            yield Offence(file, line, f"class {name} has the name of the class at {where[0][0]}:{where[0][1]}")


def missing_docstrings(files: Iterable[Path]) -> Iterator[Offence]:
    """Public module-level functions and classes without a docstring; overloads need none."""
    for file, tree in _parsed(files):
        for node in _public(tree):
            if ast.get_docstring(node) is None and not _is_overload(node):
                yield Offence(file, node.lineno, f"{node.name} is public and has no docstring")


def unnamed_modules(files: Iterable[Path], package: Path) -> Iterator[Offence]:
    """Test files whose docstring does not begin with the modules that they specify, such as `release/gate.py: ...`.

    Every path before the first colon must exist: in the package, beside the package, or in the folder of the path
    before it. A folder ends with a slash.
    """
    for file, tree in _parsed(files):
        first_line = (ast.get_docstring(tree) or "").partition("\n")[0]
        before_colon, colon, _ = first_line.partition(":")
        paths = _PATH.findall(before_colon) if colon else []
        if not paths:
            yield Offence(
                file, 1, "the docstring's first line must begin with the modules that it tests: `room/module.py: `"
            )
        folders = [package, package.parent]
        for path in paths:
            place = next((folder / path for folder in folders if (folder / path).exists()), None)
            if place is None:
                yield Offence(file, 1, f"the docstring names {path}, which does not exist")
            else:
                folders = [package, package.parent, place.parent]


def offences(root: Path) -> list[Offence]:
    """All offences of the repository at `root`, by file and line."""
    package, benchmarks = (sorted((root / folder).rglob("*.py")) for folder in (PACKAGE, BENCHMARKS))
    tests = sorted((root / TESTS).rglob("test_*.py"))
    return sorted(
        (
            *vague_names([*package, *benchmarks]),
            *shared_class_names(package),
            *missing_docstrings(package),
            *unnamed_modules(tests, root / PACKAGE),
        )
    )


def main(root: Path = ROOT) -> int:
    """Prints the offences; returns the exit code."""
    broken = offences(root)
    for file, line, message in broken:
        print(f"{file.relative_to(root)}:{line}: {message}")
    print(f"{len(broken)} offences against the naming rules." if broken else "Names and docstrings hold.")
    return 1 if broken else 0


def _parsed(files: Iterable[Path]) -> Iterator[tuple[Path, ast.Module]]:
    for file in files:
        yield file, ast.parse(file.read_text(encoding="utf-8"), str(file))


def _public(tree: ast.Module) -> Iterator[_DEFINITION]:
    return (node for node in tree.body if isinstance(node, _DEFINITION) and not node.name.startswith("_"))


def _is_overload(node: _DEFINITION) -> bool:
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


if __name__ == "__main__":
    sys.exit(main())
