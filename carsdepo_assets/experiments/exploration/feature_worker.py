"""The job that measures what the packaged backbone sees in photographs that were not measured yet.

It runs under the verb `reference`, as it asks a network about stored photographs as that job does, and needs torch as
that job does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from carsdepo_assets.compute.worker.events import Events
from carsdepo_assets.compute.worker.process import Job, JobSpec
from carsdepo_assets.experiments.exploration.selection import Scope, select
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.photograph_features import append_features, photographs_without
from carsdepo_assets.policy import Policy

EXTRACTOR = "efficientnet-lite0 imagenet, last block, 224 px, 1"
MEASURED_MOST = 5000  # photographs of a selection
_PART = 256  # photographs measured before they are stored: a kill loses no more


class FeatureSpec(JobSpec):
    """Whose features are measured."""

    scope: Scope
    most: int = Field(MEASURED_MOST, ge=1)


def sampled(photographs: pa.Table, most: int) -> dict[str, str]:
    """The photographs of a selection that are measured: of those whose bytes are kept, the ones with the smallest ids.

    An id is a digest, so that these are a random sample, and the same ones while the selection grows.

    Args:
        photographs: Rows of `selection.PHOTOGRAPHS`.
        most: How many at most.

    Returns:
        The key of the bytes by image id.
    """
    kept = photographs.filter(pc.is_valid(photographs["picture_key"])).sort_by("image_id")
    return dict(zip(*(kept[name][:most].to_pylist() for name in ("image_id", "picture_key")), strict=True))


def run(spec: FeatureSpec, events: Events, after: ExitStack) -> None:
    """Measures the photographs and reports how many."""
    started = time.monotonic()
    lake = Lake.open(spec.lake)
    keys = sampled(select(lake, spec.scope, spec.policy).photographs, spec.most)
    missing = photographs_without(lake, EXTRACTOR, list(keys))
    events.log(f"{len(missing)} of {len(keys)} photographs have no features yet.")
    measured = measure(lake, {image: keys[image] for image in missing}, spec.policy)
    events.report(
        {
            "photographs": measured,
            "unreadable": len(missing) - measured,
            "seconds": round(time.monotonic() - started, 1),
        },
        str(measured),
    )


def measure(lake: Lake, keys: Mapping[str, str], policy: Policy) -> int:
    """Measures photographs and stores their features; those that are gone or damaged are left out.

    Args:
        lake: The lake.
        keys: Key of the stored bytes by image id.
        policy: Gives the limits of the decoder.

    Returns:
        How many were measured.
    """
    if not keys:
        return 0
    from carsdepo_assets.detectors.backbone import SIDE, BackboneFeatures
    from carsdepo_assets.imaging.decode import BadImage, decode

    backbone, limits, ids, measured = BackboneFeatures(), policy.inference, sorted(keys), 0
    for start in range(0, len(ids), _PART):
        kept, images = [], []
        for image in ids[start : start + _PART]:
            try:
                decoded = decode(
                    lake.get(keys[image]), max_bytes=limits.max_photograph_bytes, max_pixels=limits.max_pixels,
                    min_side=1, at_least=SIDE,
                )  # fmt: skip
            except (LakeError, BadImage):
                continue
            kept.append(image)
            images.append(decoded.rgb)
        if kept:
            append_features(lake, EXTRACTOR, kept, np.asarray(backbone.of(images)))
        measured += len(kept)
    return measured


JOB = Job(FeatureSpec, run, "reference")

if __name__ == "__main__":
    sys.exit(JOB.main())
