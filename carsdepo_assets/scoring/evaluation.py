"""Computes every figure about a detector on a set of labelled images: AP, precision, recall, F1, curves, confusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.scoring.average_precision import RECALLS, coco_ap, interpolated
from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.confusion import confusion
from carsdepo_assets.scoring.false_alarm_causes import CauseCount, Negatives, count_by_cause
from carsdepo_assets.scoring.matching import Flat, Matches, ScoringError, flatten, match, outside_crowds
from carsdepo_assets.scoring.thresholds import WITHOUT_A_MATCH, Counts, SweepPoint, best_threshold, counts, sweep


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True)


class ClassScore(_Figures):
    """The figures of one class. AP is None for a class without a labelled box."""

    n_boxes: int
    """labelled boxes of the class"""
    ap50: float | None
    """AP at IoU 0.5"""
    ap75: float | None
    """AP at IoU 0.75"""
    ap50_95: float | None
    """mean of AP at the IoUs 0.5, 0.55 ... 0.95"""
    counts: Counts
    """at the threshold"""


class Curve(_Figures):
    """The precision-recall curve of one class, at COCO's 101 recalls."""

    recall: list[float]
    """0, 0.01 ... 1"""
    precision: list[float]
    """the highest at this recall or any higher one"""
    score: list[float | None]
    """the score at which each recall is reached; None: it is not reached"""


class Evaluation(_Figures):
    """Every figure about a detector on a set of images. A figure without anything to compute it from is None."""

    map50: float | None
    """AP at IoU 0.5, mean over the classes that have a labelled box"""
    map75: float | None
    """the same at IoU 0.75"""
    map50_95: float | None
    """the same, mean over the IoUs 0.5, 0.55 ... 0.95"""
    precision: float | None
    """of all classes together, at `iou` and `threshold`"""
    recall: float | None
    """likewise"""
    f1: float | None
    """likewise"""
    tp: int
    """true positives, likewise"""
    fp: int
    """false positives, likewise"""
    fn: int
    """false negatives, likewise"""
    threshold: float
    """score at and above which a detection counts"""
    threshold_source: str
    """"given", or, where none was given, how it was chosen on these images, which favours precision, recall and F1"""
    iou: float
    """overlap from which a detection matches a labelled box"""
    max_detections: int
    """detections of an image and class that count, the best ones"""
    n_images: int
    """images"""
    n_images_with_boxes: int
    """images with at least one labelled box"""
    n_boxes: int
    """labelled boxes"""
    n_detections: int
    """detections, at any score"""
    n_crowds: int = 0
    """crowd regions, which are no labelled boxes: a detection in one is neither right nor wrong"""
    n_in_crowds: int = 0
    """detections, at any score, that match no labelled box and lie in a crowd region at `iou`"""
    class_names: list[str]
    """by class id"""
    per_class: dict[str, ClassScore]
    """by class name"""
    curves: dict[str, Curve]
    """by class name, at `iou`; classes with a labelled box only"""
    sweep: list[SweepPoint]
    """all classes together at the thresholds 0.01, 0.02 ... 0.99"""
    confusion: list[list[int]]
    """counts; rows are the labelled class, columns the detected one, the last of each is background"""
    false_alarm_causes: list[CauseCount] = []
    """false positives at `threshold` by what they were taken in by; empty where no hard negative is labelled"""


class SliceScore(_Figures):
    """The figures of one slice of the images, such as those taken at night."""

    name: str
    """of the slice"""
    n_images: int
    """images of the slice"""
    n_boxes: int
    """labelled boxes on them"""
    map50: float | None
    """AP at IoU 0.5, mean over the classes that have a labelled box there"""
    counts: Counts
    """at the threshold that was given for all slices"""


