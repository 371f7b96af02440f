"""experiments/exploration/selection.py, exploring.py, feature_worker.py: datasets, batches, windows and the whole lake
become a report; what is not there is named.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from carsdepo_assets.experiments.exploration.aggregates import Explored
from carsdepo_assets.experiments.exploration.exploring import explore
from carsdepo_assets.experiments.exploration.feature_worker import EXTRACTOR, sampled
from carsdepo_assets.experiments.exploration.selection import NothingToExplore, Scope, labelled_count, moment, select
from carsdepo_assets.experiments.exploration_assets import exploration
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.photograph_features import append_features, photographs_without, read_features
from carsdepo_assets.resources import LakeResource, PolicyResource
from carsdepo_assets_tests.compute.in_process import in_process
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import RULES, car, dataset, label, upload
from carsdepo_assets_tests.experiments.exploration.explored_lake import photograph, table
from carsdepo_assets_tests.site import example_lake

BOX = "0 0.5 0.5 0.25 0.5\n"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def filled(lake: Lake, n: int, labels: dict[int, str]) -> None:
    upload(lake, {f"web/{i}.jpg": car(i) for i in range(n)}, {f"web/{i}.jpg": f"g{i}" for i in range(n)})
    if labels:
        label(lake, {f"web/{i}.txt": text for i, text in labels.items()})


def page(lake: Lake, scope: Scope) -> tuple[str, dict[str, Any]]:
    found = explore(lake, select(lake, scope, RULES), RULES, NOW)
    return lake.get(found.page).decode(), json.loads(lake.get(found.page.replace(".html", ".json")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("photographs", "labels", "said"),
    [
        (1, {}, ["There is one photograph", "No photograph is labelled"]),
        (1, {0: BOX}, ["There is one photograph", "Only one class has boxes, scratch"]),
        (3, dict.fromkeys(range(3), BOX), ["Only one class has boxes, scratch"]),
        (3, dict.fromkeys(range(3), ""), ["All labels are empty"]),
        (3, {0: BOX}, ["1 of 3 photographs are labelled (33 %)"]),
    ],
)
def test_small_lakes_say_what_they_lack(lake: Lake, photographs: int, labels: dict[int, str], said: list[str]) -> None:
    filled(lake, photographs, labels)
    html, told = page(lake, Scope())
    texts = " ".join(f["text"] for f in told["findings"])
    for text in said:
        assert text in texts
        assert text in html
    assert told["figures"]["photographs"] == photographs
    assert told["title"] == "Exploration: All photographs"


@pytest.mark.slow
def test_a_dataset_with_its_splits_and_features(lake: Lake) -> None:
    filled(lake, 9, dict.fromkeys(range(9), BOX))
    version = dataset(lake).version
    ids = select(lake, Scope(), RULES).photographs["image_id"].to_pylist()
    append_features(lake, EXTRACTOR, ids, np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32))
    html, told = page(lake, Scope(dataset=version))
    assert (told["kind"], told["name"], told["figures"]["leaks"], told["figures"]["mapped"]) == (
        "dataset",
        version,
        0,
        9,
    )
    assert html.count('<a href="/photographs/') > 18
    assert "0 of 9 cars are in two splits" in html
    assert "<script" not in html
    again, _ = page(lake, Scope())  # the newest dataset
    assert again == html


def test_a_batch(lake: Lake) -> None:
    (batch,) = upload(lake, {"web/1.jpg": car(1), "web/2.jpg": car(2)})
    upload(lake, {"app/3.jpg": car(3)})
    chosen = select(lake, Scope(batch=batch), RULES)
    assert chosen.photographs.num_rows == 2
    assert chosen.photographs["source"].to_pylist() == ["web", "web"]
    assert labelled_count(chosen.photographs) == 0


def test_cars_are_known_before_a_first_dataset(lake: Lake) -> None:
    names = [f"web/{i}.jpg" for i in range(5)]
    upload(lake, {name: car(i) for i, name in enumerate(names)}, {names[0]: "g", names[1]: "g", names[2]: "h"})
    label(lake, {f"web/{i}.txt": BOX for i in range(5)})
    photographs = select(lake, Scope(), RULES).photographs
    assert len(set(photographs["group_id"].to_pylist())) == 4  # g, h, and two of which nobody said anything
    (scratch, _) = Explored(lake, photographs, ("scratch", "dent")).classes()
    assert scratch.groups == 4


@pytest.mark.slow
def test_a_window_counts_a_photograph_once_and_shows_the_answers(lake: Lake) -> None:
    at = datetime(2026, 5, 6, 12, tzinfo=UTC)
    shots = example_lake.shots(3)
    for n, start in enumerate((at, at + timedelta(minutes=5), at + timedelta(days=2))):
        example_lake.ingest(lake, example_lake.answered(lake, shots, "d" * 16, 1, prefix=f"r{n}-"), start)
    chosen = select(lake, Scope(start=at, end=at + timedelta(hours=1)), RULES)
    rows = chosen.photographs.to_pylist()
    assert len(rows) == 3
    assert sorted(len(row["predicted"]) for row in rows) == [1, 1, 1]
    assert {row["boxes"] for row in rows} == {None}
    html, told = page(lake, Scope(start=at, end=at + timedelta(hours=1)))
    assert told["figures"]["boxes"] == 3
    assert "the model's answers" in html.replace("&#39;", "'")


@pytest.mark.parametrize(
    ("scope", "error", "said"),
    [
        ({"dataset": "nope"}, NothingToExplore, "There is no dataset 'nope'"),
        ({"batch": "nope"}, NothingToExplore, "Upload batch 'nope' has no photographs"),
        (
            {"start": NOW, "end": NOW + timedelta(hours=1)},
            NothingToExplore,
            "Production answered nothing in the window .*: it has answered nothing yet",
        ),
        ({"start": NOW, "end": NOW}, ValueError, "not after its start"),
        ({"start": NOW}, ValueError, "its start and its end"),
        ({"dataset": "a", "batch": "b"}, ValueError, "one of a dataset, a batch and a window"),
        ({}, NothingToExplore, "has no photographs yet"),
    ],
)
def test_what_is_not_there_is_named(lake: Lake, scope: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        select(lake, Scope(**scope), RULES)


def test_a_time_that_is_none_is_refused() -> None:
    assert moment("2026-05-06") == datetime(2026, 5, 6, tzinfo=UTC)
    with pytest.raises(ValueError, match="'soon' is not an ISO time"):
        moment("soon")
    for text in ("9999-12-31T23:59-14:00", "0001-01-01T00:00+14:00"):
        with pytest.raises(ValueError, match="before or after all years"):
            moment(text)


def test_features_are_measured_once(lake: Lake) -> None:
    ids = [f"{n:064x}" for n in (3, 1, 2)]
    assert photographs_without(lake, EXTRACTOR, ids) == ids
    vectors = np.array([[3, 4], [0, 2], [0, 0]], np.float32)
    append_features(lake, EXTRACTOR, ids, vectors)
    append_features(lake, EXTRACTOR, ids, vectors)
    assert photographs_without(lake, EXTRACTOR, [*ids, "new"]) == ["new"]
    assert photographs_without(lake, "another", ids) == ids
    known, found = read_features(lake, EXTRACTOR)
    assert known == sorted(ids)
    assert found == pytest.approx(np.array([[0, 1], [0, 0], [0.6, 0.8]]), abs=1e-3)
    assert read_features(lake, EXTRACTOR, ["new"])[0] == []


@pytest.mark.slow
def test_the_asset_measures_what_is_new_and_its_check_passes(lake: Lake, tmp_path: Path) -> None:
    filled(lake, 2, {0: BOX})
    resources = {
        "lake": LakeResource(url=lake.url, home=str(tmp_path)),
        "policy": PolicyResource(files=[]),
        "compute": in_process(),
    }

    def materialized(asked: int) -> dict[str, Any]:
        result = dg.materialize([exploration], resources=resources)
        (check,) = result.get_asset_check_evaluations()
        assert check.passed
        assert lake.read("photograph_features").num_rows == asked
        (event,) = result.asset_materializations_for_node("exploration")
        return {name: value.value for name, value in event.metadata.items()}

    told = materialized(2)
    assert (told["photographs"], told["labelled"], told["mapped"]) == (2, 1, 2)
    assert lake.exists(told["report_key"])
    upload(lake, {"web/new.jpg": car(77)})
    materialized(3)
    first, vectors = read_features(lake, EXTRACTOR)
    assert len(first) == 3
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-2)


def test_a_sample_stays_while_the_selection_grows_and_holds_what_can_be_measured() -> None:
    def of(names: str) -> dict[str, str]:
        return sampled(table([photograph(n, picture_key=None if n == "b" else f"objects/{n}.jpg") for n in names]), 2)

    assert of("cbad") == of("cbadef") == {"a": "objects/a.jpg", "c": "objects/c.jpg"}


def test_labels_of_several_annotators_count_as_the_policy_says(lake: Lake) -> None:
    upload(lake, {"web/0.jpg": car(0)})
    for annotator, text in [("anna", BOX), ("ben", "")]:
        record = {"origin": "import:x", "options": {"annotator": annotator, "class_ids": {"0": 0, "1": 1}}}
        label(lake, {"web/0.txt": text}, record)
    excluding = RULES.model_copy(update={"data": RULES.data.model_copy(update={"conflicts": "exclude"})})
    assert select(lake, Scope(), RULES).photographs["boxes"].to_pylist() == [[]]
    assert select(lake, Scope(), excluding).photographs["boxes"].to_pylist() == [None]
