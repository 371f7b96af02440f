"""Mutations of a folder: one seeded change of names, places, bytes or values, as people and their tools make them."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

PHOTOGRAPH_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass
class Folder:
    """A folder before it is written: bytes by path, links by path, and which files were changed."""

    files: dict[str, bytes]
    links: dict[str, str] = field(default_factory=dict)
    """Target by path, as a symbolic link has it."""
    changes: list[str] = field(default_factory=list)
    """What was done, for a person."""
    rewritten: bool = False
    """Whether the bytes of a file that is no photograph changed, or one came twice, so that labels may differ."""

    def move(self, old: str, new: str) -> None:
        """Gives a file another path, unless another file has it."""
        if new != old and new not in self.files and new not in self.links and not self.blocks(new):
            self.files[new] = self.files.pop(old)
            self.changes.append(f"{old!r} is called {new!r}")

    def rewrite(self, path: str, data: bytes) -> None:
        """Gives a file other bytes."""
        if data != self.files[path]:
            self.files[path] = data
            self.changes.append(f"{path!r} has other bytes")
            self.rewritten |= not is_photograph(path)

    def write(self, root: Path) -> None:
        """Writes the folder; what the file system cannot hold is left out, as it cannot come from a user either."""
        for path, data in self.files.items():
            try:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(data)
            except (OSError, ValueError):
                self.changes.append(f"{path!r} cannot be written")
        for path, target in self.links.items():
            try:
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).symlink_to(target)
            except OSError:
                continue

    def blocks(self, new: str) -> bool:
        """Whether a file stands where the path needs a folder, or the other way round."""
        parents = {str(parent) for parent in PurePosixPath(new).parents}
        return any(path in parents for path in self.files) or any(path.startswith(f"{new}/") for path in self.files)


Mutation = Callable[[Folder, random.Random], None]
_VALUES: tuple[Any, ...] = (
    None, [], {}, "", "x", "1", 0, -1, 1, 1.0, 1e400, -1e400, float("nan"), True, 10**400, [None], {"a": 1}, "\ud800",
)  # fmt: skip
_TOKENS = ("nan", "inf", "-1", "1e9", "abc", "0.5", "1", "", "0,5", "1e-12", "\u0661", "0x1", "99999999999999999999")
_NAMES = (
    "Images",
    "image",
    "labels_v2",
    "Labels",
    "label",
    "annotations",
    "train",
    "val",
    "test",
    "a b",
    "\u8eca",
    "x",
)


def _path(folder: Folder, rng: random.Random, keep: Callable[[str], bool] = lambda path: True) -> str | None:
    paths = sorted(path for path in folder.files if keep(path))
    return rng.choice(paths) if paths else None


def is_photograph(path: str) -> bool:
    """Whether a path was a photograph's before mutations of bytes."""
    return PurePosixPath(path).suffix.lower() in PHOTOGRAPH_SUFFIXES


def rename(folder: Folder, rng: random.Random) -> None:
    """Gives one file another name."""
    path = _path(folder, rng)
    if path is None:
        return
    place = PurePosixPath(path)
    stem, suffix = place.stem, place.suffix
    ways: tuple[Callable[[], str], ...] = (
        lambda: stem + suffix.upper(),
        lambda: stem.upper() + suffix,
        lambda: f" {stem} {suffix}",
        lambda: unicodedata.normalize("NFD", f"K\u00fchler {stem}") + suffix,
        lambda: f"{stem}%20a{suffix}",
        lambda: "n" * 240 + stem + suffix,
        lambda: f".{stem}{suffix}",
        lambda: f"{stem}\n{suffix}",
        lambda: f"{stem}\udce9{suffix}",
        lambda: stem,
        lambda: f"{stem}{suffix}{rng.choice(('.bak', '.tmp', '.part', '~', '.jpg', '.txt', '.json', '.xml'))}",
        lambda: stem + rng.choice((".jfif", ".mpo", ".heic", ".bmp", ".tiff", ".gif", ".txt", ".TXT", ".json", ".csv")),
        lambda: rng.choice(("train", "classes", "README", "manifest", "data", "con", "nul.")) + suffix,
        lambda: f"{stem}.{suffix}",
        lambda: f"{stem}\\{stem}{suffix}",
    )
    folder.move(path, str(place.with_name("x").parent / rng.choice(ways)()))


def rename_folder(folder: Folder, rng: random.Random) -> None:
    """Gives a sub-folder another name, with all that is in it."""
    inner = sorted({str(parent) for path in folder.files for parent in PurePosixPath(path).parents} - {"."})
    if not inner:
        return
    old = rng.choice(inner)
    name = rng.choice(
        (*_NAMES, PurePosixPath(old).name.upper(), f"{PurePosixPath(old).name} ", "." + old.split("/")[-1])
    )
    new = str(PurePosixPath(old).parent / name)
    for path in sorted(folder.files):
        if path.startswith(f"{old}/"):
            folder.move(path, new + path[len(old) :])


