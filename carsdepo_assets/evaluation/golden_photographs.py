"""Photographs of the golden set as a client would send them: for exports to be compared on, and for staging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carsdepo_assets.imaging.bad_image import BadImage
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.datasets import latest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy

if TYPE_CHECKING:
    import numpy as np


class NoGoldenSet(LookupError):
    """There is nothing that a release could be judged on; the message says what to materialize."""


@dataclass(frozen=True)
class GoldenPhotograph:
    """data: the original bytes. rgb: HxWx3 uint8, upright, decoded as the service does."""

    image_id: str
    name: str
    data: bytes
    rgb: np.ndarray


def golden_versions(lake: Lake) -> tuple[int, str]:
    """The current golden set's version and the newest dataset, whose labels count. Raises NoGoldenSet."""
    current, dataset = golden.current(lake), latest(lake)
    if current is None or dataset is None:
        raise NoGoldenSet(f"{lake.url} has no golden set: materialize `dataset` with labelled photographs first.")
    return current.version, dataset


def golden_photographs(lake: Lake, policy: Policy, count: int) -> list[GoldenPhotograph]:
    """Up to `count`, evenly spread over the golden set in order of image_id, that the service's limits let through.

    Raises NoGoldenSet where there is none, LakeError where an original is missing.
    """
    from carsdepo_assets.evaluation.golden import golden_rows
    from carsdepo_assets.imaging.serving import decode_as_served

    _, dataset = golden_versions(lake)
    rows = golden_rows(lake, dataset)
    chosen = [rows[i * len(rows) // min(count, len(rows))] for i in range(min(count, len(rows)))]
    found = []
    for row in chosen:
        data = lake.get(row["key"])
        try:
            found.append(
                GoldenPhotograph(
                    row["image_id"], row["key"].rsplit("/", 1)[-1], data, decode_as_served(data, policy).rgb
                )
            )
        except BadImage:  # the pipeline's limits let it in, the service's are narrower
            continue
    if not found:
        raise NoGoldenSet("None of the golden photographs is within policy.inference's limits: raise them.")
    return found

