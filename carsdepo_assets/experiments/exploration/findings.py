"""What a reader must know before a training, in sentences, the worst first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from carsdepo_assets.experiments.exploration.aggregates import ClassCount, PartOfPhotographs, SplitPart
from carsdepo_assets.experiments.exploration.leakage import Leakage

FEW_BOXES = 50  # of a class: too few to learn it, or to judge it
FEW_GROUPS = 5  # cars in a split: one car decides its figures
_ONE_SIDED = 0.15  # by so much may the share of dark photographs differ between splits
_UNEVEN = 10.0  # boxes of the most frequent class for one of the rarest
_RANK = {"bad": 0, "warn": 1, "note": 2}


@dataclass(frozen=True)
class DataFinding:
    """One sentence about the data."""

    severity: Literal["bad", "warn", "note"]
    """bad: a training on it would mislead; warn: a person should look; note: worth knowing."""
    text: str


def findings(
    photographs: int,
    labelled: int,
    classes: Sequence[ClassCount],
    splits: Sequence[SplitPart],
    leakage: Leakage,
    sources: Sequence[PartOfPhotographs],
    senseless: int = 0,
) -> list[DataFinding]:
    """What stands out in the figures.

    Args:
        photographs: how many are explored.
        labelled: of them, with damage or reviewed without.
        classes: the boxes by class.
        splits: none for photographs without splits.
        leakage: between the splits.
        sources: the photographs by source.
        senseless: boxes that are left out, since they have no size or their photograph has none.

    Returns:
        The worst first.
    """
    sentences: list[DataFinding] = []

    def say(severity: Literal["bad", "warn", "note"], text: str) -> None:
        sentences.append(DataFinding(severity, text))

    if leakage.crossing_groups:
        say("bad", f"{_n(len(leakage.crossing_groups), 'car is', 'cars are')} in two splits: figures on them flatter.")
    if leakage.crossing_pairs:
        pairs = _n(len(leakage.crossing_pairs), "pair of near-duplicates is", "pairs of near-duplicates are")
        say("bad", f"{pairs} in two splits: figures on them flatter.")
    if leakage.unread:
        unread = _n(leakage.unread, "photograph", "photographs")
        say("warn", f"{unread} with a near hash cannot be read: near-duplicates among them are not known.")
    if senseless:
        boxes = _n(senseless, "box makes", "boxes make")
        say("bad", f"{boxes} no sense, without a size or on a photograph without one.")
    if photographs == 1:
        say("warn", "There is one photograph: distributions, map and outliers need more.")
    if labelled == 0:
        say("bad", "No photograph is labelled: there is nothing to learn from. A labelling queue says which to label.")
    elif labelled < photographs:
        say("note", f"{labelled:,} of {photographs:,} photographs are labelled ({100 * labelled / photographs:.0f} %).")
    used = [c for c in classes if c.boxes]
    if labelled and not used:
        say("bad", "All labels are empty: no class has a box, so that nothing can be learnt.")
    if len(used) == 1 and len(classes) > 1:
        missing = ", ".join(c.name for c in classes if not c.boxes)
        say("bad", f"Only one class has boxes, {used[0].name}; {missing} cannot be learnt.")
    for c in used:
        if c.boxes < FEW_BOXES:
            say("warn", f"{c.name} has {_n(c.boxes, 'box', 'boxes')} on {_n(c.groups, 'car', 'cars')}: too few.")
    if len(used) > 1:
        most, least = max(used, key=lambda c: c.boxes), min(used, key=lambda c: c.boxes)
        if most.boxes >= _UNEVEN * least.boxes:
            say("warn", f"{most.name} has {most.boxes / least.boxes:.0f} times as many boxes as {least.name}.")
    _of_splits(splits, [c.name for c in used], say)
    for part in sources:
        if part.photographs >= 20 and part.labelled == 0 < labelled:
            say("warn", f"None of the {part.photographs:,} photographs of source {part.value} is labelled.")
    clean = sum(s.without_damage for s in splits)
    if splits and labelled and not clean:
        say("note", "Every labelled photograph has damage: false alarms on clean cars cannot be measured.")
    return sorted(sentences, key=lambda f: _RANK[f.severity])


def _of_splits(splits: Sequence[SplitPart], names: Sequence[str], say: Callable[[Any, str], None]) -> None:
    by_name = {s.split: s for s in splits}
    if not by_name:
        return
    for split in ("train", "val", "test"):
        part = by_name.get(split)
        if part is None:
            say("bad" if split == "train" else "warn", f"No photograph is in {split}.")
            continue
        missing = [name for name in names if not part.boxes.get(name)]
        if missing:
            say("bad", f"{split} has no box of {' and '.join(missing)}: its figures say nothing about it.")
        if part.groups < FEW_GROUPS:
            say("warn", f"{split} has {_n(part.groups, 'car', 'cars')}: one car decides its figures.")
    train = by_name.get("train")
    for split in ("val", "test"):
        part = by_name.get(split)
        if train is None or part is None or train.dark is None or part.dark is None:
            continue
        if abs(train.dark - part.dark) > _ONE_SIDED and part.photographs >= 20:
            dark = f"{100 * train.dark:.0f} % of train and {100 * part.dark:.0f} % of {split} are dark"
            say("warn", f"{dark}: the split is not even in light.")


def _n(count: int, one: str, more: str) -> str:
    return f"{count:,} {one if count == 1 else more}"
