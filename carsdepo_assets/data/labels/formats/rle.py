"""The bounding box of a mask in COCO's run-length encoding that is a label: what is not whole is refused."""

from __future__ import annotations

from typing import Any

from carsdepo_assets.data.labels.formats.json_values import numbers
from carsdepo_assets.data.labels.formats.parsed import Xyxy
from carsdepo_assets.scoring.coco_masks import MaskError, box_around, run_lengths

_LONGEST_SIDE = 10**6  # pixels


def rle_box(segmentation: Any) -> Xyxy | None:
    """The bounding box (x1, y1, x2, y2) in pixels of a mask {"counts", "size"}; None for what is none, or empty.

    pycocotools takes a mask whose runs end before its last pixel; of a label, they may have been cut off.
    """
    if not isinstance(segmentation, dict):
        return None
    size, counts = _whole(segmentation.get("size")), segmentation.get("counts")
    if size is None or len(size) != 2 or not all(0 < side < _LONGEST_SIDE for side in size):
        return None
    mask = {"size": size, "counts": counts if isinstance(counts, str) else _whole(counts)}
    try:
        if int(run_lengths(mask).sum()) != size[0] * size[1]:
            return None
        left, top, width, height = box_around(mask)
    except MaskError:
        return None
    return (left, top, left + width, top + height) if width else None


def _whole(values: Any) -> list[int] | None:
    parts = numbers(values)
    return None if parts is None or not all(one.is_integer() for one in parts) else [int(one) for one in parts]
