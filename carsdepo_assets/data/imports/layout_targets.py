"""Decides under which path of raw/ each file of an imported folder is kept. Two files never share one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from carsdepo_assets.data.batches.batches import is_label, is_photograph
from carsdepo_assets.data.folders.layout_names import kept_path, split_of
from carsdepo_assets.data.folders.manifest_csv import MANIFEST
from carsdepo_assets.data.imports.layouts import FileKind, FileUse
from carsdepo_assets.lake.objects import key_problem

_LONGEST_PART = 255  # bytes of a file's or folder's name, in every file system that a lake may lie in


def set_targets(uses: Iterable[FileUse], folder: Path) -> None:
    """Sets the target of each file that is copied; those that cannot be kept are refused by themselves."""
    by_kind: dict[FileKind, list[FileUse]] = defaultdict(list)
    for use in uses:
        if not use.reason:
            by_kind[use.kind].append(use)
    taken = _photographs(by_kind[FileKind.PHOTOGRAPH])
    _sidecars(by_kind[FileKind.SIDECAR], taken)
    _labels(by_kind[FileKind.LABELS], taken)


def _photographs(uses: list[FileUse]) -> dict[str, str]:
    """The target by path."""
    taken: dict[str, str] = {}  # target -> path
    for use in sorted(uses, key=lambda use: (use.path.count("/"), use.path)):
        target = kept_path(use.path)
        if target in taken:  # of images/a.jpg and a.jpg the second keeps its folder
            target = use.path
        if target in taken:
            use.set_aside("another photograph has its place", f"{taken[target]}: rename one", refused=True)
        elif not is_photograph(target):
            use.set_aside("its suffix is not that of a photograph: rename it", refused=True)
        elif _keep(use, target):
            taken[target] = use.path
    return {path: target for target, path in taken.items()}


def _sidecars(uses: list[FileUse], photographs: dict[str, str]) -> None:
    taken: dict[str, str] = {}
    by_stem = {str(PurePosixPath(path).with_suffix("")): target for path, target in photographs.items()}
    for use in sorted(uses, key=lambda use: (use.path.count("/"), use.path)):
        path = PurePosixPath(use.path)
        if path.name.casefold() == MANIFEST:
            target = kept_path(str(path.with_name(MANIFEST)))
        else:
            of = by_stem.get(str(path.with_suffix("")), kept_path(use.path))
            target = str(PurePosixPath(of).with_suffix(".json"))
        if target in taken:
            use.set_aside("another file has its place", f"{taken[target]}: make one of the two", refused=True)
        elif _keep(use, target):
            taken[target] = use.path


def _labels(uses: list[FileUse], photographs: dict[str, str]) -> None:
    claims: dict[str, list[FileUse]] = defaultdict(list)
    tops = {PurePosixPath(target).parts[0] for target in photographs.values() if "/" in target}
    for use in uses:
        if len(use.photographs) > 1 and len({PurePosixPath(p).with_suffix("") for p in use.photographs}) > 1:
            shown = ", ".join(use.photographs[:3])
            use.set_aside("several photographs could be meant", shown, refused=True)
            continue
        if use.photographs and use.photographs[0] not in photographs:
            use.set_aside("its photograph is not imported", use.photographs[0], refused=True)
            continue
        suffix = PurePosixPath(use.path).suffix.lower()
        if use.photographs:
            target = str(PurePosixPath(photographs[use.photographs[0]]).with_suffix(suffix))
        else:
            target = str(PurePosixPath(_split_folder(use, tops)).with_suffix(suffix))
        claims[target].append(use)
    for target, files in claims.items():
        if len(files) > 1:
            files = _one_of(files)
        for use in files:
            _keep_label(use, target if len(files) == 1 else use.path)


def _split_folder(use: FileUse, tops: set[str]) -> str:
    """The kept path of a label file of many photographs: instances_val.json lies with the photographs of val/."""
    kept = PurePosixPath(kept_path(use.path, for_labels=True))
    split = split_of(kept.stem.replace("instances", "coco"))
    if len(kept.parts) > 1 or split is None or not use.names:
        return str(kept)
    named = [top for top in tops if split_of(top) == split]
    return str(PurePosixPath(named[0]) / kept) if len(named) == 1 else str(kept)


def _one_of(files: list[FileUse]) -> list[FileUse]:
    """Of label files with the same target those that are kept."""
    first = min(files, key=lambda use: (use.path.count("/"), use.path))
    if not first.photographs:
        return files
    try:
        same = all(use.real.read_bytes() == first.real.read_bytes() for use in files)
    except OSError:
        same = False
    for use in files:
        if not same:
            others = ", ".join(other.path for other in files if other is not use)
            use.set_aside(
                "another file labels the same photograph otherwise: take one of the two out", others, refused=True
            )
        elif use is not first:
            use.set_aside("the same labels as another file's", first.path)
            use.twin_of = first.path
    return [first] if same else []


def _keep_label(use: FileUse, target: str) -> None:
    if is_label(f"raw/labels/x/{target}"):
        _keep(use, target)
    else:
        use.set_aside("a label file cannot be called so: rename it, and its photograph", refused=True)


def _keep(use: FileUse, target: str) -> bool:
    """Sets the target, unless the lake cannot hold a file of this name."""
    problem = key_problem(target)
    if problem is None and any(len(part.encode()) > _LONGEST_PART for part in target.split("/")):
        problem = f"it has more than {_LONGEST_PART} bytes"
    if problem is not None:
        use.set_aside(f"it cannot be kept under its name: {problem}. Rename it", refused=True)
        return False
    use.target = target
    return True
