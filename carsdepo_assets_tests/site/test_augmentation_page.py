"""site/augmentation_page.py, augmented_examples.py, commands/augmentation_cli.py: what a training sees, shown."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from carsdepo_assets.cli import app
from carsdepo_assets.detectors.training_samples import Variation
from carsdepo_assets.detectors.training_set import training_set
from carsdepo_assets.lake.datasets import read_manifest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.policy_augmentation import AugmentationPolicy
from carsdepo_assets.site.augmented_examples import NothingToShow, augmented_examples
from carsdepo_assets_tests.site import example_lake
from carsdepo_assets_tests.site.test_pages import EVIL, client
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset


@pytest.fixture(scope="module")
def browser(filled: example_lake.Filled) -> TestClient:
    return client(Path(filled.lake.url).parent)


def test_the_page_shows_each_photograph_and_its_epochs(browser: TestClient, filled: example_lake.Filled) -> None:
    page = browser.get("/augmentation", params={"photographs": 2, "epochs": 3, "family": "faster_rcnn"})
    assert page.status_code == 200
    assert page.text.count("<image ") == 2 * (1 + 3)
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert "as served: 1 box" in page.text
    assert "script-src" not in page.headers["content-security-policy"]


def test_a_models_and_a_datasets_page_lead_there(browser: TestClient, filled: example_lake.Filled) -> None:
    of_model = browser.get(f"/models/{filled.second}").text
    assert f"/augmentation?model={filled.second}" in of_model
    assert f"version {example_lake.VARIED.version}" in of_model
    [dataset] = set(re.findall(r'href="/datasets/([0-9a-f]+)"', browser.get("/datasets").text))
    assert f"/augmentation?dataset={dataset}" in browser.get(f"/datasets/{dataset}").text
    shown = browser.get("/augmentation", params={"model": filled.second, "photographs": 1, "epochs": 1}).text
    assert f"<code>{example_lake.VARIED.version}</code>" in shown
    assert "letterboxed to 320 px" in shown


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"dataset": "0" * 16}, 404),
        ({"model": "0" * 16}, 404),
        ({"model": "../x"}, 404),
        ({"dataset": EVIL}, 404),
        ({"family": EVIL}, 404),
        ({"photographs": 13}, 422),
        ({"photographs": 0}, 422),
        ({"epochs": 9}, 422),
        ({"epochs": "many"}, 422),
        ({"family": "x" * 65}, 422),
    ],
)
def test_what_is_asked_for_is_bounded_and_never_trusted(
    browser: TestClient, asked: dict[str, str], status: int
) -> None:
    page = browser.get("/augmentation", params=asked)
    assert page.status_code == status
    assert EVIL not in page.text


def test_the_pictures_are_those_of_the_training(tmp_path: Path) -> None:
    """Of the same seed, dataset and epoch; JPEG changes them by some levels."""
    lake, policy = Lake.open(tmp_path / "lake"), Policy(augmentation=AugmentationPolicy(mosaic=0.5, flip=0.5))
    version = tiny_dataset(lake)
    examples = augmented_examples(lake, policy, family="faster_rcnn", photographs=12, epochs=3)
    assert len(examples.photographs) == 7  # with boxes, of 8
    images = training_set(lake, version, ("train",), class_names=("scratch", "dent")).split("train")
    import torch

    variation = Variation(images, examples.side, examples.settings, examples.seed, torch.device("cpu"))
    by_id = {image.image_id: image for image in images}
    for photograph in examples.photographs:
        for epoch, shown in enumerate(photograph.epochs):
            sample = variation.sample(by_id[photograph.image_id], epoch)
            rgb = simplejpeg.decode_jpeg(base64.b64decode(shown.picture.partition(",")[2]))
            assert np.abs(rgb.astype(float) / 255 - sample.pixels.numpy().transpose(1, 2, 0)).mean() < 0.03
            assert np.array([b[1:] for b in shown.boxes]).reshape(-1, 4) == pytest.approx(sample.boxes.numpy(), abs=0.1)
            assert shown.dropped == sample.dropped


def test_what_there_is_not_is_said(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    with pytest.raises(NothingToShow, match="no dataset yet"):
        augmented_examples(lake, Policy())
    tiny_dataset(lake, splits={"train": 1, "val": 3})  # the one has no box
    with pytest.raises(NothingToShow, match="no labelled photograph in split train"):
        augmented_examples(lake, Policy())


@pytest.mark.parametrize("damaged", [b"", b"no picture", None])
def test_a_photograph_that_is_gone_or_damaged_is_said(damaged: bytes | None, tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    version = tiny_dataset(lake)
    for key in read_manifest(lake, version)["object_key"].to_pylist():
        if damaged is None:
            lake.delete(key)
        else:
            lake.put(key, damaged)
    page = client(tmp_path).get("/augmentation")
    assert page.status_code == 404
    assert ("no such object" if damaged is None else "is damaged, and no training takes it") in page.text


def test_the_command_says_the_settings_and_writes_the_page(tmp_path: Path) -> None:
    tiny_dataset(Lake.open(tmp_path / "home" / "lake"))
    call = ["augmentation", "--home", str(tmp_path / "home"), "--family", "dfine_n", "--photographs", "2"]
    told = CliRunner().invoke(app, [*call, "--json", "--out", str(tmp_path / "new" / "page.html")])
    assert told.exit_code == 0, told.output
    facts = json.loads(told.output)
    assert facts["settings"]["crop"] == 0.5
    assert (facts["family"], facts["page"]) == ("dfine_n", str(tmp_path / "new" / "page.html"))
    assert (tmp_path / "new" / "page.html").read_text().count("<image ") == 2 * (1 + 4)
    text = CliRunner().invoke(app, call)
    assert facts["version"] in text.output
    wrong = CliRunner().invoke(app, [*call[:-3], "nonsense"])
    assert wrong.exit_code == 1
