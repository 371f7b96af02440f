"""lake/class_names.py: a class id keeps the name that labels were drawn under, whatever the policy's order is later."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets.data.datasets.dataset import build_dataset
from carsdepo_assets.data.imports.import_refusals import ImportRefused
from carsdepo_assets.data.imports.importing import import_folder
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.experiments.study.data_checks import check_data
from carsdepo_assets.experiments.study.errors import StudyError
from carsdepo_assets.lake.class_names import ClassNamesChanged, LabelledClasses, check_class_names
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.policy import Policy
from carsdepo_assets.training.train_detector import fit
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import RULES, car, close_labels, dataset, label, upload

SCRATCH, DENT, THIRD = "0 0.5 0.5 0.25 0.5\n", "1 0.25 0.25 0.25 0.25\n", "2 0.5 0.5 0.25 0.25\n"
MEANING = r"class id 0 is dent in the policy, and the labels in .* mean scratch by it.*names = \['scratch', 'dent'\]"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.open(tmp_path / "lake")
    upload(lake, {"a.jpg": car(1), "b.jpg": car(2)})
    label(lake, {"a.txt": SCRATCH, "b.txt": SCRATCH})
    return lake


def named(*names: str) -> Policy:
    return RULES.model_copy(update={"class_map": RULES.class_map.model_copy(update={"names": names, "version": 2})})


def test_names_in_another_order_stop_every_step_that_rests_on_labels(lake: Lake, tmp_path: Path) -> None:
    built, other = dataset(lake), named("dent", "scratch")
    batch = close_labels(lake, {"a.txt": DENT})
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "c.jpg").write_bytes(car(3))
    with pytest.raises(ClassNamesChanged, match=MEANING):
        ingest_labels(lake, batch, other, NOW)
    assert not lake.committed("annotations", batch)
    with pytest.raises(ClassNamesChanged, match=MEANING):
        build_dataset(lake, other, NOW)
    with pytest.raises(ImportRefused, match=MEANING):
        import_folder(lake, folder, "auto", {}, other, NOW)
    with pytest.raises(StudyError, match=MEANING):
        check_data(lake, built.version, built.manifest, other)
    with pytest.raises(ClassNamesChanged, match=MEANING):
        fit(lake, built.version, Recipe(detector="yolov8n"), other, tmp_path / "out", lambda row: None)
    assert ingest_labels(lake, batch, RULES, NOW).rows["boxes"].to_pylist()[0][0]["class_id"] == 1


def test_before_the_first_dataset_too(lake: Lake) -> None:
    with pytest.raises(ClassNamesChanged, match=MEANING):
        build_dataset(lake, named("dent", "scratch"), NOW)


def test_a_lake_of_before_knows_them_from_its_newest_dataset(lake: Lake) -> None:
    assert lake.root is not None
    dataset(lake)
    (lake.root / LabelledClasses.KEY).unlink()
    with pytest.raises(ClassNamesChanged, match=MEANING):
        check_class_names(lake, named("dent", "scratch").class_map)
    dataset(lake)
    assert LabelledClasses.read(lake) == LabelledClasses(names=("scratch", "dent"))


def test_new_names_behind_the_others_are_kept_and_cannot_be_taken_away_once_labelled(lake: Lake) -> None:
    grown = named("scratch", "dent", "hole")
    build_dataset(lake, grown, NOW)
    assert LabelledClasses.read(lake) == LabelledClasses(names=("scratch", "dent", "hole"))
    build_dataset(lake, RULES, NOW)  # no label has it yet
    upload(lake, {"more/c.jpg": car(3)})
    lake.put("raw/labels/more/classes.txt", b"scratch\ndent\nhole\n")
    ingest_labels(lake, close_labels(lake, {"more/c.txt": THIRD}), grown, NOW)
    with pytest.raises(ClassNamesChanged, match=r"class id 2 is not in the policy, .* mean hole by it"):
        build_dataset(lake, RULES, NOW)


def test_a_class_that_no_label_has_may_be_renamed(lake: Lake) -> None:
    dataset(lake)
    build_dataset(lake, named("scratch", "bump"), NOW)
    assert LabelledClasses.read(lake) == LabelledClasses(names=("scratch", "bump"))
    with pytest.raises(ClassNamesChanged, match="class id 0 is bump in the policy"):
        check_class_names(lake, named("bump", "scratch").class_map)


def test_damaged_names_are_named(lake: Lake) -> None:
    lake.put(LabelledClasses.KEY, b"{}")
    with pytest.raises(LakeError, match=r"class_map/names\.json in .* is damaged \(names: Field required\)"):
        dataset(lake)
