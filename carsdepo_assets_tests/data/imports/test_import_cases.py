"""data/imports/importing.py, data/labels/labelled_photographs.py: each case of `import_cases` gives what it says."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path, PurePosixPath
from unicodedata import normalize

import pytest

from carsdepo_assets.data.batches.batches import list_batches, plan_batches
from carsdepo_assets.data.datasets.declared_splits import declared_of
from carsdepo_assets.data.imports import importing
from carsdepo_assets.data.imports.account import ImportAccount
from carsdepo_assets.data.imports.import_accounts import account_of
from carsdepo_assets.data.imports.import_states import key_states
from carsdepo_assets.data.imports.importing import ImportRefused, ImportResult, import_folder
from carsdepo_assets.data.imports.layouts import FileKind
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.photographs.ingest import build_images, ingest_uploads
from carsdepo_assets.data.photographs.metadata_corrections import correct_metadata
from carsdepo_assets.lake.annotations import latest_revisions
from carsdepo_assets.lake.image_metadata import read_images
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.import_case_folders import Case, Link
from carsdepo_assets_tests.data.import_cases import CASES
from carsdepo_assets_tests.data.memory_tables import lake_in_memory
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.real_layouts import BOXES
from carsdepo_assets_tests.data.small_lake import RULES

_IN_ONE_LAKE = 12
_PARTS = [(group, first) for group, cases in CASES.items() for first in range(0, len(cases), _IN_ONE_LAKE)]
_NAMES = ("scratch", "dent")
_NOT_TAKEN = ("quarantined", "refused", "accepted in part", "duplicate", "not used")
_AGAIN = ("unchanged", "replaced", "read again")


class Trial:
    """A case, and what became of it in a lake of several."""

    def __init__(self, case: Case, number: int, folder: Path) -> None:
        self.case, self.number = case, number
        self.folder = folder / str(number) / case.folder
        self.result: ImportResult | None = None
        self.refusal = ""
        self.account: ImportAccount | None = None

    def bring(self, lake: Lake, step: int) -> None:
        """Writes the files of a step and imports them; a step that the case has not does nothing."""
        steps = [self.case.files, *self.case.then]
        if step >= len(steps):
            return
        if step == len(steps) - 1:
            for path in self.case.gone:
                (self.folder / path).unlink()
        files = {path: self._own(data) for path, data in steps[step].items()}
        if any(path.startswith("raw/") for path in files):
            for path, data in files.items():
                first, kind, rest = path.split("/", 2)
                assert isinstance(data, bytes)
                lake.put(f"{first}/{kind}/{self.number}/{rest}", data)
            return
        self._write(files)
        options = {"name": f"case-{self.number}"} if self.case.folder == "cars" else {}
        options |= self.case.options
        form, mapping = options.pop("form", "auto"), options.pop("mapping", {})
        now = NOW + timedelta(minutes=100 * step + self.number)
        try:
            self.result = import_folder(lake, self.folder, form, mapping, RULES, now, **options)
        except ImportRefused as error:
            self.refusal = str(error)

    def _own(self, data: str | bytes | Link) -> bytes | Link:
        """Content of this case alone: the photographs have a comment behind the mark of the beginning."""
        if isinstance(data, str):
            return data.encode()
        if isinstance(data, Link) or not data.startswith(b"\xff\xd8\xff"):
            return data
        comment = str(self.number).encode()
        return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]

    def _write(self, files: dict[str, bytes | Link]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(data, Link):
                path.symlink_to(self.folder.parent / data.to)
            else:
                path.write_bytes(data)

    def outcome(self, lake: Lake, labels: dict[str, str], groups: dict[str, str], notes: dict[str, list[str]]) -> str:
        """What became of the case, in the words of `Case.gives`; words that are not said are added."""
        if self.refusal:
            _, _, words = self.case.gives.partition("stops: ")
            return self.case.gives if words and words in self.refusal else f"stops: {self.refusal}"
        if self.result is None:
            keys = [o.key for kind in ("uploads", "labels") for o in lake.list(f"raw/{kind}/{self.number}/")]
            shas = {key: hashlib.sha256(lake.get(key)).hexdigest() for key in keys if key.endswith(".jpg")}
            states = key_states(lake, [key for key in keys if not key.endswith("classes.txt")])
            parts = [f"{PurePosixPath(key).stem}: {labels.get(sha, 'no label')}" for key, sha in shas.items()]
            parts += [
                f"{PurePosixPath(k).name} {s.state}: {s.reason}" for k, s in states.items() if s.state in _NOT_TAKEN
            ]
            said = " ".join(s.detail for s in states.values())
        else:
            self.account = account_of(lake, self.result, RULES, NOW)
            assert self.account.adds_up
            parts = [*self._photographs(lake, labels, groups), *self._lines(self.account)]
            own = [text for key, texts in notes.items() if f"/{self.result.name}/" in key for text in texts]
            said = f"{self.account.as_json()} {own}"
        parts += [f"does not say {words!r}, but {said}" for words in self.case.says if words not in said]
        return "; ".join(parts)

    def _photographs(self, lake: Lake, labels: dict[str, str], groups: dict[str, str]) -> Iterator[str]:
        assert self.result is not None
        uses = self.result.layout.of(FileKind.PHOTOGRAPH)
        shas = {use.path: hashlib.sha256(use.real.read_bytes()).hexdigest() for use in uses}
        splits = declared_of(lake, shas.values())
        stems = [PurePosixPath(path).stem for path in shas]
        for path, sha in sorted(shas.items(), key=lambda one: (PurePosixPath(one[0]).stem, one[0])):
            stem = PurePosixPath(path).stem
            name = normalize("NFC", stem if stems.count(stem) == 1 else path)
            group = f" of {groups[sha].rpartition('/')[2]}" if groups.get(sha) else ""
            split = f" in {splits[sha]}" if sha in splits else ""
            yield f"{_short(name)}{group}{split}: {labels.get(sha, 'no label')}"

    def _lines(self, account: ImportAccount) -> Iterator[str]:
        for line in account.lines:
            if line.kind in (FileKind.PHOTOGRAPH, FileKind.LABELS) and line.state in _AGAIN:
                if line.kind is FileKind.LABELS or line.state != "unchanged":
                    yield f"{line.files} {line.kind}{'s' * (line.files > 1)} {line.state}"
            elif line.state in _NOT_TAKEN and line.kind != FileKind.NAMES and line.kind != FileKind.SIDECAR:
                reason = "" if line.state == "duplicate" else f": {line.reason.partition(':')[0]}"
                for first in line.first:
                    yield f"{_short(PurePosixPath(first.partition(' (')[0]).name)} {line.state}{reason}"
        if account.failures:
            yield "exit 1"


def _short(name: str) -> str:
    return name if len(name) <= 20 else f"{name[:10]}…"


def labels_of(lake: Lake) -> dict[str, str]:
    """What the labels of a photograph say, by its image id: the two boxes of `real_layouts` by their class alone."""
    rows = lake.read("annotations")
    said = dict.fromkeys(rows["image_id"].to_pylist(), "unreviewed")
    for row in latest_revisions(rows).to_pylist():
        boxes = [_box(_NAMES[box["class_id"]], box) for box in row["boxes"]]
        boxes += [_box(f"no damage but {box['cause']}", box) for box in row["negatives"] or ()]
        said[row["image_id"]] = ", ".join(boxes) or "clean"
    return said


def _box(name: str, box: dict[str, float]) -> str:
    corners = tuple(box[side] for side in ("x1", "y1", "x2", "y2"))
    usual = any(
        max(abs(one - other) for one, other in zip(corners, right, strict=True)) < 0.1
        and name in (kind, "no damage but")
        for kind, right in BOXES.values()
    )
    return name if usual else f"{name} {' '.join(f'{corner:.4g}' for corner in corners)}"


def outcomes(cases: list[Case], folder: Path) -> dict[str, str]:
    """What became of each case, all in one lake, each under a name of its own."""
    lake, notes = lake_in_memory(folder / "lake"), defaultdict[str, list[str]](list)
    trials = [Trial(case, number, folder) for number, case in enumerate(cases)]
    for step in range(max(len(case.then) for case in cases) + 1):
        for trial in trials:
            trial.bring(lake, step)
        now = NOW + timedelta(days=step + 1)
        plan_batches(lake, "uploads", RULES, now, close_all=True)
        for batch in list_batches(lake, "uploads"):
            ingest_uploads(lake, batch, RULES)
            build_images(lake, batch, RULES)
        plan_batches(lake, "labels", RULES, now, close_all=True)
        for batch in list_batches(lake, "labels"):
            for key, texts in ingest_labels(lake, batch, RULES, now).notes.items():
                notes[key] += texts
        correct_metadata(lake, now)
    images = read_images(lake, ["image_id", "group_hint"]).to_pylist()
    labels, groups = labels_of(lake), {row["image_id"]: row["group_hint"] for row in images}
    return {trial.case.given: trial.outcome(lake, labels, groups, notes) for trial in trials}


def test_no_two_cases_are_called_alike() -> None:
    for cases in CASES.values():
        assert len({case.given for case in cases}) == len(cases)


@pytest.mark.parametrize(("group", "first"), _PARTS)
def test_each_case_gives_what_the_table_says(
    group: str, first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "plan_batches", lambda *args, **options: [])  # one batch for all of them, below
    cases = CASES[group][first : first + _IN_ONE_LAKE]
    assert outcomes(cases, tmp_path) == {case.given: case.gives for case in cases}


def test_tables_in_memory_answer_as_the_lakes_do(tmp_path: Path) -> None:
    lakes = [Lake.open(tmp_path / "one"), lake_in_memory(tmp_path / "other")]
    answers = []
    for lake in lakes:
        rows = [{"key": key, "line": line, "at": NOW} for key, line in (("a", 1), ("b", None), ("c", 3))]
        said: list[object] = [lake.append("quarantine", rows, "u1"), lake.append("quarantine", rows, "u1")]
        said += [lake.append("quarantine", [], "u2"), lake.committed("quarantine", "u2"), lake.version("uploads")]
        for where in ([("key", "in", {"a", "b"})], [("line", ">=", 2)], [("at", "<", NOW)], [("key", "=", "c")], []):
            said.append(sorted(lake.read("quarantine", ["key", "line"], where)["key"].to_pylist()))
        said.append(lake.read("annotations", ["key"]).num_rows)
        said.append(lake.tables.committed_of("quarantine", ["u1", "u3"]))
        said.append(lake.tables.select("SELECT max(line) AS newest FROM quarantine", ["quarantine"]))
        said.append(lake.tables.select("SELECT max(sequence) AS newest FROM annotations", ["annotations"]))
        answers.append(said)
    assert answers[0] == answers[1]
