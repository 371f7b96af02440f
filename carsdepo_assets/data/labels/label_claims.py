"""Makes one labelling of a photograph of all that the label files of a batch say about it, or finds that they disagree.

Files may cover parts (COCO with one class a file), or say the same twice (a photograph under two names). Where they
contradict each other, none counts: which one is right is for a person to say. The order of the files never matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from carsdepo_assets.data.labels.formats.parsed import Parsed, Problem, Xyxy

Entry = tuple[int | str, Xyxy]
SAME_PX = 0.5  # one tool writes whole pixels, another six decimals of a share


@dataclass(frozen=True)
class Claim:
    """What one label file says about one photograph."""

    key: str
    """Of the label file."""
    sha256: str | None
    format: str
    file_name: str
    """The photograph's name as the file writes it."""
    parsed: Parsed
    covers: frozenset[int | str] | None = None
    """The classes, ours or causes, that the file is about; None: all."""
    annotator: str | None = None
    labelled_at: str | None = None
    of_file: bool = False
    """Whether the file is of this photograph alone."""

    @property
    def entries(self) -> list[Entry]:
        """The boxes and the negatives."""
        return sorted([*self.parsed.boxes, *self.parsed.negatives], key=_order)


@dataclass
class Labelling:
    """What counts for a photograph."""

    claim: Claim
    """The first file that gives it; by key, so that the order of reading does not matter."""
    entries: list[Entry]
    covers: frozenset[int | str] | None
    reviewed: bool = True
    notes: list[str] = field(default_factory=list)


def settle(claims: Sequence[Claim]) -> tuple[list[Labelling], list[tuple[Claim, Problem]]]:
    """The labellings of a photograph, and the files that are refused.

    Args:
        claims: of one photograph.

    Returns:
        The labellings in the order in which they count, the last one most; several only of several annotators. Where
        any file is refused for this photograph there is none.
    """
    claims = sorted(claims, key=lambda c: (c.key, c.labelled_at or "", c.annotator or "", repr(c.entries)))
    refused = [(claim, problem) for claim in claims for problem in claim.parsed.problems]
    if refused:
        broken = sorted({claim.key for claim, _ in refused})
        for claim in claims:
            if claim.key not in broken:
                detail = f"{broken[0]} labels this photograph too and is in quarantine: these labels may not be all"
                refused.append((claim, Problem("incomplete", detail)))
        return [], refused
    finished = [claim for claim in claims if claim.parsed.reviewed]
    if not finished:
        return [Labelling(claims[0], [], claims[0].covers, reviewed=False)], []
    by_annotator, pair = _last_of_each(finished)
    if pair is not None:
        return [], _contradiction([c for c in finished if c.annotator == pair[0].annotator], *pair)
    if len(by_annotator) > 1:  # those who agree are kept too: else nobody could measure how often annotators do
        labellings = [_union(own) for own in by_annotator]
        if not all(_agree(labellings[0], labelling) for labelling in labellings[1:]):
            note = f"{len(by_annotator)} annotators differ: the last one is {labellings[-1].claim.annotator}"
            for labelling in labellings:
                labelling.notes.append(note)
        return labellings, []
    if by_annotator:
        (finished,) = by_annotator
    for i, one in enumerate(finished):
        other = next((other for other in finished[i + 1 :] if not _agree(one, other)), None)
        if other is not None:
            return [], _contradiction(finished, one, other)
    return [_union(finished)], []


def merged(labelling: Labelling, others: Sequence[Claim]) -> list[Entry]:
    """A labelling's boxes, with those that other files have of classes that its own files are not about.

    Args:
        labelling: of the files of a batch.
        others: what files of earlier batches say now, the newest first: of two about a class the first one counts.
    """
    entries, covers = list(labelling.entries), labelling.covers
    for other in others:
        if covers is None:
            break
        if other.parsed.reviewed:
            entries += [entry for entry in other.entries if entry[0] not in covers]
            covers = None if other.covers is None else covers | other.covers
    return sorted(entries, key=_order)


