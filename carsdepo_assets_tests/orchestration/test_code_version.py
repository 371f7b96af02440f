"""orchestration/code_version.py: an asset's code version follows the logic that it reaches, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from carsdepo_assets.orchestration.code_version import PackageSyntax, code_version_of

ASSETS = '''"""Assets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shop.prices import price

if TYPE_CHECKING:
    from shop.types_only import Thing


def asset(thing: Thing) -> int:
    """What it makes."""
    from .lazy import tax

    return price() + tax()
'''
LAZY = '''"""Taxes."""

RATE = 7
"""Per cent."""


class Tax:
    """Of a country."""

    rate = RATE


def tax() -> int:
    """The tax."""
    run("shop.worker")
    return Tax.rate
'''


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    files = {
        "__init__": "",
        "assets": ASSETS,
        "prices": "def price() -> int:\n    return 1\n",
        "lazy": LAZY,
        "worker": "COUNT = 1\n",
        "types_only": "class Thing: ...\n",
        "other": "from shop import assets\n",
        "wares": 'PLACES = {"pen": "shop.pen:Pen", "book": "book:shop.book"}\n',
        "pen": "from shop import ink\n",
        "ink": "COLOUR = 1\n",
        "prints": "from shop import wares\n",
        "opens": "from importlib import import_module\n\nimport_module('pillow_heif')\n\nfrom shop import wares\n",
        "sells": "import importlib\n\nfrom shop import prints\n\nimportlib.import_module(prints.wares.PLACES['pen'])\n",
    }
    for name, source in files.items():
        (folder / f"{name}.py").write_text(source)
    return folder


def version(shop: Path, cache: Path | None = None) -> str:
    return PackageSyntax(shop, cache).version_of("shop.assets")


def edit(shop: Path, module: str, old: str, new: str) -> None:
    file = shop / f"{module}.py"
    source = file.read_text()
    assert old in source
    file.write_text(source.replace(old, new))


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("assets", '"""What it makes."""', '"""What the asset makes,\n    in more words."""'),
        ("assets", '"""Assets."""', ""),
        ("lazy", '    """The tax."""\n', ""),
        ("lazy", '"""Of a country."""', '"""Of a state."""'),
        ("lazy", '"""Per cent."""', '"""In per cent."""'),
        ("lazy", "RATE = 7\n", "RATE = 7  # of the price\n\n"),
        ("lazy", 'run("shop.worker")', "run(\n        'shop.worker',\n    )"),
        ("types_only", "class Thing: ...", "class Thing:\n    size = 1"),
        ("other", "from shop import assets", "from shop import assets, lazy"),
    ],
)
def test_words_formatting_and_modules_that_are_not_reached_change_nothing(
    shop: Path, module: str, old: str, new: str
) -> None:
    before = version(shop)
    edit(shop, module, old, new)
    assert version(shop) == before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("assets", "price() + tax()", "price() - tax()"),
        ("assets", "price() + tax()", "tax() + price()"),
        ("prices", "return 1", "return 2"),
        ("prices", "return 1", "return 1.0"),
        ("lazy", "RATE = 7", "RATE = 8"),
        ("lazy", "return Tax.rate", "return -Tax.rate"),
        ("worker", "COUNT = 1", "COUNT = 2"),
        ("__init__", "", "import shop.other"),
    ],
)
def test_logic_of_a_module_that_is_reached_changes_the_version(shop: Path, module: str, old: str, new: str) -> None:
    before = version(shop)
    edit(shop, module, old, new)
    assert version(shop) != before


def test_what_an_asset_reaches(shop: Path) -> None:
    reached = PackageSyntax(shop).reached_from("shop.assets")
    assert reached == {"shop", "shop.assets", "shop.prices", "shop.lazy", "shop.worker"}


@pytest.mark.parametrize(
    ("asset", "more"),
    [
        ("prints", {"wares"}),
        ("opens", {"wares"}),  # it imports another module
        ("sells", {"prints", "wares", "pen", "ink"}),
    ],
)
def test_a_place_is_reached_by_who_imports_places(shop: Path, asset: str, more: set[str]) -> None:
    reached = PackageSyntax(shop).reached_from(f"shop.{asset}")
    assert reached == {"shop", f"shop.{asset}", *(f"shop.{name}" for name in more)}


def test_a_name_that_is_no_module_is_refused(shop: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"shop\.missing is no module of shop"):
        PackageSyntax(shop).version_of("shop.missing")


def test_the_cache_changes_no_version(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    cache = tmp_path / "cache" / "shop.syntax"
    first = version(shop)
    assert version(shop, cache) == first
    assert cache.is_file()
    assert version(shop, cache) == first
    edit(shop, "lazy", "RATE = 7", "RATE = 8")
    assert version(shop, cache) == version(shop) != first


def test_a_cache_is_read_instead_of_parsing(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    cache = tmp_path / "shop.syntax"
    first = version(shop, cache)
    monkeypatch.setattr("carsdepo_assets.orchestration.code_version.ast.parse", None)
    assert version(shop, cache) == first


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", '{"a": 1}', '{"a": [1, 2, 3]}'])
def test_a_cache_that_cannot_be_read_is_ignored(shop: Path, tmp_path: Path, text: str) -> None:
    cache = tmp_path / "shop.syntax"
    cache.write_text(text)
    assert version(shop, cache) == version(shop)


def test_no_cache_is_written_where_python_writes_no_bytecode(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    version(shop, tmp_path / "shop.syntax")
    assert not (tmp_path / "shop.syntax").exists()


def test_this_packages_training_reaches_its_worker() -> None:
    folder = Path(__file__).resolve().parents[2] / "carsdepo_assets"
    reached = PackageSyntax(folder).reached_from("carsdepo_assets.training.assets")
    assert {"carsdepo_assets.training.worker", "carsdepo_assets.detectors.yolov8.training"} <= reached
    assert not {name for name in reached if name.startswith(("carsdepo_assets.demo", "carsdepo_assets.commands"))}


@pytest.mark.parametrize("step", ["business", "data", "inference"])
def test_a_change_of_a_detector_is_none_of_what_trains_and_loads_nothing(step: str) -> None:
    """The policy, which all of them read, knows the families' names from the registry that says where detectors are."""
    folder = Path(__file__).resolve().parents[2] / "carsdepo_assets"
    reached = PackageSyntax(folder).reached_from(f"carsdepo_assets.{step}.assets")
    assert "carsdepo_assets.families.built_in" in reached
    assert not {name for name in reached if name.startswith("carsdepo_assets.detectors")}


def test_versions_of_this_package_are_short_and_differ() -> None:
    training, policy = code_version_of("carsdepo_assets.training.assets"), code_version_of("carsdepo_assets.policy")
    assert training != policy
    assert len(training) == len(policy) == 16
