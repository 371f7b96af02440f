"""Reads the answers of production in a window of time, by the model that gave them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.monitoring.drift.feature_sample import FeatureSample
from carsdepo_assets.monitoring.features import IMAGE, SOURCES, answered, sample_of

STAGE = "production"
COLUMNS = (
    "prediction_id", "at", "stage", "digest", "version", "image_id", "photograph_key", "threshold", "boxes",
    "max_score", "listing", *IMAGE, *SOURCES,
)  # fmt: skip


@dataclass(frozen=True)
class AnswerWindow:
    """The answers in [start, end) of the model that answered last."""

    start: datetime
    end: datetime
    digest: str | None
    """Of that model; None where production answered nothing."""
    rows: pa.Table
    """Its answers with the COLUMNS of the table `inferences`, oldest first."""
    others: Mapping[str, int]
    """{digest: answers} of other models in the window."""

    def sample(self, class_names: tuple[str, ...], unsure_share: float) -> FeatureSample:
        """The answers as input of the drift test. A listing is a car; a photograph without one is a car of its own."""
        groups = [
            listing if listing and listing.strip() else image
            for listing, image in zip(self.rows["listing"].to_pylist(), self.rows["image_id"].to_pylist(), strict=True)
        ]
        return sample_of(self.rows, answered(self.rows, class_names, unsure_share), groups)

    def keys(self) -> dict[str, str | None]:
        """{image_id: key of the photograph in the lake, None where it is not stored}."""
        return dict(zip(self.rows["image_id"].to_pylist(), self.rows["photograph_key"].to_pylist(), strict=True))


def read_window(lake: Lake, start: datetime, end: datetime) -> AnswerWindow:
    """Reads the answers of production in [start, end).

    If two models answered in the window, because of a promotion, each has a reference of its own; only the answers of
    the model that answered last are returned.

    Raises:
        ValueError: end is not after start.
    """
    if end <= start:
        raise ValueError(f"The window ends at {end.isoformat()}, not after its start at {start.isoformat()}.")
    table = lake.read("inferences", columns=list(COLUMNS))
    inside = pc.and_(pc.greater_equal(table["at"], pa.scalar(start)), pc.less(table["at"], pa.scalar(end)))
    table = table.filter(pc.and_(inside, pc.equal(table["stage"], STAGE)))
    table = table.sort_by([("at", "ascending"), ("prediction_id", "ascending")])
    counts = Counter(table["digest"].to_pylist())
    digest = table["digest"][-1].as_py() if table.num_rows else None
    others = {d: n for d, n in counts.most_common() if d != digest}
    return AnswerWindow(
        start, end, digest, table.filter(pc.equal(table["digest"], digest)) if digest else table, others
    )


def answering(lake: Lake) -> str | None:
    """The digest of the model that answered last in production; None before the first answer."""
    table = lake.read("inferences", columns=["at", "stage", "digest"])
    table = table.filter(pc.equal(table["stage"], STAGE)).sort_by("at")
    return str(table["digest"][-1].as_py()) if table.num_rows else None
