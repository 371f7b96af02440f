"""The digest of what a dataset holds, apart from where it came from: photographs, boxes and classes.

A dataset's version also names batches, label revisions, keys, splits and groups, and so differs between two lakes that
were given the same photographs and labels. The content digest does not.

Hard negatives are not in it, though the version names them: they change neither what a model learns nor any figure but
the table of false alarms by cause, and an export leaves them out by default. The copy that another tool was given, and
that comes back, would else count as another dataset.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

_LARGE_PX = 6000  # a longer side makes six decimals of a share worth more than half a hundredth of a pixel


def content_digest(rows: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> str:
    """The digest of a dataset's photographs, boxes and classes: 16 hexadecimal digits of a sha256.

    Edges of boxes count to 0.01 px, and to 0.1 px where the photograph is longer than 6,000 px. Six decimals of a
    share, as YOLO's tools write, put an edge off by up to 0.75e-6 of the side, which is less than half of that step. So
    edges at whole steps (whole pixels, half pixels, two decimals) come back to themselves through every format. An edge
    between two steps may come to another one.

    Args:
        rows: mappings with image_id, width, height (px) and boxes (class_id, x1, y1, x2, y2, px), in any order.
        class_names: in the order of their ids.
    """
    digest = hashlib.sha256(json.dumps(list(class_names)).encode())
    for row in sorted(rows, key=lambda r: str(r["image_id"])):
        steps = 10 if max(row["width"], row["height"]) > _LARGE_PX else 100
        boxes = sorted(
            [box["class_id"], *(round(box[edge] * steps) for edge in ("x1", "y1", "x2", "y2"))]
            for box in row["boxes"] or []
        )
        digest.update(json.dumps([row["image_id"], boxes]).encode())
    return digest.hexdigest()[:16]
