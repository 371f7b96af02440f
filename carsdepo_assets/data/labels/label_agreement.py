"""Measures how far annotators agree who labelled the same photographs: by pair, by class and by photograph."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

from pydantic import BaseModel, Field

from carsdepo_assets.lake.label_conflicts import COLUMNS, latest_by_annotator, of_several_annotators, truth_of
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.agreement import (
    Shared,
    matching_boxes,
    photograph_agreement,
    shared_boxes,
    shared_by_class,
)
from carsdepo_assets.scoring.boxes import Truth


class Agreement(BaseModel):
    """Boxes of two annotators, or of all pairs of annotators together."""

    photographs: int = Field(description="photographs that both labelled; of all pairs: each pair's counted")
    f1: float | None = Field(description="2 matched / (first + second); None where neither drew a box")
    matched: int = Field(description="pairs of boxes that match in class and place")
    first: int = Field(description="boxes of the first annotator")
    second: int = Field(description="boxes of the second annotator")


class PairAgreement(Agreement):
    """Two annotators. Whom a label file or an import does not name stands under the origin of the labels."""

    annotators: tuple[str, str]
    both_clean: int = Field(description="photographs on which neither drew a box")
    one_clean: int = Field(description="photographs on which only one of them drew boxes")
    other_class: int = Field(description="boxes that match in place and not in class")


class PhotographAgreement(BaseModel):
    """One photograph."""

    image_id: str
    key: str = Field(description="where it was uploaded")
    agreement: float = Field(description="F1 over all pairs of its annotators; 1 where nobody drew a box")
    boxes: dict[str, int] = Field(description="by annotator")


class AgreementReport(BaseModel):
    """How far the annotators of a lake agree."""

    iou: float = Field(description="from which boxes match")
    photographs: int = Field(description="that two annotators or more labelled")
    annotators: dict[str, int] = Field(description="of these photographs, by annotator")
    overall: Agreement
    by_class: dict[str, Agreement]
    by_pair: list[PairAgreement]
    least: list[PhotographAgreement] = Field(description="the photographs with least agreement, the least first")


def label_agreement(lake: Lake, policy: Policy, least: int = 10) -> AgreementReport:
    """Compares each annotator's latest labels with those of each other annotator of the same photograph.

    Args:
        lake: whose tables are read.
        policy: the sections evaluation (iou) and class_map are used.
        least: how many photographs with least agreement are listed.
    """
    iou, names = policy.evaluation.iou, policy.class_map.names
    several = of_several_annotators(lake.read("annotations", columns=COLUMNS))
    pairs: dict[tuple[str, str], _Pair] = {}
    classes: dict[int, tuple[int, Shared]] = {}
    photographs: list[tuple[float, str, dict[str, int]]] = []
    annotators = Counter[str]()
    for image_id, by_annotator in latest_by_annotator(several).items():
        drawn = {annotator: truth_of(row) for annotator, row in sorted(by_annotator.items())}
        annotators.update(drawn.keys())
        agreement = photograph_agreement(list(drawn.values()), iou)
        photographs.append((agreement, image_id, {annotator: len(truth) for annotator, truth in drawn.items()}))
        for pair in combinations(drawn, 2):
            first, second = (drawn[annotator] for annotator in pair)
            pairs.setdefault(pair, _Pair()).add(first, second, iou)
            for class_id, shared in shared_by_class(first, second, iou).items():
                count, total = classes.get(class_id, (0, Shared()))
                classes[class_id] = count + 1, total + shared
    overall, of_pairs = Shared(), 0
    for one in pairs.values():
        overall, of_pairs = overall + one.shared, of_pairs + one.photographs
    photographs.sort(key=lambda p: p[:2])
    return AgreementReport(
        iou=iou,
        photographs=len(photographs),
        annotators=dict(annotators.most_common()),
        overall=_agreement(of_pairs, overall),
        by_class={
            names[class_id] if class_id < len(names) else str(class_id): _agreement(*classes[class_id])
            for class_id in sorted(classes)
        },
        by_pair=[one.told(pair) for pair, one in sorted(pairs.items())],
        least=_with_keys(lake, photographs[:least]),
    )


class _Pair:
    """The counts of two annotators."""

    def __init__(self) -> None:
        self.photographs, self.shared = 0, Shared()
        self._both_clean, self._one_clean, self._other_class = 0, 0, 0

    def add(self, first: Truth, second: Truth, iou: float) -> None:
        shared = shared_boxes(first, second, iou)
        self.photographs, self.shared = self.photographs + 1, self.shared + shared
        self._both_clean += not len(first) and not len(second)
        self._one_clean += bool(len(first)) != bool(len(second))
        # In place alone a box may match more often than in class and place, never less often.
        self._other_class += max(0, len(matching_boxes(first, second, iou, same_class=False)) - shared.matched)

    def told(self, annotators: tuple[str, str]) -> PairAgreement:
        return PairAgreement(
            annotators=annotators,
            both_clean=self._both_clean,
            one_clean=self._one_clean,
            other_class=self._other_class,
            **_agreement(self.photographs, self.shared).model_dump(),
        )


def _agreement(photographs: int, shared: Shared) -> Agreement:
    return Agreement(
        photographs=photographs, f1=shared.f1, matched=shared.matched, first=shared.first, second=shared.second
    )


def _with_keys(lake: Lake, photographs: list[tuple[float, str, dict[str, int]]]) -> list[PhotographAgreement]:
    import pyarrow as pa
    import pyarrow.compute as pc

    images = lake.read("images", columns=["image_id", "key"])
    ids = pa.array([image_id for _, image_id, _ in photographs], pa.string())
    rows: list[dict[str, Any]] = images.filter(pc.is_in(images["image_id"], value_set=ids)).to_pylist()
    keys = {row["image_id"]: row["key"] for row in rows}
    return [
        PhotographAgreement(image_id=image_id, key=keys.get(image_id, ""), agreement=agreement, boxes=boxes)
        for agreement, image_id, boxes in photographs
    ]