def _last_of_each(claims: Sequence[Claim]) -> tuple[list[list[Claim]], tuple[Claim, Claim] | None]:
    """The last labelling of each annotator, in order of time; none unless all files name theirs.

    A labelling is one claim, or several that are each about some of the classes. And two claims of one annotator that
    differ without one being the other's correction, which is of the same photograph by its name, and of another time.
    """
    if len(claims) < 2 or any(claim.annotator is None for claim in claims):
        return [], None
    own: dict[str | None, list[Claim]] = {}
    for claim in sorted(claims, key=lambda c: (c.labelled_at or "", c.key, c.annotator or "")):
        own.setdefault(claim.annotator, []).append(claim)
    last: list[list[Claim]] = []
    for of_annotator in own.values():
        newest = of_annotator[-1]
        for claim in of_annotator:
            if not _agree(claim, newest) and not _is_correction(newest, claim):
                return [], (claim, newest)
        parts = [c for c in of_annotator if c is newest or (c.covers is not None and _agree(c, newest))]
        for i, claim in enumerate(parts):
            other = next((other for other in parts[i + 1 :] if not _agree(claim, other)), None)
            if other is not None:
                return [], (claim, other)
        last.append(parts)
    last.sort(key=lambda parts: (parts[-1].labelled_at or "", parts[-1].key, parts[-1].annotator or ""))
    return last, None


def _is_correction(newer: Claim, older: Claim) -> bool:
    names = {PurePosixPath(claim.file_name).name for claim in (newer, older)}
    return len(names) == 1 and older.labelled_at is not None and older.labelled_at != newer.labelled_at


def _agree(one: Claim | Labelling, other: Claim | Labelling) -> bool:
    """Whether two files say the same of the classes that both are about."""
    mine, theirs = _shared(one, other), _shared(other, one)
    if len(mine) != len(theirs):
        return False
    for target, box in mine:
        at = next((i for i, entry in enumerate(theirs) if entry[0] == target and _near(box, entry[1])), None)
        if at is None:
            return False
        theirs.pop(at)
    return True


def _shared(one: Claim | Labelling, other: Claim | Labelling) -> list[Entry]:
    return [e for e in one.entries if other.covers is None or e[0] in other.covers]


def _near(box: Xyxy, other: Xyxy) -> bool:
    return all(abs(a - b) <= SAME_PX for a, b in zip(box, other, strict=True))


def _union(claims: Sequence[Claim]) -> Labelling:
    first = claims[0]
    entries, covers = list(first.entries), first.covers
    for claim in claims[1:]:
        if covers is None:
            break
        entries += [entry for entry in claim.entries if entry[0] not in covers]
        covers = None if claim.covers is None else covers | claim.covers
    return Labelling(first, sorted(entries, key=_order), covers)


def _contradiction(claims: Sequence[Claim], one: Claim, other: Claim) -> list[tuple[Claim, Problem]]:
    names = sorted({claim.file_name for claim in claims})
    if one.key == other.key:
        detail = f"{' and '.join(names)[:200]}: the file labels this photograph twice, with different boxes"
        return [(one, Problem("contradiction", detail))]
    refused = []
    for key in sorted({claim.key for claim in claims}):
        claim = next(c for c in claims if c.key == key)
        rival = other.key if key == one.key else one.key
        detail = (
            f"{rival} labels the same photograph ({' and '.join(names)[:200]}) with other boxes: remove the wrong file"
        )
        refused.append((claim, Problem("contradiction", detail)))
    return refused


def _order(entry: Entry) -> tuple[bool, str, int, Xyxy]:
    target, box = entry
    return (
        isinstance(target, str),
        target if isinstance(target, str) else "",
        target if isinstance(target, int) else 0,
        box,
    )
