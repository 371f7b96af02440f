"""Every figure about a set of detections, in one call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.scoring.average_precision import RECALLS, coco_ap, interpolated
from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.confusion import confusion
from carsdepo_assets.scoring.matching import Flat, Matches, ScoringError, flatten, match
from carsdepo_assets.scoring.thresholds import Counts, SweepPoint, best_threshold, counts, sweep


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True)


class ClassScore(_Figures):
    """AP is None for a class without a truth; n_boxes: its truths; counts: at the threshold."""

    n_boxes: int
    ap50: float | None
    ap75: float | None
    ap50_95: float | None
    counts: Counts


class Curve(_Figures):
    """precision at 101 recalls 0..1 (COCO's interpolation), and the score that reaches each; None: never reached."""

    recall: list[float]
    precision: list[float]
    score: list[float | None]


class Evaluation(_Figures):
    """map*: mean over classes that have a truth, None without any. curves: at `iou`, classes with a truth only.

    confusion: rows what was there, columns what was said, the last is background. threshold_source: "given", or
    "best F1 on these images" where none was given, and P, R and F1 then flatter.
    """

    map50: float | None
    map75: float | None
    map50_95: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    tp: int
    fp: int
    fn: int
    threshold: float
    threshold_source: str
    iou: float
    max_detections: int
    n_images: int
    n_images_with_boxes: int
    n_boxes: int
    n_detections: int
    class_names: list[str]
    per_class: dict[str, ClassScore]
    curves: dict[str, Curve]
    sweep: list[SweepPoint]
    confusion: list[list[int]]


class SliceScore(_Figures):
    """One slice of the images, e.g. those taken at night, at the threshold of the whole."""

    name: str
    n_images: int
    n_boxes: int
    map50: float | None
    counts: Counts


def evaluate(
    truths: Sequence[Truth],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    image_sizes: Sequence[tuple[int, int]] | None = None,
    *,
    iou: float = 0.5,
    max_detections: int = 100,
    threshold: float | None = None,
) -> Evaluation:
    """One truth and one Detections an image. image_sizes: (width, height), for COCO's image table; no figure needs it.

    AP@.5, @.75 and @.5:.95 are COCO's, of all detections (max_detections an image and class); P, R and F1 are at
    `iou` and `threshold`; without a threshold the best on these same images is taken, and the result says so. Raises
    ScoringError on input that does not fit together.
    """
    names = _checked_names(class_names)
    if image_sizes is not None and len(image_sizes) != len(truths):
        raise ScoringError(f"{len(truths)} images, but {len(image_sizes)} sizes: give one for each.")
    flat = flatten(truths, detections, len(names), max_detections)
    matches = match(flat, iou)
    source = "given"
    if threshold is None:
        source = "best F1 on these images"
        threshold = best_threshold(truths, detections, len(names), iou=iou, max_detections=max_detections)
    ap = coco_ap(flat, image_sizes, max_detections)
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
        n_detections=len(flat.det_image),
        class_names=names,
        per_class=per_class,
        curves={name: _curve(flat, matches, c) for c, name in enumerate(names) if per_class[name].n_boxes},
        sweep=sweep(flat, matches),
        confusion=confusion(flat, matches, threshold, iou).tolist(),
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
    """One score for each distinct value of `by` (one an image; None and "" become "unknown"), by name."""
    if len(by) != len(truths):
        raise ScoringError(f"{len(truths)} images, but {len(by)} slice names: give one for each.")
    names = _checked_names(class_names)
    of = np.array([b or "unknown" for b in by], dtype=str)
    scores = []
    for name in np.unique(of):
        mine = np.flatnonzero(of == name).tolist()
        flat = flatten([truths[i] for i in mine], [detections[i] for i in mine], len(names), max_detections)
        ap50 = coco_ap(flat, None, max_detections)[0]
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
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
