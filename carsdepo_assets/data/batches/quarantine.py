"""The files in quarantine: which are still open, why, and which are to be looked at again.

The table `quarantine` is append-only. A file is open while the newest batch that had it refused it. Once a later batch
accepts it (it was corrected, its photograph came, the rules changed) its rows stay, and the file counts as resolved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from carsdepo_assets.data.batches.earlier_revisions import still_counting
from carsdepo_assets.data.batches.readmissions import ask_again, asked_again
from carsdepo_assets.data.folders.photograph_names import is_stem_of
from carsdepo_assets.data.objects.manifests import Kind
from carsdepo_assets.data.objects.take_over import taken_over_index
from carsdepo_assets.lake.annotator_folders import photographs_path
from carsdepo_assets.lake.lake import Lake

FileKind = Literal["photograph", "label", "business", "capture"]
State = Literal["open", "asked", "resolved"]
KINDS: tuple[FileKind, ...] = ("photograph", "label", "business", "capture")


class QuarantineError(ValueError):
    """No file in quarantine is meant, or several are; the message says which there are."""


@dataclass(frozen=True)
class Refusal:
    """Something that is wrong with a file, as a batch found it."""

    reason: str
    """A short name for statistics, such as `truncated`."""
    line: int | None
    """The line, from 1 (in Parquet the row's number); None: the whole file."""
    detail: str
    """What is wrong, for people; may be empty."""
    batch_id: str
    """The batch, or the ingestion of business files, that refused it."""
    at: datetime
    """When, in UTC."""


@dataclass(frozen=True)
class QuarantinedFile:
    """A file that was refused at least once."""

    key: str
    """Where it is in the lake."""
    kind: FileKind
    """What it is taken for."""
    state: State
    """open: refused by the newest batch that had it. asked: the same, and it is to be looked at again. resolved: a
    later batch has accepted it."""
    refusals: tuple[Refusal, ...]
    """Of all batches, the newest first, and of one batch by line."""
    still_counts: str = ""
    """What still counts that it would have replaced, as a sentence without its full stop; empty where nothing does."""

    @property
    def newest(self) -> tuple[Refusal, ...]:
        """The refusals of the newest batch that refused it."""
        return tuple(one for one in self.refusals if one.batch_id == self.refusals[0].batch_id)

    @property
    def reasons(self) -> list[str]:
        """The distinct reasons of the newest batch that refused it, in order of line."""
        return list(dict.fromkeys(one.reason for one in self.newest))


@dataclass(frozen=True)
class BusinessFiles:
    """What the step `business` says of its files."""

    newest: Mapping[str, str]
    """By key: the ingestion that read the file last, named as in the table."""
    asked: frozenset[str]
    """Keys of files that are to be read again."""


@dataclass(frozen=True)
class Readmitted:
    """What became of a request."""

    asked: tuple[QuarantinedFile, ...]
    """Photographs and label files for which a batch is asked."""
    business: tuple[QuarantinedFile, ...]
    """Business files, which their own step is to be asked for."""
    left: tuple[tuple[QuarantinedFile, str], ...]
    """Files that are not looked at again, and why."""


def quarantined_files(lake: Lake, business: BusinessFiles) -> list[QuarantinedFile]:
    """All files that were ever refused, those that were refused last first."""
    columns = ["batch_id", "key", "kind", "reason", "detail", "line", "at"]
    by_file: dict[tuple[FileKind, str], list[Refusal]] = {}
    for row in lake.read("quarantine", columns=columns).to_pylist():
        refusal = Refusal(row["reason"], row["line"], row["detail"] or "", row["batch_id"], row["at"])
        by_file.setdefault((row["kind"], row["key"]), []).append(refusal)
    keys: dict[str, list[str]] = {kind: [key for k, key in by_file if k == kind] for kind in KINDS}
    accepted = _accepted_uploads(lake, keys["photograph"]) | _accepted_labels(lake, keys["label"])
    accepted |= {key: business.newest[key] for key in keys["business"] if key in business.newest}
    asked = asked_again(lake, "uploads") | asked_again(lake, "labels")
    files = []
    open_ones: dict[str, str] = {}
    for (kind, key), refusals in by_file.items():
        last = max(one.batch_id for one in refusals)
        state: State = "open"
        if accepted.get(key, "") > last:
            state = "resolved"
        elif asked.get(key) == last or key in business.asked:
            state = "asked"
        if state != "resolved":
            open_ones[key] = last
        refusals.sort(key=lambda one: one.line or 0)
        refusals.sort(key=lambda one: one.batch_id, reverse=True)
        files.append(QuarantinedFile(key, kind, state, tuple(refusals)))
    earlier = still_counting(lake, open_ones)
    files = [replace(file, still_counts=earlier.get(file.key, "")) for file in files]
    return sorted(files, key=lambda file: (-file.refusals[0].at.timestamp(), file.key))


def selected(
    files: Sequence[QuarantinedFile],
    kind: str | None = None,
    reason: str | None = None,
    import_name: str | None = None,
    states: Sequence[State] = ("open", "asked"),
) -> list[QuarantinedFile]:
    """Those of the files that are meant.

    Args:
        files: of which.
        kind: only of this kind; None: of all.
        reason: only those with this reason; None: with any.
        import_name: only those of this import, or below this folder of raw/uploads or raw/labels; None: all.
        states: only those in one of these states.
    """
    named = (import_name or "").strip("/")
    return [
        file
        for file in files
        if file.state in states
        and (kind is None or file.kind == kind)
        and (reason is None or reason in file.reasons)
        and (import_name is None or _is_below(file.key, named))
    ]


def _is_below(key: str, folder: str) -> bool:
    """Whether a key is below a folder of raw/uploads or raw/labels, or in one of its annotators' folders."""
    if key.startswith((f"raw/uploads/{folder}/", f"raw/labels/{folder}/")):
        return True
    return key.startswith("raw/labels/") and photographs_path(key.removeprefix("raw/labels/")).startswith(f"{folder}/")


def counted(files: Sequence[QuarantinedFile]) -> list[tuple[FileKind, str, int]]:
    """(kind, reason, number of files) of each kind and reason, the most frequent first; by a file's first reason."""
    counts = Counter((file.kind, file.reasons[0]) for file in files)
    order = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return [(kind, reason, number) for (kind, reason), number in order]


def file_named(files: Sequence[QuarantinedFile], name: str) -> QuarantinedFile:
    """The file that a person names by its key, by the end of its key, or by its file name.

    Raises:
        QuarantineError: there is none, or there are several.
    """
    exact = [file for file in files if file.key == name]
    ends = exact or [file for file in files if file.key.endswith("/" + name.lstrip("/"))]
    if len(ends) == 1:
        return ends[0]
    if not ends:
        stems = sorted(file.key for file in files if is_stem_of(name, file.key))
        meant = f" Is it {' or '.join(stems[:5])}?" if stems else ""
        raise QuarantineError(f"{name!r} is not in quarantine.{meant} `carsdepo quarantine list` shows what is.")
    some = ", ".join(sorted(file.key for file in ends)[:5])
    raise QuarantineError(f"{name!r} may be {len(ends)} files: {some}{' ...' if len(ends) > 5 else ''}. Name its key.")


def readmit(lake: Lake, files: Sequence[QuarantinedFile], now: datetime, by: str) -> Readmitted:
    """Asks for another batch of photographs and label files, which the next plan of batches closes.

    Args:
        lake: where the files are.
        files: to be looked at again.
        now: the present, with a time zone.
        by: who asks.
    """
    asked: list[QuarantinedFile] = []
    business: list[QuarantinedFile] = []
    left: list[tuple[QuarantinedFile, str]] = []
    for file in files:
        if file.state == "resolved":
            left.append((file, "it was accepted since"))
        elif file.kind == "capture":
            left.append((file, "lines of captured answers are read once; the file itself keeps them"))
        elif not lake.exists(file.key):
            left.append((file, "it is not there any more: send it again"))
        else:
            (business if file.kind == "business" else asked).append(file)
    kinds: dict[FileKind, Kind] = {"photograph": "uploads", "label": "labels"}
    for kind, of_batches in kinds.items():
        refused = {file.key: file.refusals[0].batch_id for file in asked if file.kind == kind}
        if refused:
            ask_again(lake, of_batches, refused, now, by)
    return Readmitted(tuple(asked), tuple(business), tuple(left))


def _accepted_uploads(lake: Lake, keys: Sequence[str]) -> dict[str, str]:
    """By key: the newest batch that had the photograph, where it was accepted there."""
    if not keys:
        return {}
    uploads = lake.read("uploads", ["batch_id", "key", "sha256", "outcome"], [("key", "in", keys)])
    newest: dict[str, tuple[str, str, str | None]] = {}
    for row in sorted(uploads.to_pylist(), key=lambda row: str(row["batch_id"])):
        newest[row["key"]] = (row["batch_id"], row["outcome"], row["sha256"])
    wanted = {sha256 for _, outcome, sha256 in newest.values() if outcome == "new"}
    digests = sorted(filter(None, wanted))
    stored = set(lake.read("images", ["image_id"], [("image_id", "in", digests)])["image_id"].to_pylist())
    return {
        key: batch
        for key, (batch, outcome, sha256) in newest.items()
        if outcome == "duplicate" or (outcome == "new" and sha256 in stored)
    }


def _accepted_labels(lake: Lake, keys: Sequence[str]) -> dict[str, str]:
    """By key: the newest batch that had the label file, where it has been read: what it refused has rows of its own."""
    if not keys:
        return {}
    with taken_over_index(lake) as index:
        newest = {key: state.batch_id for key, state in index.states_of(keys).items()}
    is_read = {batch: lake.committed("annotations", batch) for batch in set(newest.values())}
    return {key: batch for key, batch in newest.items() if is_read[batch]}