def evaluate(
    truths: Sequence[Truth],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    image_sizes: Sequence[tuple[int, int]] | None = None,
    *,
    iou: float = 0.5,
    max_detections: int = 100,
    threshold: float | None = None,
    negatives: Sequence[Negatives] | None = None,
) -> Evaluation:
    """Evaluates detections against labelled boxes.

    AP is COCO's, over all detections; precision, recall and F1 are at `iou` and `threshold`.

    Args:
        truths: labelled boxes, one entry an image.
        detections: detections, one entry an image.
        class_names: by class id.
        image_sizes: (width, height) of each image, for COCO's table of images; no figure depends on it.
        iou: overlap from which a detection matches a labelled box.
        max_detections: detections of an image and class that count, the best ones.
        threshold: score at and above which a detection counts; None: the one with the best F1 on these same images is
            taken, and the result says so.
        negatives: hard negatives, one entry an image, for `false_alarm_causes`, on which no other figure depends; None:
            there are none.

    Raises:
        ScoringError: the input does not fit together.
    """
    names = _checked_names(class_names)
    if image_sizes is not None and len(image_sizes) != len(truths):
        raise ScoringError(f"{len(truths)} images, but {len(image_sizes)} sizes: give one for each.")
    everything = flatten(truths, detections, len(names), max_detections)
    flat = outside_crowds(everything, iou)
    matches = match(flat, iou)
    source = "given"
    if threshold is None:
        source = "best F1 on these images"
        threshold = best_threshold(truths, detections, len(names), iou=iou, max_detections=max_detections)
        if threshold is None:
            threshold, source = WITHOUT_A_MATCH, "none is better: no detection matches a labelled box"
    ap = coco_ap(everything, image_sizes, max_detections)
    per_class = {
        name: ClassScore(
            n_boxes=int((flat.truth_class == c).sum()),
            ap50=_or_none(ap[0, c]),
            ap75=_or_none(ap[5, c]),
            ap50_95=_or_none(ap[:, c].mean()),
            counts=counts(flat, matches, threshold, c),
        )
        for c, name in enumerate(names)
    }
    return Evaluation(
        map50=_mean([s.ap50 for s in per_class.values()]),
        map75=_mean([s.ap75 for s in per_class.values()]),
        map50_95=_mean([s.ap50_95 for s in per_class.values()]),
        **counts(flat, matches, threshold).model_dump(),
        threshold=threshold,
        threshold_source=source,
        iou=iou,
        max_detections=max_detections,
        n_images=flat.n_images,
        n_images_with_boxes=len(np.unique(flat.truth_image)),
        n_boxes=len(flat.truth_image),
        n_detections=len(everything.det_image),
        n_crowds=len(everything.crowd_image),
        n_in_crowds=len(everything.det_image) - len(flat.det_image),
        class_names=names,
        per_class=per_class,
        curves={name: _curve(flat, matches, c) for c, name in enumerate(names) if per_class[name].n_boxes},
        sweep=sweep(flat, matches),
        confusion=confusion(flat, matches, threshold, iou).tolist(),
        false_alarm_causes=[]
        if negatives is None
        else count_by_cause(flat, matches, negatives, threshold=threshold, iou=iou),
    )


def evaluate_slices(
    truths: Sequence[Truth],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    by: Sequence[str | None],
    *,
    threshold: float,
    iou: float = 0.5,
    max_detections: int = 100,
) -> list[SliceScore]:
    """Evaluates slices of the images one by one.

    Args:
        truths: labelled boxes, one entry an image.
        detections: detections, one entry an image.
        class_names: by class id.
        by: name of the slice of each image; None and "" become "unknown".
        threshold: score at and above which a detection counts.
        iou: overlap from which a detection matches a labelled box.
        max_detections: detections of an image and class that count, the best ones.

    Returns:
        One entry for each distinct name, in order of name.

    Raises:
        ScoringError: the input does not fit together.
    """
    if len(by) != len(truths):
        raise ScoringError(f"{len(truths)} images, but {len(by)} slice names: give one for each.")
    names = _checked_names(class_names)
    of = np.array([b or "unknown" for b in by], dtype=str)
    scores = []
    for name in np.unique(of):
        mine = np.flatnonzero(of == name).tolist()
        everything = flatten([truths[i] for i in mine], [detections[i] for i in mine], len(names), max_detections)
        flat = outside_crowds(everything, iou)
        ap50 = coco_ap(everything, None, max_detections)[0]
        scores.append(
            SliceScore(
                name=str(name),
                n_images=len(mine),
                n_boxes=len(flat.truth_image),
                map50=_mean([_or_none(a) for a in ap50]),
                counts=counts(flat, match(flat, iou), threshold),
            )
        )
    return scores


def _curve(flat: Flat, matches: Matches, class_id: int) -> Curve:
    mine = np.flatnonzero(flat.det_class == class_id)
    mine = mine[np.argsort(-flat.det_score[mine], kind="stable")]
    precision, at = interpolated(matches.det_truth[mine] >= 0, int((flat.truth_class == class_id).sum()))
    return Curve(
        recall=RECALLS.tolist(),
        precision=precision.tolist(),
        score=[float(flat.det_score[mine[i]]) if i >= 0 else None for i in at],
    )


def _checked_names(class_names: Sequence[str]) -> list[str]:
    names = list(class_names)
    if not names or len(set(names)) != len(names):
        raise ScoringError(f"class names {names}: at least one, and each only once.")
    return names


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [v for v in values if v is not None]
    return float(np.mean(defined)) if defined else None
