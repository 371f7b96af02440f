"""data/folders/photograph_names.py, data/labels/labelled_photographs.py: by which names a label file's photograph is
known."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath
from typing import Literal

import pyarrow as pa
import pytest

from carsdepo_assets.data.folders.photograph_names import RowsOfStems, stem_key
from carsdepo_assets.data.labels.formats.parsed import Problem
from carsdepo_assets.data.labels.labelled_photographs import Photographs, StoredPhotograph, wanted_stems

UPLOADED = [
    "cars/front.jpg", "cars/train/side.jpg", "cars/valid/side.jpg", "cars/train/back.JPG", "cars/a b.jpg",
    "cars/café.jpg", "cars/pair.jpg", "cars/pair.png", "cars/IMG.2020.jpg", "cars/0a1b2c3d-kept.jpg",
    "cars/p/twice.jpg", "cars/q/twice.jpg", "cars/train/only.jpg", "others/elsewhere.jpg",
]  # fmt: skip


def photographs(*uploaded: str) -> Photographs:
    """Each path is a photograph of its own, whose id is the path."""
    stored = {path: StoredPhotograph(path, 10, 10, 1) for path in uploaded}
    return Photographs(
        stored, {PurePosixPath(path): path for path in uploaded}, {PurePosixPath("cars/bad.jpg"): "empty"}
    )


def reached(name: str, folder: str, uploaded: tuple[str, ...] = tuple(UPLOADED)) -> str:
    """The path that a name leads to, or the reason why there is none; only wanted photographs are there to be found."""
    stems = wanted_stems(name, PurePosixPath(folder))
    image_id = photographs(*(p for p in uploaded if stem_key(p) in stems)).named(name, PurePosixPath(folder))
    return image_id.reason if isinstance(image_id, Problem) else image_id


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("front.jpg", "cars/front.jpg"),
        ("FRONT.JPG", "cars/front.jpg"),
        ("front.jpeg", "cars/front.jpg"),
        ("front", "cars/front.jpg"),
        ("./images/front.jpg", "cars/front.jpg"),
        ("..\\images\\front.jpg", "cars/front.jpg"),
        ("C:\\Users\\me\\cars\\images\\front.jpg", "cars/front.jpg"),
        ("/home/me/cars/front.jpg", "cars/front.jpg"),
        ("file:///home/me/cars/front.jpg", "cars/front.jpg"),
        ("s3://bucket/cars/front.jpg", "cars/front.jpg"),
        ("https://x.org/a/front.jpg?X-Amz-Signature=1%2F2", "cars/front.jpg"),
        ("/data/upload/1/0a1b2c3d-front.jpg", "cars/front.jpg"),
        ("/data/local-files/?d=cars/front.jpg", "cars/front.jpg"),
        ("/data/local-files/?d=cars%2Ffront.jpg", "cars/front.jpg"),
        ("0a1b2c3d-kept.jpg", "cars/0a1b2c3d-kept.jpg"),
        ("0000000a-front.jpg", "cars/front.jpg"),
        ("20240101-front.jpg", "no_photograph"),  # a date
        ("images/20240101-front.jpg", "no_photograph"),
        ("20240101-front", "no_photograph"),
        ("/data/upload/1/20240101-front.jpg", "cars/front.jpg"),  # a UUID whose first digits are decimal ones
        ("/data/upload/1/0a1b2c3d-20240101-front.jpg", "no_photograph"),
        ("0a1b2c3d-.jpg", "no_photograph"),
        ("kept.jpg", "no_photograph"),
        ("back.jpg", "cars/train/back.JPG"),
        ("a%20b.jpg", "cars/a b.jpg"),
        ("caf%C3%A9.jpg", "cars/café.jpg"),
        (unicodedata.normalize("NFD", "café.jpg"), "cars/café.jpg"),
        ("IMG.2020.jpg", "cars/IMG.2020.jpg"),
        ("IMG.2020", "cars/IMG.2020.jpg"),
        ("pair.png", "cars/pair.png"),
        ("pair.PNG", "cars/pair.png"),
        ("pair.jpg", "cars/pair.jpg"),
        ("pair.webp", "ambiguous_photograph"),
        ("train/side.jpg", "cars/train/side.jpg"),
        ("/x/valid/images/side.jpg", "cars/valid/side.jpg"),
        ("side.jpg", "ambiguous_photograph"),
        ("q/twice.jpg", "cars/q/twice.jpg"),
        ("twice.jpg", "ambiguous_photograph"),
        ("only.jpg", "cars/train/only.jpg"),
        ("validation/only.jpg", "no_photograph"),  # that of another split
        ("elsewhere.jpg", "no_photograph"),  # another import's
        ("bad.jpg", "no_photograph"),
        ("data:image/png;base64,iVBORw0KGgo=", "no_photograph"),
        ("../..", "no_photograph"),
        ("\0.jpg", "no_photograph"),
        ("http://[bad?d=x", "no_photograph"),
    ],
)
def test_where_a_name_leads(name: str, path: str) -> None:
    assert reached(name, "cars") == path


def test_accents_in_two_forms_are_one_name_on_both_sides() -> None:
    stored = unicodedata.normalize("NFD", "cars/café.jpg")
    assert reached("café.jpg", "cars", (stored,)) == stored


@pytest.mark.parametrize(
    "name", ["café", "caf\u0065\u0301", "か\u3099", "가", "\u1112\u1161\u11ab", "Å", "ᾳ", "Straße"]
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_keys_are_found_in_either_form_of_their_accents(name: str, form: Literal["NFC", "NFD"]) -> None:
    keys = [f"raw/uploads/cars/{unicodedata.normalize(form, one)}.jpg" for one in (name, name.upper())]
    rows = pa.table({"key": [*keys, "raw/uploads/cars/other.jpg"]})
    assert set(RowsOfStems({stem_key(name)})(rows)["key"].to_pylist()) == set(keys)


@pytest.mark.parametrize(
    ("stem", "path"),
    [
        ("cars/front", "cars/front.jpg"),
        ("cars/Front", "cars/front.jpg"),
        ("cars/a%20b", "cars/a b.jpg"),
        ("cars/0a1b2c3d-front", "cars/front.jpg"),
        ("cars/0a1b2c3d-kept", "cars/0a1b2c3d-kept.jpg"),
        ("cars/20240101-front", "no_photograph"),
        (unicodedata.normalize("NFD", "cars/café"), "cars/café.jpg"),
        ("cars/IMG.2020", "cars/IMG.2020.jpg"),
        ("cars/pair", "ambiguous_photograph"),
        ("cars/side", "no_photograph"),
        ("front", "no_photograph"),
    ],
)
def test_where_a_path_without_suffix_leads(stem: str, path: str) -> None:
    image_id = photographs(*UPLOADED).at(stem)
    assert (image_id.reason if isinstance(image_id, Problem) else image_id) == path


def test_capitals_alone_make_another_photograph_only_where_both_are_there() -> None:
    both = photographs("x/a.jpg", "x/A.jpg")
    assert both.at("x/A") == "x/A.jpg"
    assert both.named("a.jpg", PurePosixPath("x")) == "x/a.jpg"


@pytest.mark.parametrize("name", ["x" * 1_000_000 + ".jpg", "a/" * 500_000 + "front.jpg", "é" * 5000, "x" * 5000])
def test_a_name_longer_than_any_path_is_none(name: str) -> None:
    assert (reached(name, "cars"), wanted_stems(name, PurePosixPath("cars"))) == ("no_photograph", set())


def test_a_refused_photograph_is_named_as_the_reason() -> None:
    for problem in (photographs().at("cars/bad"), photographs().named("bad.jpg", PurePosixPath("cars"))):
        assert isinstance(problem, Problem)
        assert "in quarantine itself: empty" in problem.detail
