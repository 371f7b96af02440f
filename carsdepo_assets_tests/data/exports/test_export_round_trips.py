"""data/exports/exporting.py, data/datasets/declared_splits.py: a dataset that goes out in any format and into an empty
lake has the same content, splits and groups."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from carsdepo_assets.data.batches.batches import list_batches, plan_batches
from carsdepo_assets.data.datasets.declared_splits import declared_of
from carsdepo_assets.data.exports.exporting import export_dataset
from carsdepo_assets.data.exports.writers import EXPORT_FORMATS, ExportFormat
from carsdepo_assets.data.imports.importing import import_folder
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.photographs.ingest import build_images, build_processed, ingest_uploads
from carsdepo_assets.data.photographs.metadata_corrections import correct_metadata
from carsdepo_assets.lake.image_metadata import read_images
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import RULES, car, dataset, label, turned, upload

pytestmark = pytest.mark.slow

PHOTOGRAPHS = {
    "front left.jpg": car(1),
    "R&D 100%25.jpg": car(2),
    "日本 é.jpg": car(3),
    "sub/front left.jpg": turned(4),
}
GROUPS = {"front left.jpg": "a", "R&D 100%25.jpg": "a", "日本 é.jpg": "b", "sub/front left.jpg": "c"}
LABELS = {
    "front left.txt": "0 0.5 0.5 0.3333333 0.25\n1 0.95 0.95 0.1 0.1\n",
    "R&D 100%25.txt": "",
    "日本 é.txt": "1 0.51234567 0.4 0.2 0.1\n",
    "sub/front left.txt": "0 0.25 0.25 0.5 0.5\n",
}
_NO_LABELS = {"README.md", "provenance.json", "manifest.csv", "labelmap.txt", "labels.txt", "label_config.xml"}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Four photographs of three cars: two with the same name, one clean, one that EXIF turns."""
    lake = Lake.open(tmp_path_factory.mktemp("lake"))
    upload(lake, PHOTOGRAPHS, GROUPS)
    label(lake, LABELS)
    return lake


def dropped(folder: Path, lake: Lake) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The photographs and the label files of an export, by where an import puts them below raw/."""
    photographs, labels = {}, {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        relative = PurePosixPath(file.relative_to(folder).as_posix())
        path = str(PurePosixPath("theirs", *(part for part in relative.parts if part not in ("images", "labels"))))
        if file.suffix == ".jpg":
            photographs[path] = file.read_bytes()
        elif relative.name == "data.yaml":
            lake.put(f"raw/labels/{path}", file.read_bytes())
        elif relative.name not in _NO_LABELS and "ImageSets" not in relative.parts:
            labels[path] = file.read_bytes()
    return photographs, labels


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_it_comes_back_the_same(filled: Lake, tmp_path: Path, format: ExportFormat) -> None:
    before = dataset(filled)
    export_dataset(filled, before.version, format, tmp_path / "out", policy=RULES, now=NOW, pixels="original")
    other = Lake.open(tmp_path / "other")
    photographs, labels = dropped(tmp_path / "out", other)
    other.put("raw/uploads/theirs/manifest.csv", (tmp_path / "out" / "manifest.csv").read_bytes())
    upload(other, photographs)
    assert label(other, labels).quarantined.num_rows == 0
    after = dataset(other)
    assert after.summary["content_digest"] == before.summary["content_digest"]
    boxes = [dict(zip(d.manifest["image_id"].to_pylist(), d.manifest["boxes"].to_pylist())) for d in (before, after)]  # noqa: B905
    assert boxes[0] == boxes[1]  # to the last decimal, which the digest does not ask for
    assert len(set(after.manifest["group_id"].to_pylist())) == 3


_OWN_SPLITS = {"front left.jpg": "train", "R&D 100%25.jpg": "train", "日本 é.jpg": "val", "sub/front left.jpg": "test"}


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The same photographs with a split that they came with."""
    folder = tmp_path_factory.mktemp("split")
    for name, data in PHOTOGRAPHS.items():
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / name).write_bytes(data)
    for name, text in LABELS.items():
        (folder / "in" / name).write_text(text)
    rows = "".join(f"{name},{GROUPS[name]},{split}\n" for name, split in _OWN_SPLITS.items())
    (folder / "in" / "manifest.csv").write_text(f"file,group,split\n{rows}")
    return imported(folder, "in", classes="scratch,dent")


def imported(folder: Path, name: str, classes: str | None = None) -> Lake:
    """A lake with a folder that was imported."""
    lake = Lake.open(folder / f"lake-{name}")
    import_folder(lake, folder / name, "auto", {}, RULES, NOW, classes=classes)
    for batch in list_batches(lake, "uploads"):
        ingest_uploads(lake, batch, RULES)
        build_images(lake, batch, RULES)
        build_processed(lake, batch, RULES)
    plan_batches(lake, "labels", RULES, NOW, close_all=True)
    for batch in list_batches(lake, "labels"):
        ingest_labels(lake, batch, RULES, NOW)
    return lake


def said(lake: Lake) -> tuple[dict[str, str], set[frozenset[str]]]:
    """The declared split by photograph, and which photographs have a group in common."""
    rows = read_images(lake, ["image_id", "group_hint"]).to_pylist()
    groups: dict[str, set[str]] = {}
    for row in rows:
        groups.setdefault(row["group_hint"] or row["image_id"], set()).add(row["image_id"])
    return declared_of(lake, [row["image_id"] for row in rows]), {frozenset(group) for group in groups.values()}


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_splits_and_groups_come_back(split: Lake, tmp_path: Path, format: ExportFormat) -> None:
    version = dataset(split).version
    export_dataset(split, version, format, tmp_path / "out", policy=RULES, now=NOW, pixels="original")
    assert sorted(said(split)[0].values()) == ["test", "train", "train", "val"]
    assert said(imported(tmp_path, "out")) == said(split)


@pytest.mark.parametrize("format", ["labelstudio", "groundtruth", "datumaro"])
def test_splits_and_groups_come_back_by_the_label_files_alone(
    split: Lake, tmp_path: Path, format: ExportFormat
) -> None:
    version = dataset(split).version
    export_dataset(split, version, format, tmp_path / "out", policy=RULES, now=NOW, pixels="original")
    (tmp_path / "out" / "manifest.csv").unlink()
    lake = imported(tmp_path, "out")
    assert said(lake) == said(split)
    assert correct_metadata(lake, NOW).photographs == 0