def move(folder: Folder, rng: random.Random) -> None:
    """Puts a file into another folder."""
    path = _path(folder, rng)
    if path is not None:
        inner = sorted({str(PurePosixPath(other).parent) for other in folder.files} | {"deep/er", "."})
        folder.move(path, str(PurePosixPath(rng.choice(inner)) / PurePosixPath(path).name))


def remove(folder: Folder, rng: random.Random) -> None:
    """Removes a file."""
    path = _path(folder, rng)
    if path is not None:
        del folder.files[path]
        folder.changes.append(f"{path!r} is gone")


def double(folder: Folder, rng: random.Random) -> None:
    """Copies a file, under another name or over another file."""
    path = _path(folder, rng)
    if path is None:
        return
    data, place = folder.files[path], PurePosixPath(path)
    target = rng.choice((f"copy of {place.name}", f"copies/{place.name}", str(_path(folder, rng))))
    if target in folder.files:
        folder.rewrite(target, data)
    elif not folder.blocks(target):
        folder.files[target] = data
        folder.changes.append(f"{path!r} is also {target!r}")
        folder.rewritten |= not is_photograph(path)


def damage_bytes(folder: Folder, rng: random.Random) -> None:
    """Cuts a file, empties it, or changes single bytes."""
    path = _path(folder, rng)
    if path is None:
        return
    data = folder.files[path]
    cut = rng.randrange(len(data) + 1)
    flipped = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        if flipped:
            flipped[rng.randrange(len(flipped))] = rng.randrange(256)
    ways = (
        data[:cut],
        b"",
        data + b"\0" * rng.randrange(1, 99),
        bytes(flipped),
        data[cut:],
        b"\0" * len(data),
        data * 2,
    )
    folder.rewrite(path, rng.choice(ways))


def encode(folder: Folder, rng: random.Random) -> None:
    """Writes a text file in another encoding or with other line ends."""
    path = _path(folder, rng, lambda path: not is_photograph(path))
    if path is None:
        return
    text = folder.files[path].decode("utf-8", "replace")
    ways = (
        text.encode("utf-8-sig"),
        text.encode("utf-16"),
        text.encode("utf-16-le"),
        text.encode("cp1252", "replace") + b"\xe9",
        text.replace("\n", "\r\n").encode(),
        text.replace("\n", "\r").encode(),
        text.replace(".", ",").encode(),
        text.replace(" ", "\t").encode(),
        text.replace("\n", "\n\n \n").encode(),
    )
    folder.rewrite(path, rng.choice(ways))


def change_json(folder: Folder, rng: random.Random) -> None:
    """Replaces, removes or doubles one value of a JSON file."""
    path = _path(folder, rng, lambda path: path.endswith((".json", ".manifest")))
    if path is None:
        return
    try:
        document = json.loads(folder.files[path])
    except (ValueError, RecursionError):
        return
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        value = waiting.pop()
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, one in list(inner):
            places.append((value, key))
            waiting.append(one)
    if not places:
        return
    holder, key = rng.choice(places)
    match rng.randrange(4):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.append(holder[key])
        case 2 if isinstance(holder[key], int | float):
            holder[key] = rng.choice((str(holder[key]), float(holder[key]), -holder[key], holder[key] * 1000))
        case _:
            holder[key] = rng.choice(_VALUES)
    folder.rewrite(path, json.dumps(document).encode())


def change_token(folder: Folder, rng: random.Random) -> None:
    """Replaces, removes or adds one word of a text file that is no JSON."""
    path = _path(folder, rng, lambda path: not is_photograph(path) and not path.endswith(".json"))
    if path is None:
        return
    pieces = re.split(r"([\s,<>=\"]+)", folder.files[path].decode("utf-8", "replace"))
    words = [i for i in range(0, len(pieces), 2) if pieces[i]]
    if words:
        where = rng.choice(words)
        token = rng.choice(_TOKENS)
        pieces[where] = rng.choice((token, f"{pieces[where]} {token}", ""))
        folder.rewrite(path, "".join(pieces).encode("utf-8", "replace"))


def link(folder: Folder, rng: random.Random) -> None:
    """Adds a symbolic link: to a file, to a folder, to nothing, or a loop."""
    path = _path(folder, rng)
    if path is None:
        return
    name = rng.choice(("link", "link.jpg", "link.txt", f"{PurePosixPath(path).parent}/link"))
    target = rng.choice((path, ".", "..", "nowhere", str(PurePosixPath(path).parent), name))
    if name not in folder.files and not folder.blocks(name):
        folder.links[name] = target
        folder.changes.append(f"{name!r} links to {target!r}")


MUTATIONS: tuple[Mutation, ...] = (
    rename, rename_folder, move, remove, double, damage_bytes, encode, change_json, change_json, change_token,
    change_token, link,
)  # fmt: skip


def mutated(folder: Folder, seed: int) -> Folder:
    """The folder with one to four mutations; the same seed gives the same folder."""
    rng = random.Random(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        rng.choice(MUTATIONS)(folder, rng)
    return folder
