"""Imports mutated folders into one lake and looks for losses: files without a line, labels that became others."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path, PurePosixPath

from carsdepo_assets.data.batches.batches import list_batches, plan_batches
from carsdepo_assets.data.imports.account import ImportAccount, ImportState
from carsdepo_assets.data.imports.import_accounts import account_of
from carsdepo_assets.data.imports.importing import ImportRefused, ImportResult, import_folder
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.photographs.ingest import build_images, ingest_uploads
from carsdepo_assets.lake.annotations import latest_revisions
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.fuzzing.mutations import Folder, is_photograph, mutated
from carsdepo_assets_tests.data.memory_tables import lake_in_memory
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.real_layouts import BOXES, LAYOUTS, PHOTOGRAPHS
from carsdepo_assets_tests.data.small_lake import RULES

IDS = {"scratch": 0, "dent": 1}
A_FILE_FOR_EACH = {"roboflow_yolov8", "ultralytics", "cvat_yolo", "label_studio_yolo", "voc", "label_img"}
_ROUNDING = 0.1  # pixels


@dataclass
class Trial:
    """One mutated folder and what became of it."""

    seed: int
    tool: str
    folder: Folder
    root: Path
    photographs: dict[str, str]
    """The image id of each of the three photographs by its name in `real_layouts`."""
    imported: ImportResult | None = None
    refusal: str | None = None
    account: ImportAccount | None = None
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"seed {self.seed} ({self.tool}; {'; '.join(self.folder.changes)}): {'; '.join(self.faults)}"


def prepare(seed: int, root: Path) -> Trial:
    """Writes the folder of a seed: an export of one tool, mutated. Its photographs have bytes of their own."""
    tool = list(LAYOUTS)[seed % len(LAYOUTS)]
    own = {stem: _with_comment(data, f"{seed}") for stem, data in PHOTOGRAPHS.items()}
    stems = {data: stem for stem, data in PHOTOGRAPHS.items()}
    files = {path: data.encode() if isinstance(data, str) else data for path, data in LAYOUTS[tool]().items()}
    folder = mutated(Folder({p: own[stems[d]] if d in stems else d for p, d in files.items()}), seed)
    root.mkdir(parents=True)
    folder.write(root)
    return Trial(seed, tool, folder, root, {stem: sha256(data).hexdigest() for stem, data in own.items()})


def run(seeds: Sequence[int], folder: Path, tables_in_memory: bool = False) -> list[Trial]:
    """Imports the folders of some seeds into one lake, each under a name of its own, and ingests them.

    Returns:
        The trials, with what was wrong in `faults`.
    """
    lake = (lake_in_memory if tables_in_memory else Lake.open)(folder / "lake")
    trials = [prepare(seed, folder / f"folder-{seed}" / "cars") for seed in seeds]
    for trial in trials:
        try:
            trial.imported = import_folder(
                lake, trial.root, "auto", {}, RULES, NOW + timedelta(seconds=trial.seed), name=f"f{trial.seed}"
            )
        except ImportRefused as error:
            trial.refusal = str(error)
        except Exception:
            trial.faults.append(traceback.format_exc())
    _ingest(lake)
    labels = {row["image_id"]: row for row in latest_revisions(lake.read("annotations")).to_pylist()}
    for trial in trials:
        if trial.imported is not None:
            try:
                trial.account = account_of(lake, trial.imported, RULES, NOW)
            except Exception:
                trial.faults.append(traceback.format_exc())
        seen = {
            stem: [(box["class_id"], *(box[side] for side in ("x1", "y1", "x2", "y2"))) for box in labels[i]["boxes"]]
            for stem, i in trial.photographs.items()
            if i in labels
        }
        trial.faults.extend(_faults(trial, seen))
    return trials


def _ingest(lake: Lake) -> None:
    for batch in list_batches(lake, "uploads"):
        ingest_uploads(lake, batch, RULES)
        build_images(lake, batch, RULES)
    plan_batches(lake, "labels", RULES, NOW + timedelta(days=1), close_all=True)
    for batch in list_batches(lake, "labels"):
        ingest_labels(lake, batch, RULES, NOW)


def _faults(trial: Trial, seen: dict[str, list[tuple[float, ...]]]) -> Iterator[str]:
    if trial.refusal is not None and not trial.refusal.strip():
        yield "refused without a word"
    account = trial.account
    if account is not None:
        there = sum(1 for path in trial.root.rglob("*") if path.is_file() or path.is_symlink())
        # Files behind a link to a folder of the folder are listed under both paths.
        is_doubled = any((trial.root / name).is_dir() for name in trial.folder.links)
        if not account.adds_up or (account.files != there and not is_doubled):
            counted = sum(line.files for line in account.lines)
            yield f"{there} files are there, {account.files} in the account, {counted} in its lines"
    for stem in PHOTOGRAPHS:
        yield from _label_faults(trial, stem, seen.get(stem))


def _label_faults(trial: Trial, stem: str, boxes: list[tuple[float, ...]] | None) -> Iterator[str]:
    """What is wrong with the labels of a photograph; None: it has none."""
    expected = [(IDS[BOXES[stem][0]], *BOXES[stem][1])] if stem in BOXES else []
    if boxes is None:
        if trial.account is not None and expected and _is_there(trial, stem) and not _something_said(trial.account):
            yield f"the labels of {stem} are lost, and the account says nothing"
    elif not _same(boxes, expected) and not trial.folder.rewritten:
        yield f"{stem} has the boxes {boxes}, and {expected} are right"
    elif not boxes and trial.tool in A_FILE_FOR_EACH and not _has_label_file(trial, stem):
        yield f"{stem} is clean without a label file"


def _same(boxes: list[tuple[float, ...]], expected: list[tuple[float, ...]]) -> bool:
    return len(boxes) == len(expected) and all(
        box[0] == right[0] and all(abs(a - b) <= _ROUNDING for a, b in zip(box[1:], right[1:], strict=True))
        for box, right in zip(boxes, expected, strict=True)
    )


def _is_there(trial: Trial, stem: str) -> bool:
    return any(sha256(data).hexdigest() == trial.photographs[stem] for data in trial.folder.files.values())


def _has_label_file(trial: Trial, stem: str) -> bool:
    return any(stem in PurePosixPath(path).name.casefold() for path in trial.folder.files if not is_photograph(path))


def _something_said(account: ImportAccount) -> bool:
    """Whether the account names photographs or label files that were not taken, or something else to look at."""
    said = {ImportState.QUARANTINED, ImportState.REFUSED, ImportState.PARTLY, ImportState.NOT_USED}
    other = [line for line in account.lines if line.state in said]
    without = account.figures.get("unlabelled") or account.figures.get("unreviewed")  # an unfinished task is no label
    return bool(account.failures or account.notes or other or without)


def _with_comment(jpeg: bytes, text: str) -> bytes:
    """The same picture in other bytes: a comment behind the mark of the beginning."""
    comment = text.encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
