"""carsdepo_assets_tests/names_check.py: a case that breaks each rule, and that only lines which break one are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets_tests.names_check import main, offences


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small repository in which every rule holds."""
    files = {
        "carsdepo_assets/room/module.py": '''
            class Detection:
                """A box."""

            def detect() -> None:
                """Finds boxes."""

            def _private() -> None: ...
        ''',
        "benchmarks/speed.py": "def run() -> None: ...\n",
        "carsdepo_assets_tests/room/test_module.py": '"""room/module.py: boxes are detected."""\n',
    }
    for name, text in files.items():
        write(tmp_path / name, text)
    return tmp_path


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = text.strip("\n").splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    file.write_text("".join(f"{line[indent:]}\n" for line in lines))


def messages(repository: Path) -> list[str]:
    return [f"{o.file.relative_to(repository)}:{o.line}: {o.message}" for o in offences(repository)]


def test_a_repository_that_keeps_the_rules_passes(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert messages(repository) == []
    assert main(repository) == 0
    assert capsys.readouterr().out == "Names and docstrings hold.\n"


@pytest.mark.parametrize(
    "line",
    [
        "found = 1",
        "a, _said = 1, 2",
        "self.known = 1",
        "field.done += 1",
        "rules: int = 1",
        "for made in (): pass",
        "with open('a') as opened: pass",
        "def other_world(): ...",
        "async def word(): ...",
        "class harmed: ...",
        "def f(beside): ...",
        "def f(*, found=1): ...",
        "def f(*known, **done): ...",
        "f = lambda said: 1",
        "[1 for found in ()]",
        "if (found := 1): pass",
        "import os as found",
        "try: ...\nexcept ValueError as found: ...",
        "match 1:\n    case [found, *_]: ...",
        "match 1:\n    case {**rules}: ...",
    ],
)
@pytest.mark.parametrize("folder", ["carsdepo_assets", "benchmarks"])
def test_a_value_with_a_vague_name_is_an_offence(
    repository: Path, folder: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = repository / folder / "vague.py"
    bad.write_text(f'"""A module."""\n\n{line}\n')
    broken = messages(repository)
    assert broken
    assert all(m.startswith(f"{folder}/vague.py:") and ":1: " not in m for m in broken)
    assert any("stands for a value: name what the value is" in m for m in broken)
    assert main(repository) == 1
    assert f"{folder}/vague.py:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line", ["foundation = 1", "x = future.done()", "print('said')", "f(known=1)", "row['rules'] = 1", "x = self.word"]
)
def test_what_only_reads_such_a_name_or_contains_it_is_none(repository: Path, line: str) -> None:
    (repository / "benchmarks/plain.py").write_text(f"{line}\n")
    assert messages(repository) == []


def test_two_public_classes_of_one_name_are_an_offence(repository: Path) -> None:
    write(repository / "carsdepo_assets/other.py", '\nclass _Hidden: ...\nclass Detection:\n    """Another."""\n')
    write(repository / "carsdepo_assets/third.py", "class _Hidden: ...\n")
    (broken,) = messages(repository)
    assert broken.startswith("carsdepo_assets/room/module.py:1: class Detection has the name of the class at ")
    assert broken.endswith("carsdepo_assets/other.py:2")


def test_a_public_function_or_class_without_a_docstring_is_an_offence(repository: Path) -> None:
    text = """
        from typing import overload

        def bare(): ...

        async def served(): ...

        class Bare: ...

        @overload
        def either(value: int) -> int: ...
        @overload
        def either(value: str) -> str: ...
        def either(value):
            '''Returns it.'''

        class Told:
            '''Its methods speak for themselves.'''

            def method(self): ...
    """
    write(repository / "carsdepo_assets/bare.py", text)
    assert messages(repository) == [
        f"carsdepo_assets/bare.py:{line}: {name} is public and has no docstring"
        for line, name in ((3, "bare"), (5, "served"), (7, "Bare"))
    ]


@pytest.mark.parametrize(
    ("docstring", "complaint"),
    [
        ("", "must begin with the modules that it tests"),
        ('"""Boxes are detected."""', "must begin with the modules that it tests"),
        ('"""Boxes: they are detected."""', "must begin with the modules that it tests"),
        ('"""Boxes.\n\nroom/module.py: is tested here.\n"""', "must begin with the modules that it tests"),
        ('"""room/gone.py: boxes."""', "names room/gone.py, which does not exist"),
        ('"""room/module.py, gone/: boxes."""', "names gone/, which does not exist"),
        ('"""module.py: boxes."""', "names module.py, which does not exist"),
    ],
)
def test_a_test_file_that_names_no_module_is_an_offence(repository: Path, docstring: str, complaint: str) -> None:
    (repository / "carsdepo_assets_tests/room/test_module.py").write_text(f"{docstring}\n")
    (broken,) = messages(repository)
    assert broken.startswith("carsdepo_assets_tests/room/test_module.py:1: ")
    assert complaint in broken


@pytest.mark.parametrize(
    "names",
    ["room/module.py, benchmarks/speed.py", "room/", "room/module.py and detect()", "room/module.py, module.py"],
)
def test_modules_are_named_from_the_package_or_the_root(repository: Path, names: str) -> None:
    (repository / "carsdepo_assets_tests/room/test_module.py").write_text(f'"""{names}: boxes."""\n')
    assert messages(repository) == []
