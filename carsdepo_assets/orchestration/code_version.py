"""The version of an asset's code, for Dagster's `code_version`: it changes when the logic behind the asset changes.

The version is a digest of syntax trees: those of the asset's module and of every module of this package that it
reaches by import, at the top of a file or inside a function. Docstrings are left out of the trees, and comments and
formatting never stand in them, so that an edit of words makes no asset stale. No module is imported for this.

A module that the code starts by its name, as the training worker, is reached too: a string that is a module's full
name counts as an import. A string `module:name`, as families of detectors have it, counts where the code also reaches a
call of `import_module` for a name that is no literal: who reads a family's licence runs none of its detector's code.
Not covered are files that are not Python (templates), the versions of installed libraries, and the resources that an
environment puts behind a name.

Parsing the package takes about 0.7 s. The result is kept beside Python's bytecode, under the same conditions; with it
the versions of all assets take about 0.03 s.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from carsdepo_assets.lake.objects import write_atomic

_PACKAGE = Path(__file__).resolve().parents[1]
# Fields of syntax trees that follow from the node's place (ctx) or from how it is written.
_NO_LOGIC = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


def code_version_of(*module_names: str) -> str:
    """The version of the code in some modules of this package and in the modules that they reach.

    Args:
        module_names: Full names, usually the asset module's own `__name__`. A module that the code starts by its name
            (`python -m carsdepo_assets.training.worker`) is found without being listed, since its name stands in the
            code as a string.

    Returns:
        16 hexadecimal digits, the same in every process as long as the logic is the same.

    Raises:
        ModuleNotFoundError: A name is no module of this package.
        SyntaxError: A module that is reached is not valid Python.
    """
    return _this_package().version_of(*module_names)


@dataclass(frozen=True)
class ModuleSyntax:
    """What one Python file contributes to the version."""

    digest: str
    """Digest of its syntax tree without docstrings."""
    names: tuple[str, ...]
    """Dotted names inside the package that the file imports or spells out; some go on to a class or function."""
    places: tuple[str, ...]
    """Modules inside the package that the file spells out as `module:name`, for another file to import."""
    imports_by_name: bool
    """Whether it imports modules whose names it is given."""


class PackageSyntax:
    """The modules of one package as syntax trees, each read once, when it is first asked for."""

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        """Finds the package's files.

        Args:
            folder: The package's own folder; its name is the package's name.
            cache: File that keeps what was parsed, by the digest of each file's bytes; None keeps nothing. The cache
                is an economy alone: an unreadable or unwritable one is ignored.
        """
        self._files = {_module_name(folder, file): file for file in folder.rglob("*.py")}
        self._package = folder.name
        self._cache = cache
        self._kept = _read_cache(cache)
        if len(self._kept) > 4 * len(self._files):  # mostly of sources that have changed since
            self._kept = {}
        self._modules: dict[str, ModuleSyntax] = {}

    def version_of(self, *module_names: str) -> str:
        """See `code_version_of`."""
        digest = hashlib.sha256()
        kept_before = len(self._kept)
        for name in sorted(self.reached_from(*module_names)):
            digest.update(f"{name} {self._module(name).digest}\n".encode())
        if len(self._kept) > kept_before:
            self._write_cache()
        return digest.hexdigest()[:16]

    def reached_from(self, *module_names: str) -> set[str]:
        """The modules themselves and those that they import, directly or through others.

        Packages above a module are reached with it, as Python runs their `__init__` first.
        """
        for name in module_names:
            if name not in self._files:
                raise ModuleNotFoundError(f"{name} is no module of {self._package}.", name=name)
        reached: set[str] = set()
        waiting, places = list(module_names), list[str]()
        imports_by_name = False
        while waiting:
            for name in _with_parents(waiting.pop()):
                if name in self._files and name not in reached:
                    reached.add(name)
                    module = self._module(name)
                    waiting.extend(module.names)
                    places.extend(module.places)
                    imports_by_name |= module.imports_by_name
            if not waiting and imports_by_name:
                waiting, places = places, []
        return reached

    def _module(self, name: str) -> ModuleSyntax:
        module = self._modules.get(name)
        if module is None:
            source = self._files[name].read_bytes()
            # The name is part of the key because a relative import means another module in another place.
            key = hashlib.sha256(f"{_this_source()}\n{name}\n".encode() + source).hexdigest()[:32]
            module = self._kept.get(key) or self._parse(name, source)
            self._kept[key] = self._modules[name] = module
        return module

    def _parse(self, name: str, source: bytes) -> ModuleSyntax:
        file = self._files[name]
        tree = ast.parse(source, str(file))
        inside = name if file.name == "__init__.py" else name.rpartition(".")[0]
        reader = _TreeReader(inside)
        reader.read(tree)
        digest = hashlib.sha256("\0".join(reader.parts).encode()).hexdigest()[:32]
        names, places = (
            tuple(sorted({n for n in read_names if n.startswith(f"{self._package}.")}))
            for read_names in (reader.names, reader.places)
        )
        return ModuleSyntax(digest, names, places, reader.imports_by_name)

    def _write_cache(self) -> None:
        if self._cache is None or sys.dont_write_bytecode:
            return
        try:
            kept = {key: astuple(module) for key, module in self._kept.items()}
            write_atomic(self._cache, json.dumps(kept).encode())
        except OSError:
            return  # an installation that this user may not write to


@functools.cache
def _this_package() -> PackageSyntax:
    # Beside this module's bytecode, thus per Python version, as syntax trees differ between them.
    bytecode = Path(importlib.util.cache_from_source(__file__))
    return PackageSyntax(_PACKAGE, bytecode.with_suffix(".syntax"))


@functools.cache
def _this_source() -> str:
    """Digest of this file: a cache that another way of reading trees has filled is of no use."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _module_name(folder: Path, file: Path) -> str:
    parts = file.relative_to(folder.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _read_cache(cache: Path | None) -> dict[str, ModuleSyntax]:
    try:
        kept = json.loads(cache.read_text()) if cache else {}
        return {
            str(key): ModuleSyntax(str(digest), tuple(map(str, names)), tuple(map(str, places)), bool(imports))
            for key, (digest, names, places, imports) in kept.items()
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _with_parents(name: str) -> Iterator[str]:
    """a.b.c, a.b, a."""
    while name:
        yield name
        name = name.rpartition(".")[0]


class _TreeReader:
    """One pass over a syntax tree: what it says, and which modules it asks for."""

    def __init__(self, package: str) -> None:
        self.parts: list[str] = []  # the tree in order, without positions and docstrings
        self.names: list[str] = []  # dotted names that the code imports or holds as a string
        self.places: list[str] = []  # modules of strings `module:name`
        self.imports_by_name = False
        self._package = package  # where relative imports start

    def read(self, node: ast.AST) -> None:
        self.parts.append(type(node).__name__)
        if isinstance(node, ast.Constant):
            self.parts.append(repr(node.value))
            if isinstance(node.value, str):
                module, colon, attribute = node.value.partition(":")
                if module.replace(".", "_").isidentifier() and (attribute.isidentifier() or not colon):
                    (self.places if colon else self.names).append(module)
            return
        if isinstance(node, ast.If) and _name_of(node.test) == "TYPE_CHECKING":
            self._read_all(node.orelse)  # what only type checkers import is no part of the logic
            return
        if isinstance(node, ast.Import):
            self.names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = self._base(node)
            self.names += [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and _name_of(node.func) == "import_module":
            self.imports_by_name |= not (node.args and isinstance(node.args[0], ast.Constant))
        for field in node._fields:
            if field in _NO_LOGIC:
                continue
            value = getattr(node, field)
            if isinstance(value, ast.AST):
                self.read(value)
            elif isinstance(value, list):
                self._read_all(value)
            else:
                self.parts.append(repr(value))

    def _read_all(self, items: list[Any]) -> None:
        self.parts.append("[")
        for item in items:
            if not isinstance(item, ast.AST):
                self.parts.append(repr(item))
            elif not _is_docstring(item):
                self.read(item)
        self.parts.append("]")

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parents = self._package.split(".")
        kept = parents[: len(parents) - node.level + 1]
        return ".".join([*kept, node.module] if node.module else kept)


def _name_of(node: ast.expr) -> str | None:
    """The last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


def _is_docstring(node: ast.AST) -> bool:
    """Also of a field: any string that stands as a statement of its own."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
