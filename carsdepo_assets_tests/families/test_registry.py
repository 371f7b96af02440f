"""families/registry.py, family.py and built_in.py: which detectors there are, and who says so."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.catalogue import default_recipe, get_detector
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.families import registry
from carsdepo_assets.families.built_in import BUILT_IN
from carsdepo_assets.families.registry import (
    FamilyError,
    UnknownFamily,
    family_of,
    names,
    register,
    title_of,
    unregister,
)
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import OtherDetector, TrainingPolicy
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset

OTHER = dataclasses.replace(BUILT_IN[0], name="other", title="Another")


def formerly(recipe: Recipe) -> Recipe:
    """A recipe as releases proposed it before augmentation was declared: as arguments of ultralytics, or not at all."""
    still = {"scale": 0.2, "translate": 0.05} if recipe.detector.startswith("yolo") else {}
    return recipe.model_copy(update={"augmentation": None, "extra": still})


@pytest.fixture(autouse=True)
def _other_is_gone() -> Iterator[None]:
    yield
    unregister("other")


@pytest.mark.parametrize(
    ("recipe", "digest"),
    [
        (Recipe(), "ffa83ca8c090"),
        (
            Recipe(
                detector="faster_rcnn", init="champion", champion="0123456789abcdef", image_size=384, steps=1250,
                minutes=120.0, batch=2, lr=0.000075, weight_decay=0.01, freeze=5, seed=3, extra={"threads": 1},
            ),
            "dd2ef23a685b",
        ),
        (formerly(default_recipe("yolov8n", minutes=2, n_train=80, device="cpu", real=False)), "ec176ca2e71a"),
        (formerly(default_recipe("faster_rcnn", minutes=2, n_train=80, device="cuda:0", real=True)), "77e4f3224112"),
        (formerly(default_recipe("faster_rcnn", minutes=2, n_train=80, device="cpu", real=False)), "c884736299f6"),
    ],
)  # fmt: skip
def test_recipes_of_before_the_registry_keep_their_digests(recipe: Recipe, digest: str) -> None:
    """Models are found, and checkpoints are gone on from, by these digests."""
    assert recipe.digest() == digest
    assert Recipe.model_validate_json(recipe.model_dump_json()).digest() == digest


def test_the_names_of_the_built_in_families() -> None:
    assert names()[:11] == (
        "yolov8n", "yolov8s", "yolov8m", "yolov8l", "yolov8x",
        "faster_rcnn", "faster_rcnn_lite2", "faster_rcnn_resnet50",
        "dfine_n", "dfine_s", "dfine_m",
    )  # fmt: skip


@pytest.mark.parametrize("family", BUILT_IN, ids=lambda f: f.name)
def test_a_built_in_family_is_whole(family: object) -> None:
    assert isinstance(family, type(OTHER))
    assert isinstance(family.detector, str)
    assert importlib.util.find_spec(family.detector.partition(":")[0]) is not None
    assert family.licence
    assert (family.imagenet is None) == (not family.imagenet_licence)
    for usual in (family.cpu, family.gpu):
        assert usual.rendered_px % 32 == usual.photographs_px % 32 == 0
    if family.pretrained is not None:
        assert family.pretrained.url.startswith("https://")
        assert family.pretrained.licence
    assert [f.title for f in BUILT_IN].count(family.title) == 1
    assert [f.pretrained.file for f in BUILT_IN if f.pretrained].count(getattr(family.pretrained, "file", "")) <= 1


@pytest.mark.parametrize(
    "given",
    [
        lambda: Recipe(detector="other"),
        lambda: TrainingPolicy(detector="other"),
        lambda: OtherDetector(detector="other"),
    ],
)
def test_a_name_that_is_no_familys_is_refused_with_those_that_are(given: object) -> None:
    assert callable(given)
    with pytest.raises(ValidationError, match=r"no detector named 'other': there are yolov8n, yolov8s, .*dfine_m"):
        given()
    register(OTHER)
    assert given().detector == "other"
    assert names()[-1] == "other"


def test_auto_is_the_policys_alone() -> None:
    assert TrainingPolicy(detector="auto").detector == "auto"
    with pytest.raises(ValidationError, match="no detector named 'auto'"):
        Recipe(detector="auto")


def test_two_families_cannot_share_a_name() -> None:
    register(OTHER)
    register(OTHER)
    with pytest.raises(FamilyError, match="two families are named 'other': Another and A third"):
        register(dataclasses.replace(OTHER, title="A third"))
    for name in ("Other", "auto", "", "my family", "8yolo"):
        with pytest.raises(FamilyError, match="cannot name a family"):
            register(dataclasses.replace(OTHER, name=name))


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise SystemExit('no licence')", "SystemExit: no licence"),
        ("import missing_library", "ModuleNotFoundError: No module named 'missing_library'"),
        ("FAMILY = None", "TypeError: 'NoneType' object is not iterable"),
        ("FAMILY = ['yolov8n']", "FamilyError: it names 'yolov8n', which is no Family"),
    ],
)
def test_an_entry_point_that_fails_is_named_and_stops_nothing(
    code: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_family.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken_family", raising=False)
    entry = EntryPoint("theirs", "broken_family:FAMILY", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    monkeypatch.setattr(registry, "_asked_packages", False)
    monkeypatch.setattr(registry, "_broken", {})
    assert "yolov8n" in names()
    with pytest.raises(UnknownFamily, match=re.escape(f"The entry point theirs could not be read: {why}.")):
        family_of("other")


class Unfinished:
    """A detector that cannot load."""

    def __init__(self, name: str) -> None:
        if name == "other_broken":
            raise RuntimeError("not today")

    def train(self) -> None: ...


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detector": f"{__name__}:Missing"}, "Another cannot be used: AttributeError: .*Missing"),
        ({"detector": "no_such_module:X"}, "Another cannot be used: No module named 'no_such_module'. It needs ultra"),
        ({"detector": Unfinished}, "Another cannot be used: its detector has no method load"),
        ({"detector": lambda name: Unfinished("other_broken")}, "Another cannot be used: RuntimeError: not today"),
    ],
)
def test_a_family_whose_detector_is_none_is_named(changes: dict[str, Any], message: str) -> None:
    register(dataclasses.replace(OTHER, **changes))
    with pytest.raises(DetectorError, match=message):
        get_detector("other")


def test_a_familys_values_are_looked_at_when_they_are_used() -> None:
    register(dataclasses.replace(OTHER, augmentation={"shear": 1.0, "flip": 7}))
    with pytest.raises(DetectorError, match=r"augmentation of Another cannot be used: flip: .*; shear: Extra inputs"):
        default_recipe("other", minutes=1, n_train=3, device="cpu", real=True)
    assert OTHER.pretrained is not None
    for file in ("../x.pt", "/tmp/x.pt", "a/x.pt", ".pt", ""):
        with pytest.raises(FamilyError, match="is no file name"):
            register(
                dataclasses.replace(OTHER, name="two", pretrained=dataclasses.replace(OTHER.pretrained, file=file))
            )


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1])
@pytest.mark.parametrize("name", ["lr", "weight_decay", "minutes", "seed"])
def test_a_recipe_holds_numbers_that_a_worker_can_be_given(name: str, value: float) -> None:
    with pytest.raises(ValidationError, match=name):
        Recipe.model_validate({name: value})


def test_a_family_that_is_gone_keeps_its_name_as_its_title() -> None:
    assert title_of("other") == "other"
    assert title_of("dfine_n") == family_of("dfine_n").title == "D-FINE N"


@pytest.mark.parametrize(
    ("init", "start"),
    [
        ("scratch", "from scratch"),
        ("pretrained", "from COCO"),
        ("weights/dfine_s.safetensors", "from COCO"),
        ("weights/mine.pt", "from a file of weights"),
    ],
)
def test_a_run_in_mlflow_is_named_by_title_and_start(init: str, start: str, tmp_path: Path) -> None:
    from carsdepo_assets.training.mlflow_run_name import run_name

    lake = Lake.open(tmp_path)
    name = run_name(lake, tiny_dataset(lake), Recipe(detector="dfine_s", init=init))
    assert name == f"D-FINE S, 14 photographs, dataset 0123, {start}"
