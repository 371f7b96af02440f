"""data/exports/writers/: what a writer writes, the reader of its format reads: boxes, classes, clean and unlabelled."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carsdepo_assets.data.exports.export_names import exported_stems
from carsdepo_assets.data.exports.writers import (
    EXPORT_FORMATS,
    WRITERS,
    ExportedDataset,
    ExportedPhotograph,
    ExportFormat,
)
from carsdepo_assets.data.folders.photograph_names import composed, wanted_names
from carsdepo_assets.data.labels.formats import fit, read_document, recognise
from carsdepo_assets.data.labels.formats.documents import ClassTargets, LabelDocument

AT = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
# Formats whose file names say nothing of labels.
_NO_LABELS = {"data.yaml", "labelmap.txt", "labels.txt", "label_config.xml"}


def _edges(side: int) -> st.SearchStrategy[tuple[float, float]]:
    """Two edges in pixels, to the decimals that the lake keeps, at least a pixel apart."""
    whole = side * 10_000
    low = st.integers(0, whole - 10_000)
    return low.flatmap(lambda a: st.integers(a + 10_000, whole).map(lambda b: (a / 10_000, b / 10_000)))


@st.composite
def photographs(draw: st.DrawFn, stem: str, class_count: int) -> ExportedPhotograph:
    width, height = draw(st.integers(32, 12_000)), draw(st.integers(32, 12_000))
    box = st.tuples(st.integers(0, class_count - 1), _edges(width), _edges(height))
    drawn = draw(st.lists(box, max_size=4, unique=True))
    boxes = tuple((c, (xs[0], ys[0], xs[1], ys[1])) for c, xs, ys in drawn)
    split = draw(st.sampled_from(["train", "val", "test", "test_pool", "excluded"]))
    reviewed = bool(boxes) or draw(st.booleans())
    group = draw(st.sampled_from(["g1", "007", "a b", None]))
    return ExportedPhotograph(f"{stem}.jpg", "ab" * 32, split, width, height, boxes, group, reviewed)


_LETTERS = st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp", "Cn"))
_UPLOADED = st.text(_LETTERS, min_size=1, max_size=12) | st.sampled_from(
    ["a b", "100%25", "R&D <1>", "it's", 'a"b', "日本", "é", "e\u0301", "front.side", "a+b=c", "x#1", "..", " a "]
)
_CLASS_NAMES = st.sampled_from(
    [("scratch", "dent"), ("Kratzer & Delle",), ("a b", "ä", "0"), ("dent", "scratch", "glass <1>")]
)


@st.composite
def exported(draw: st.DrawFn) -> ExportedDataset:
    names = draw(_CLASS_NAMES)
    uploads = draw(st.lists(_UPLOADED, min_size=1, max_size=5))
    stems = exported_stems({f"{n:064x}": f"raw/uploads/x/{name}.jpg" for n, name in enumerate(uploads)})
    written = tuple(draw(photographs(stem, len(names))) for stem in stems.values())
    return ExportedDataset("0123456789abcdef", names, written, AT)


def _read_back(format: ExportFormat, dataset: ExportedDataset) -> dict[str, list[Any] | None]:
    """Boxes by stem as the lake would have them; None where the files say that nobody finished the photograph."""
    sizes = {p.stem: (p.width, p.height) for p in dataset.photographs}
    read: dict[str, list[Any] | None] = {}
    for path, data in WRITERS[format].write(dataset):
        if path in _NO_LABELS or path.startswith("ImageSets/"):
            continue
        name = PurePosixPath(path).name
        recognised = recognise(name, data)
        assert recognised is not None, path
        document = read_document(recognised, path, data)
        assert not document.problems
        targets = _targets(document, dataset)
        for labelled in document.photographs:
            stem = _stem(labelled.file_name, sizes)
            assert stem not in read
            parsed = fit(labelled, *sizes[stem], targets, min_box_px=0.5)
            assert not parsed.problems, parsed.problems
            read[stem] = sorted(parsed.boxes) if parsed.reviewed else None  # type: ignore[type-var]
    return {stem: boxes for stem, boxes in read.items() if boxes is not None}


_WITH_GROUP = {"labelstudio", "datumaro", "groundtruth"}


@pytest.mark.parametrize("format", [*sorted(_WITH_GROUP), "cvat"])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(dataset=exported())
def test_splits_and_groups_come_back_where_the_format_has_a_field(
    format: ExportFormat, dataset: ExportedDataset
) -> None:
    wanted = {p.stem: (p.split, p.group if format in _WITH_GROUP else None) for p in dataset.photographs}
    read = {}
    for path, data in WRITERS[format].write(dataset):
        if path not in _NO_LABELS:
            for labelled in read_document(format, path, data).photographs:
                read[_stem(labelled.file_name, wanted)] = labelled.split, labelled.group
    assert read.items() <= wanted.items()
    assert read or not any(p.reviewed for p in dataset.photographs)


def _targets(document: LabelDocument, dataset: ExportedDataset) -> ClassTargets:
    """Of YOLO the ids of data.yaml; else the name that the document gives."""
    if not document.class_names:
        return {str(i): i for i in range(len(dataset.class_names))}
    return {source: dataset.class_names.index(name) for source, name in document.class_names.items()}


def _stem(file_name: str, sizes: Mapping[str, Any]) -> str:
    """The stem of the photograph that a file names, as the lake finds it. YOLO's file names have no suffix."""
    stems = {composed(stem): stem for stem in sizes}
    name = composed(PurePosixPath(file_name).name)
    if name in stems:
        return stems[name]
    names = [wanted.name.removesuffix(".jpg") for wanted in wanted_names(file_name, PurePosixPath("x"))]
    return next(stems[name] for name in names if name in stems)


@pytest.mark.parametrize("format", EXPORT_FORMATS)
@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(dataset=exported())
@pytest.mark.slow
def test_what_is_written_is_read(format: ExportFormat, dataset: ExportedDataset) -> None:
    wanted = {p.stem: sorted(p.boxes) for p in dataset.photographs if p.reviewed}
    assert _read_back(format, dataset) == wanted
