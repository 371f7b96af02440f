"""data/folders/class_names.py: the names of classes are found in what tools write, or the folder is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carsdepo_assets.data.folders.class_names import ClassNamesError, find_class_names

LIST = "dent\nscratch\n"
YAML = "names: [dent, scratch]\n"
NOTES = json.dumps({"categories": [{"id": 1, "name": "scratch"}, {"id": 0, "name": "dent"}], "info": {}})
DENT_FIRST = {"0": "dent", "1": "scratch"}


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


@pytest.mark.parametrize(
    "files",
    [
        {"data.yaml": YAML},
        {"data.YAML": YAML},
        {"damage-2024.yaml": YAML},
        {"data.yml": "names:\n  0: dent\n  1: scratch\n"},
        {"classes.txt": LIST},
        {"Classes.txt": "dent \n scratch"},
        {"obj.names": LIST},
        {"train/_darknet.labels": LIST},
        {"notes.json": NOTES},
        {"predefined_classes.txt": LIST},
        {"labels/classes.txt": LIST},
        {"labels/train/classes.txt": LIST},
        {"valid/labels/classes.txt": LIST},
        {"obj_train_data/classes.txt": LIST},
        {"classes.txt": "\ufeffdent\r\nscratch\r\n"},
        {"classes.txt": LIST.encode("utf-16")},
        {"classes.txt": LIST.encode("utf-16-le")},
        {"classes.txt": LIST.encode("utf-16-be")},
        {"data.yaml": YAML.encode("utf-16")},
        {"classes.txt": LIST, "data.yaml": "names: [Dent, ' scratch ', rust]", "hyp.yaml": "lr0: 0.01"},
        {"classes.txt": LIST, "broken.yaml": "a: [", "docker-compose.yml": "services: {a: {}}"},
    ],
)
def test_where_tools_write_them(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    found_names = find_class_names(write(tmp_path / "cars", files))
    assert found_names is not None
    assert {i: found_names.by_id[i].casefold() for i in ("0", "1")} == DENT_FIRST
    assert any(name in found_names.origin for name in files)


@pytest.mark.parametrize("file", ["data.yaml", "classes.txt", "obj.names", "cars.yaml", "notes.json"])
def test_the_folder_above_counts_where_the_folder_has_none(tmp_path: Path, file: str) -> None:
    text = {"data.yaml": YAML, "cars.yaml": YAML, "notes.json": NOTES}.get(file, LIST)
    write(tmp_path, {file: text, "other.yaml": "names: [rust]"})
    above = find_class_names(write(tmp_path / "cars", {"labels/a.txt": ""}))
    assert above is not None
    assert above.by_id == DENT_FIRST
    own = find_class_names(write(tmp_path / "cars", {"classes.txt": "scratch\ndent\n"}))
    assert own is not None
    assert own.by_id == {"0": "scratch", "1": "dent"}


def test_latin_letters_of_windows(tmp_path: Path) -> None:
    found_names = find_class_names(write(tmp_path / "cars", {"classes.txt": "kratzer\nbeule-ä\n".encode("cp1252")}))
    assert found_names is not None
    assert found_names.by_id == {"0": "kratzer", "1": "beule-ä"}


def test_a_blank_line_keeps_its_number(tmp_path: Path) -> None:
    found_names = find_class_names(write(tmp_path / "cars", {"classes.txt": "dent\n\nscratch\n\n"}))
    assert found_names is not None
    assert found_names.by_id == {"0": "dent", "2": "scratch"}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"classes.txt": LIST, "labels/classes.txt": "scratch\ndent\n"},
            "disagree: class 0 is dent in one and scratch",
        ),
        ({"data.yaml": YAML, "train/obj.names": "rust\nscratch"}, "disagree: class 0 is dent in one and rust"),
        ({"classes.txt": b"\x81\x8d\xff"}, "classes.txt: neither UTF-8 nor UTF-16 nor cp1252"),
        ({"notes.json": "{}"}, "notes.json: not Label Studio's list of categories"),
        ({"notes.json": '{"categories": [1]}'}, "notes.json: not Label Studio's list of categories"),
        ({"notes.json": '{"categories": [{"id": Infinity, "name": "dent"}]}'}, "notes.json: not Label Studio's list"),
        ({"data.yaml": "names: ["}, "data.yaml: not YAML"),
        ({"data.yaml": "[" * 20000}, "data.yaml: nested too deeply"),
    ],
)
def test_what_cannot_be_read_or_disagrees_is_named(tmp_path: Path, files: dict[str, str | bytes], words: str) -> None:
    with pytest.raises(ClassNamesError) as refused:
        find_class_names(write(tmp_path / "cars", files))
    assert words in str(refused.value)


def test_no_names(tmp_path: Path) -> None:
    assert find_class_names(write(tmp_path / "cars", {"labels/a.txt": "0 0 0 0 0", "mkdocs.yml": "nav: []"})) is None


@pytest.mark.parametrize(
    "files",
    [
        {"data.yaml": "names: {scratch: 0, dent: 1}"},
        {"data.yaml": "names: scratch, dent"},
        {"data.yaml": "names: {'00': scratch, '01': dent}"},
        {"classes.txt": "scratch, dent\n"},
    ],
)
def test_other_ways_of_writing_names(tmp_path: Path, files: dict[str, str | bytes]) -> None:
    names = find_class_names(write(tmp_path, files))
    assert names is not None
    assert names.by_id == {"0": "scratch", "1": "dent"}


def test_a_few_bytes_do_not_become_a_name_of_millions(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    with pytest.raises(ClassNamesError, match="is no text"):
        find_class_names(write(tmp_path, {"data.yaml": "\n".join([*lines, "names: [*a8]"])}))
