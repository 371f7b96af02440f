"""registry/licences_learnt.py: a model that learnt from what may not be used commercially, or went on from one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import yaml

from carsdepo_assets.families.built_in import BUILT_IN
from carsdepo_assets.families.family import Pretrained
from carsdepo_assets.families.registry import register, unregister
from carsdepo_assets.lake.datasets import manifest_key, summary_key
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.licences import LicenceStatement, state_licences
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.licences_learnt import licences_learnt, non_commercial
from carsdepo_assets.registry.lineage import StartingWeights
from carsdepo_assets_tests.commands.reproducible_lake import BOX, photographs_and_labels, stored_model
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import RULES, car, dataset, label, upload
from carsdepo_assets_tests.detectors.rectangles import made_up_model


def say(lake: Lake, scope: str, licence: str) -> None:
    state_licences(lake, "x", [LicenceStatement(scope, licence, True, "README.md", licence)], NOW)


def test_what_a_model_learnt_from_decides_and_what_it_was_tested_on_does_not(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    made = photographs_and_labels(lake)
    model = stored_model(lake, made)
    assert non_commercial(lake, model.digest, RULES) is None
    by_split = {row["split"]: row["key"] for row in made.manifest.to_pylist()}
    say(lake, by_split["test"], "CC-BY-NC-4.0")
    assert non_commercial(lake, model.digest, RULES) is None
    say(lake, by_split["train"], "CC-BY-NC-SA-4.0")
    assert non_commercial(lake, model.digest, RULES) == (
        "it learnt from what may not be used commercially: CC-BY-NC-SA-4.0, claimed by README.md: 1 photograph"
    )
    allowed = RULES.model_copy(update={"data": RULES.data.model_copy(update={"non_commercial_licences": ()})})
    assert non_commercial(lake, model.digest, allowed) is None

    # a model that goes on from it, on a dataset of its own
    child = stored_model(lake, made, b"child", initialised_from=model.digest)
    sentence = non_commercial(lake, child.digest, RULES)
    assert sentence is not None
    assert f"(by model {model.digest}, from which it went on)" in sentence
    assert [one.digest for one in licences_learnt(lake, child.digest, RULES)] == [child.digest, model.digest]


def test_labels_have_licences_too_and_a_dataset_lists_all(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    first = photographs_and_labels(lake, 3)
    say(lake, "raw/labels/", "CC-BY-NC-4.0")
    say(lake, "raw/uploads/car0.jpg", "CC-BY-4.0")
    upload(lake, {"later.jpg": car(50)})
    label(lake, {"later.txt": BOX})
    made = dataset(lake)
    stored = json.loads(lake.get(summary_key(made.version)))
    listed = [(one["of"], one["licence"], one["photographs"], one["claimed_by"]) for one in stored["licences"]]
    assert listed == [
        ("photographs", "none stated", 3, ""),
        ("photographs", "CC-BY-4.0", 1, "README.md"),
        ("labels", "CC-BY-NC-4.0", 4, "README.md"),
    ]
    assert yaml.safe_load(lake.get(f"datasets/{made.version}/data.yaml"))["licences"] == stored["licences"]
    assert any("it forbids commercial use" in note for note in stored["notes"])
    before = json.loads(lake.get(summary_key(first.version)))
    assert [one["licence"] for one in before["licences"]] == ["none stated", "none stated"]
    # what is stated later counts for models of before
    sentence = non_commercial(lake, stored_model(lake, first).digest, RULES)
    assert sentence is not None
    assert sentence.endswith("claimed by README.md: the labels of 2 photographs")


def test_a_model_without_a_record_asks_for_nobody(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    assert non_commercial(lake, made_up_model(lake, b"w"), Policy()) is None
    assert non_commercial(lake, "0" * 16, Policy()) is None


def test_an_erased_dataset_and_a_damaged_record_ask_for_a_person(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    made = photographs_and_labels(lake, 3)
    model = stored_model(lake, made)
    child = stored_model(lake, made, b"child", initialised_from=model.digest)
    (tmp_path / manifest_key(made.version)).unlink()
    erased = f"it learnt from a dataset that was erased, with its licences: {made.version}"
    assert non_commercial(lake, model.digest, RULES) == erased
    sentence = non_commercial(lake, child.digest, RULES)
    assert sentence == f"{erased}, {made.version} (by model {model.digest}, from which it went on)"
    lake.put(f"models/{model.digest}/lineage.json", b'{"digest": 1')
    damaged = non_commercial(lake, child.digest, RULES)
    assert damaged is not None
    assert damaged.startswith("what it learnt from cannot be read: ")


def test_weights_that_were_given_as_a_file_bring_their_licences(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    made = photographs_and_labels(lake, 3)
    parent = stored_model(lake, made)
    file = StartingWeights(key="weights/x/mine.pt", sha256=hashlib.sha256(b"weights").hexdigest())
    child = stored_model(lake, made, b"child", initial_weights=file)
    assert [one.digest for one in licences_learnt(lake, child.digest, RULES)] == [child.digest, parent.digest]
    published = StartingWeights(key="weights/x/published.pt", sha256="0" * 64)
    stranger = stored_model(lake, made, b"stranger", initial_weights=published)
    assert [one.digest for one in licences_learnt(lake, stranger.digest, RULES)] == [stranger.digest]


@pytest.mark.parametrize(
    ("init", "sentence"),
    [
        ("weights/theirs.pt", "CC BY-NC 4.0, of the weights theirs.pt"),
        ("pretrained", "CC BY-NC 4.0, of the weights theirs.pt"),
        ("imagenet", "for research only, of the weights their-backbone"),
        ("scratch", None),
        ("weights/mine.pt", None),
    ],
)
def test_published_weights_have_a_licence_too(init: str, sentence: str | None, tmp_path: Path) -> None:
    published = Pretrained("theirs.pt", "https://theirs.example/theirs.pt", 1, "CC BY-NC 4.0")
    family = dataclasses.replace(
        BUILT_IN[0],
        name="theirs",
        pretrained=published,
        imagenet="their-backbone",
        imagenet_licence="for research only",
    )
    register(family)
    try:
        lake = Lake.open(tmp_path)
        recipe = {"detector": "theirs", "init": init}
        model = stored_model(lake, photographs_and_labels(lake, 3), detector="theirs", recipe=recipe)
        why = non_commercial(lake, model.digest, RULES)
    finally:
        unregister("theirs")
    assert why == (sentence and f"it learnt from what may not be used commercially: {sentence}")
