"""data/folders/augmented_copies.py: copies of one photograph are known by what Roboflow calls them, within one
import."""

from __future__ import annotations

import pytest

from carsdepo_assets.data.folders.augmented_copies import source_of, sources

HASH = "f2b1c0de" * 4


@pytest.mark.parametrize(
    ("key", "source"),
    [
        (f"raw/uploads/rf/IMG_1_jpg.rf.{HASH}.jpg", "rf/img_1"),
        ("raw/uploads/rf/IMG_1_jpg.rf.2.jpg", "rf/img_1"),
        (f"raw/uploads/rf/train/IMG_1_png.rf.{HASH}.jpg", "rf/img_1"),
        (f"raw/uploads/rf/valid/img_1-jpg.rf.{HASH}.jpg", "rf/img_1"),
        (f"raw/uploads/rf/IMG_1_JPG.rf.{HASH}.JPG", "rf/img_1"),
        ("raw/uploads/rf/IMG_1_jpeg.rf.AbCdEf0123456789GhIj.jpg", "rf/img_1"),
        (f"raw/uploads/rf/IMG_1.rf.{HASH}.jpg", "rf/img_1"),
        (f"raw/uploads/rf/IMG_1_jpg.rf.{HASH}_jpg.rf.{HASH}.jpg", "rf/img_1"),
        (f"raw/uploads/other/IMG_1_jpg.rf.{HASH}.jpg", "other/img_1"),
        (f"raw/uploads/IMG_1_jpg.rf.{HASH}.jpg", "/img_1"),
        (f"raw/uploads/rf/clip_mp4-12_jpg.rf.{HASH}.jpg", "rf/clip_mp4-12"),
        ("raw/uploads/rf/IMG_1.jpg", None),
        ("raw/uploads/rf/IMG_1_aug1.jpg", None),
        ("raw/uploads/rf/IMG (1).jpg", None),
        ("raw/uploads/rf/car.rf.2.jpg", None),
        ("raw/uploads/rf/surf.rfid_jpg.jpg", None),
    ],
)
def test_the_source_of_a_copy_is_in_its_name(key: str, source: str | None) -> None:
    assert source_of(key) == source


def test_the_source_itself_is_one_of_its_copies() -> None:
    copy, plain, other = (
        f"raw/uploads/rf/a_jpg.rf.{HASH}.jpg",
        "raw/uploads/rf/sub/A.jpg",
        "raw/uploads/elsewhere/a.jpg",
    )
    assert sources([copy, plain, other]) == {copy: "rf/a", plain: "rf/a"}
    assert sources([plain, other]) == {}
