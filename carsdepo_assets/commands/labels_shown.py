"""What `carsdepo labels` prints for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from carsdepo_assets.data.labels.label_agreement import Agreement, AgreementReport


def show_history(history: Mapping[str, Any], console: Console) -> None:
    """Prints a photograph's label history, the oldest revision first."""

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(f"Photograph {history['image_id']}")
    for key in history["keys"]:
        say(f"  {key}")
    if not history["revisions"]:
        say("It has no labels.")
    for number, revision in enumerate(history["revisions"], 1):
        counts = "  <- counts" if revision["counts"] else ""
        say("")
        say(f"{number}. {revision['at']:%Y-%m-%d %H:%M:%S} UTC, {revision['by']}{counts}")
        say(f"   revision {revision['revision_id']} of {revision['key']}, batch {revision['batch_id']}")
        form = f"   {revision['origin']}, class map {revision['class_map_version']}, "
        if revision["state"] == "unreviewed":
            say(f"{form}not finished: no label")
            continue
        if revision["state"] == "withdrawn":
            say(f"{form}withdrawn: another label file contradicts it")
            continue
        boxes, negatives = len(revision["boxes"]), len(revision["negatives"])
        say(f"{form}{_boxes(boxes)}{f', {negatives} marked as no damage' if negatives else ''}")
        for line in _changes(revision["change"], first=number == 1):
            say(f"   {line}")
    say("")
    if history["disputed"]:
        say(f"No labels count: {history['disputed']}.")
    for dataset in history["datasets"]:
        newest = " (the newest)" if dataset["newest"] else ""
        revisions = " and ".join(dataset["revisions"])
        say(f"Dataset {dataset['version']}{newest}: in {dataset['split']}, by revision {revisions}")
    if not history["datasets"]:
        say("No dataset holds it.")


def _boxes(count: int) -> str:
    return "1 box" if count == 1 else f"{count} boxes" if count else "reviewed, no damage"


def _changes(change: Mapping[str, Sequence[Mapping[str, Any]]], first: bool) -> Iterator[str]:
    if not any(change.values()):
        yield "no damage" if first else "the same boxes"
    for box in change["added"]:
        yield f"+ {box['class']} {_corners(box['box'])}"
    for box in change["removed"]:
        yield f"- {box['class']} {_corners(box['box'])}"
    for box in change["moved"]:
        yield f"~ {box['class']} {_corners(box['before'])} -> {_corners(box['box'])}, IoU {box['iou']:.2f}"
    for box in change["renamed"]:
        yield f"~ {box['before']} -> {box['class']} {_corners(box['box'])}"


def _corners(box: Sequence[float]) -> str:
    return "(" + ", ".join(f"{edge:.1f}".removesuffix(".0") for edge in box) + ")"


def show_agreement(report: AgreementReport, console: Console) -> None:
    """Prints how far annotators agree, in lines that names of any length fit into."""

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    if not report.photographs:
        say("No photograph was labelled by two annotators.")
        return
    say(f"{report.photographs} photographs have two annotators or more; boxes match from IoU {report.iou:g}.")
    for pair in report.by_pair:
        say(f"{' / '.join(pair.annotators)}: {_figures(pair)}")
        say(
            f"    {pair.other_class} boxes match in place and differ in class; both clean on {pair.both_clean} "
            f"photographs, only one of them on {pair.one_clean}"
        )
    if len(report.by_pair) > 1:
        say(f"all pairs: {_figures(report.overall)}")
    for name, figures in report.by_class.items():
        say(f"class {name}: {_figures(figures)}")
    if report.least:
        say("Least agreement:")
    for photograph in report.least:
        boxes = ", ".join(f"{annotator} {count}" for annotator, count in photograph.boxes.items())
        say(f"  {photograph.agreement:.2f}  {photograph.image_id[:12]}  {photograph.key}  boxes: {boxes}")


def _figures(figures: Agreement) -> str:
    f1 = "no boxes" if figures.f1 is None else f"F1 {figures.f1:.3f}"
    return f"{f1} on {figures.photographs} photographs, {figures.matched} matched of {figures.first} + {figures.second}"
