"""What the names of folders say: which hold photographs, which hold labels, which are a split of the export.

Tools name them differently (`images/` and `labels/`, `JPEGImages/` and `Annotations/`, `train_images/`, `labels_v2/`);
what they mean is read from their words.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

_PHOTOGRAPHS = {
    "image", "images", "img", "imgs", "jpegimages", "photo", "photos", "photograph", "photographs", "picture",
    "pictures", "pic", "pics", "foto", "fotos", "bilder", "jpg", "jpgs", "jpeg", "jpegs", "png", "pngs",
}  # fmt: skip
_LABELS = {
    "label", "labels", "annotation", "annotations", "annot", "annots", "anno", "annos", "ann", "anns", "bbox",
    "bboxes", "gt", "groundtruth", "xml", "xmls", "txt", "txts", "json", "jsons", "yolo", "voc", "coco", "labelme",
    "etiquetas", "etiquettes",
}  # fmt: skip
_MASKS = {"mask", "masks", "segmentationclass", "segmentationobject", "segmentations"}
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""The split by what tools call it."""
_SPLITS = SPLIT_NAMES | {"trainval": "train"}  # of a folder; a list trainval.txt repeats train.txt and val.txt
# Of a folder's name, words that tell one state of the work from another and not one photograph from another.
_VERSIONS = re.compile(r"v|ver|version|new|old|final|fixed|corrected|done|out|output|export|data|dataset|set")
_REMEMBERED = 4096  # names of folders: a million files lie in few
_NUMBERED = re.compile(r"v|ver|version")


@dataclass(frozen=True)
class Place:
    """Where in a dataset a file lies, whatever the folders are called that hold photographs and labels apart."""

    folders: tuple[str, ...]
    """The other folders, in small letters."""
    splits: tuple[str, ...]
    """Which of train, val and test are among them."""


def folded(name: str) -> str:
    """A file name without capitals and with its accents in one form: what makes a photograph's and a label's the same.

    macOS writes accents as letters of their own, other systems as part of the letter.
    """
    return unicodedata.normalize("NFC", name).casefold()


@lru_cache(_REMEMBERED)
def words(folder: str) -> tuple[str, ...]:
    """The words of a folder's name, in small letters: of `labels_v2` labels, v; of `trainImages` train, images."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", folder)
    return tuple(re.findall(r"[^\W\d_]+", folded(apart)))


def is_for_photographs(folder: str) -> bool:
    """Whether a folder's name says that photographs lie in it."""
    return not _PHOTOGRAPHS.isdisjoint(words(folder))


def is_for_labels(folder: str) -> bool:
    """Whether a folder's name says that labels lie in it."""
    return not _LABELS.isdisjoint(words(folder))


def is_for_masks(folder: str) -> bool:
    """Whether a folder's name says that masks lie in it: pictures that are no photographs."""
    return not _MASKS.isdisjoint([*words(folder), folded(folder)])


@lru_cache(_REMEMBERED)
def split_of(folder: str) -> str | None:
    """train, val or test, where a folder's name says so: of `valid` val, of `train2017` and `train_images` train."""
    named = {_SPLITS[part] for part in words(folder) if part in _SPLITS}
    rest = [part for part in words(folder) if part not in _SPLITS and part not in _PHOTOGRAPHS | _LABELS]
    return named.pop() if len(named) == 1 and not any(not _VERSIONS.fullmatch(part) for part in rest) else None


def place_of(path: str) -> Place:
    """The place of a photograph or label file in its dataset."""
    return _place(path.rpartition("/")[0])


@lru_cache(_REMEMBERED)
def _place(parent: str) -> Place:
    folders: list[str] = []
    splits: list[str] = []
    for folder in PurePosixPath(parent).parts:
        split = split_of(folder)
        if split is not None:
            splits.append(split)
            folders.append(split)
        elif not (is_for_photographs(folder) or is_for_labels(folder)):
            folders.append(folded(folder))
        elif rest := _beyond(folder, _PHOTOGRAPHS | _LABELS):
            folders.append(rest)
    return Place(tuple(folders), tuple(splits))


def kept_path(path: str, for_labels: bool = False) -> str:
    """A file's path below its import's folder in raw/: that of its photograph, whatever its own folder is called.

    A folder whose whole name says that photographs (or labels) lie in it is left out: images/train/a.jpg and
    labels/train/a.txt both lie at train/a. Of a name that also says the split, the split is left.

    Args:
        path: relative to the imported folder.
        for_labels: of a label file; a folder for labels is left out before one for photographs.
    """
    parent, slash, name = path.rpartition("/")
    kept = _kept(parent, for_labels) if slash else ""
    return f"{kept}/{name}" if kept else name


@lru_cache(_REMEMBERED)
def _kept(parent: str, for_labels: bool) -> str:
    parts = list(PurePosixPath(parent).parts)
    folders = list(enumerate(parts))
    for vocabulary in (_LABELS, _PHOTOGRAPHS) if for_labels else (_PHOTOGRAPHS,):
        for i, folder in reversed(folders) if vocabulary is _LABELS else folders:
            if vocabulary.isdisjoint(words(folder)):
                continue
            split = split_of(folder)
            if split is not None:
                return "/".join([*parts[:i], split, *parts[i + 1 :]])
            if not _beyond(folder, vocabulary):
                return "/".join([*parts[:i], *parts[i + 1 :]])
    return "/".join(parts)


def _beyond(folder: str, vocabulary: set[str]) -> str:
    """What a folder's name says besides: of `image_2` 2, of `front_images` front, of `labels_v2` nothing."""
    rest = [part for part in words(folder) if part not in vocabulary]
    numbers = [] if any(_NUMBERED.fullmatch(part) for part in rest) else re.findall(r"\d+", folder)
    return "_".join([*(part for part in rest if not _VERSIONS.fullmatch(part)), *numbers])
