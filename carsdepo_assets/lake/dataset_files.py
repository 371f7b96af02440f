"""Whether a dataset's photographs are still in the lake: looked at before a training, and after one that failed."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.lake.datasets import DatasetErased
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.present_objects import look_at

LOOKED_AT = 400  # photographs of a quick look, evenly among all
_NAMED = 3  # keys in a message


def check_photographs(lake: Lake, version: str, manifest: pa.Table, at_most: int | None = None) -> None:
    """Looks for the files that a training on a dataset reads: processed copies of train and val, originals of val.

    Args:
        lake: the lake.
        version: the dataset's.
        manifest: the dataset's.
        at_most: photographs that are looked for, evenly among all; None: every one.

    Raises:
        DatasetErased: some are missing.
        LakeError: the lake does not answer.
    """
    learnt = manifest.filter(pc.is_in(manifest["split"], pa.array(["train", "val"])))
    rows = learnt.select(["key", "object_key", "split"]).to_pylist()
    step = 1 if at_most is None else max(1, -(-len(rows) // at_most))
    looked_for = rows[::step]
    copies, originals = [r["object_key"] for r in looked_for], [r["key"] for r in looked_for if r["split"] == "val"]
    present = look_at(lake, [*copies, *originals])
    if present.missing:
        raise DatasetErased(_erased(lake, version, present.missing))
    for error in present.unanswered.values():
        raise error


def _erased(lake: Lake, version: str, missing: list[str]) -> str:
    named = ", ".join(missing[:_NAMED])
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return (
        f"Photographs of dataset {version} are not in the lake {lake.url} any more: {named}{more}. They were erased or "
        "moved. Put them back, from a backup or from the bucket's versions, and start again: each dataset of these "
        "labels has them."
    )
