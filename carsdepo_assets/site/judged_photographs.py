"""The photographs on which production's model was judged: what it detects on them, and what it missed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.evaluation import prediction_cache
from carsdepo_assets.evaluation.prediction_cache import CachedPredictions
from carsdepo_assets.lake.label_conflicts import truth_of
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.models import read_card
from carsdepo_assets.lake.schemas import SCORED_BOX
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.ledger import desired
from carsdepo_assets.scoring.mistakes import ranked_mistakes

JUDGED = pa.schema(
    [
        ("image_id", pa.string()),
        ("predicted", pa.list_(SCORED_BOX)),  # at the model's threshold, best first
        ("misses", pa.int32()),
        ("false_alarms", pa.int32()),  # both null where nobody has labelled it
    ]
)


@dataclass(frozen=True)
class JudgedPhotographs:
    """What a model detects on the photographs of its evaluation."""

    digest: str | None
    """Of the model in production; None: none is."""
    threshold: float | None
    rows: Sequence[dict[str, Any]]
    """Rows of JUDGED."""


NOBODY = JudgedPhotographs(None, None, ())


def judged_photographs(lake: Lake, policy: Policy, labels: pa.Table) -> JudgedPhotographs:
    """Reads the predictions of production's model that its evaluation left in the cache, and holds them against labels.

    Nothing is predicted here. A labelled box that no detection at the threshold matches is a miss, a detection that
    matches none is a false alarm, as in the model's evaluation.

    Args:
        lake: The lake.
        policy: Gives the overlap and the number of detections that count.
        labels: image_id and boxes of the photographs that are labelled.
    """
    serving = desired(lake, "production")
    if serving is None or serving.digest is None:
        return NOBODY
    try:
        card = read_card(lake, serving.digest)
    except LakeError:
        return NOBODY
    cached = prediction_cache.read(lake, prediction_cache.folder(lake, card, policy))
    ids = sorted(cached)
    counted = labels.filter(pc.is_in(labels["image_id"], value_set=pa.array(ids, pa.string())))
    boxes = dict(zip(counted["image_id"].to_pylist(), counted["boxes"].to_pylist(), strict=True))
    labelled = [i for i in ids if i in boxes]
    truths = [truth_of({"boxes": boxes[i]}) for i in labelled]
    n_classes = 1 + max(
        [len(card.class_names) - 1, *(int(t.classes.max()) for t in truths if len(t))]
    )  # a label may be of a class that the model does not know
    mistakes = ranked_mistakes(
        truths, [cached[i].detections for i in labelled], n_classes, threshold=card.threshold,
        iou=policy.evaluation.iou, max_detections=policy.evaluation.max_detections, limit=10**9,
    )  # fmt: skip
    misses, alarms = Counter(m.image for m in mistakes.misses), Counter(a.image for a in mistakes.false_alarms)
    place = {image: n for n, image in enumerate(labelled)}
    rows = [
        {
            "image_id": image,
            "predicted": _boxes(cached[image], card.threshold),
            "misses": misses[place[image]] if image in place else None,
            "false_alarms": alarms[place[image]] if image in place else None,
        }
        for image in ids
    ]
    return JudgedPhotographs(serving.digest, card.threshold, rows)


def _boxes(cached: CachedPredictions, threshold: float) -> list[dict[str, Any]]:
    d = cached.detections
    return [
        {"class_id": int(c), "x1": x1, "y1": y1, "x2": x2, "y2": y2, "score": float(s)}
        for (x1, y1, x2, y2), s, c in zip(d.xyxy.tolist(), d.scores.tolist(), d.classes.tolist(), strict=True)
        if s >= threshold
    ]
