"""Photographs of the golden set as a client would send them, to compare exports and to validate staging."""

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
    from numpy.typing import NDArray


class NoGoldenSet(LookupError):
    """There is no golden set, so that no model can be released; the message says what to materialize."""


@dataclass(frozen=True)
class GoldenPhotograph:
    """One photograph of the golden set."""

    image_id: str
    """The sha256 of its bytes."""
    name: str
    """Its file name."""
    data: bytes
    """The original bytes."""
    rgb: NDArray[np.uint8]
    """All upright pixels, HxWx3."""


def golden_versions(lake: Lake) -> tuple[int, str]:
    """The version of the current golden set, and that of the newest dataset, whose labels count.

    Raises:
        NoGoldenSet: There is no golden set or no dataset.
    """
    current, dataset = golden.current(lake), latest(lake)
    if current is None or dataset is None:
        raise NoGoldenSet(f"{lake.url} has no golden set: materialize `dataset` with labelled photographs first.")
    return current.version, dataset


def golden_photographs(lake: Lake, policy: Policy, count: int) -> list[GoldenPhotograph]:
    """Reads photographs that are evenly spread over the golden set, in order of their image_id.

    Args:
        lake: The lake.
        policy: Gives the service's limits; photographs beyond them are left out.
        count: How many to read at most.

    Raises:
        NoGoldenSet: There is no golden set, or none of its photographs is within the service's limits.
        LakeError: An original is missing.
    """
    from carsdepo_assets.evaluation.golden import golden_rows
    from carsdepo_assets.imaging.serving import decode_as_served

    _, dataset = golden_versions(lake)
    rows = golden_rows(lake, dataset)
    chosen = [rows[i * len(rows) // min(count, len(rows))] for i in range(min(count, len(rows)))]
    photographs = []
    for row in chosen:
        data = lake.get(row["key"])
        try:
            photographs.append(
                GoldenPhotograph(
                    row["image_id"], row["key"].rsplit("/", 1)[-1], data, decode_as_served(data, policy)[0].rgb
                )
            )
        except BadImage:  # the pipeline's limits let it in, the service's are narrower
            continue
    if not photographs:
        raise NoGoldenSet("None of the golden photographs is within policy.inference's limits: raise them.")
    return photographs
