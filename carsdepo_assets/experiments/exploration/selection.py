"""Which photographs are explored: those of a dataset's version, of an upload batch, of a window of traffic, or all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from carsdepo_assets.evaluation.slices import LIGHT, SOURCE
from carsdepo_assets.lake.data_schemas import BOX
from carsdepo_assets.lake.datasets import latest, read_manifest, read_summary, versions
from carsdepo_assets.lake.image_metadata import read_images
from carsdepo_assets.lake.label_conflicts import COLUMNS, labels_that_count
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy

QUALITIES = (
    "luma_mean", "luma_std", "luma_p95", "sharpness", "saturation", "colour_cast", "aspect", "megapixels",
    "bits_per_pixel",
)  # fmt: skip
_OF_IMAGES = ("image_id", "key", "width", "height", "camera", "light", "phash", "group_hint", "listing", *QUALITIES)
PHOTOGRAPHS = pa.schema(
    [
        ("image_id", pa.string()),
        ("key", pa.string()),  # of the upload, or the name of the file that the service was sent
        ("picture_key", pa.string()),  # of bytes in the lake that show it; null: none are kept
        ("split", pa.string()),
        ("group_id", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        *[pa.field(name, pa.float64()) for name in QUALITIES],
        ("source", pa.string()),
        ("camera", pa.string()),
        ("light", pa.string()),
        ("phash", pa.string()),
        ("boxes", pa.list_(BOX)),  # labels; null: nobody has labelled it
        ("predicted", pa.list_(BOX)),  # what production answered, at its threshold; null: it was not asked
    ]
)


class NothingToExplore(LookupError):
    """There are no photographs under that name; the message lists what there is."""


class Scope(BaseModel):
    """What is explored. With neither dataset, batch nor window: the newest dataset, else all photographs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str | None = None
    """A version of the dataset."""
    batch: str | None = None
    """The id of an upload batch."""
    start: datetime | None = None
    """Of a window of production's answers, in the window."""
    end: datetime | None = None
    """Of the window, not in it."""

    def check(self) -> None:
        """Raises ValueError where two things are asked for at once, or the window is none."""
        windowed = self.start is not None or self.end is not None
        if sum((self.dataset is not None, self.batch is not None, windowed)) > 1:
            raise ValueError("Explore one of a dataset, a batch and a window at a time.")
        if windowed and (self.start is None or self.end is None):
            raise ValueError("A window needs its start and its end.")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError(f"The window ends at {self.end.isoformat()}, not after its start.")


@dataclass(frozen=True)
class Selection:
    """The photographs that are explored."""

    kind: Literal["dataset", "batch", "window", "lake"]
    name: str
    """Of the report: a version, a batch's id, the window's ends, or `all`."""
    title: str
    """What they are, for people."""
    photographs: pa.Table
    """Rows of PHOTOGRAPHS, by image_id."""
    notes: tuple[str, ...] = ()
    """What a reader must know of the choice."""


def moment(text: str) -> datetime:
    """A time of a window; UTC where it names no zone.

    Raises:
        ValueError: it is no ISO time.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an ISO time such as 2026-05-06T18:00:00+00:00.") from error
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    try:
        at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} lies before or after all years of the calendar in UTC.") from error
    return at


def select(lake: Lake, scope: Scope, policy: Policy) -> Selection:
    """Reads the photographs that are to be explored, a dataset's with its own labels, others with those that count now.

    Args:
        lake: The lake.
        scope: Which photographs.
        policy: Says which labels of several annotators count.

    Raises:
        NothingToExplore: there is no such dataset or batch, or it has no photographs.
        ValueError: the scope asks for two things at once.
    """
    scope.check()
    if scope.batch is not None:
        return _of_batch(lake, scope.batch, policy)
    if scope.start is not None and scope.end is not None:
        return _of_window(lake, scope.start, scope.end, policy)
    version = scope.dataset or latest(lake)
    return _of_lake(lake, policy) if version is None else _of_dataset(lake, version)


def _of_dataset(lake: Lake, version: str) -> Selection:
    stored_versions = versions(lake)
    if version not in stored_versions:
        listed = ", ".join(stored_versions) or "none yet (`carsdepo dataset build` makes one)"
        raise NothingToExplore(f"There is no dataset {version!r} in {lake.url}. Datasets: {listed}.")
    manifest = read_manifest(lake, version)
    images = _images(lake, manifest["image_id"].to_pylist())
    taken = manifest.select(["image_id", "split", "group_id", "boxes", "object_key"])
    rows = lake.query(
        "select i.*, m.object_key picture_key, m.split, m.group_id, m.boxes "
        "from m left join i using (image_id) order by image_id",
        i=images, m=taken,
    )  # fmt: skip
    notes = tuple(str(note) for note in read_summary(lake, version).get("notes", []))
    return Selection("dataset", version, f"Dataset {version}", _conformed(rows), notes)


def _of_batch(lake: Lake, batch: str, policy: Policy) -> Selection:
    ids = lake.read("images", ["image_id"], [("batch_id", "=", batch)])["image_id"].to_pylist()
    if not ids:
        newest = lake.query("select batch_id, count(*) n from uploads group by 1 order by 1 desc limit 5").to_pylist()
        listed = ", ".join(f"{row['batch_id']} ({row['n']} files)" for row in newest) or "none yet"
        raise NothingToExplore(
            f"Upload batch {batch!r} has no photographs: it does not exist, or all of its files were there already or "
            f"are in quarantine. The newest batches: {listed}."
        )
    return Selection("batch", batch, f"Upload batch {batch}", _stored(lake, ids, policy))


def _of_lake(lake: Lake, policy: Policy) -> Selection:
    rows = _stored(lake, None, policy)
    if not rows.num_rows:
        raise NothingToExplore(
            f"{lake.url} has no photographs yet: `carsdepo import FOLDER` brings some, or drop them into raw/uploads."
        )
    note = "There is no dataset yet: these are all photographs of the lake, without splits."
    return Selection("lake", "all", "All photographs", rows, (note,))


def _stored(lake: Lake, ids: Sequence[str] | None, policy: Policy) -> pa.Table:
    """Photographs of the table `images`, with the labels and the splits of now.

    What no dataset has grouped yet goes by what was said of it: its group, else its listing, else it is a car of its
    own.
    """
    where = [] if ids is None else [("image_id", "in", list(ids))]
    processed = lake.read("processed", ["image_id", "object_key"], where)
    splits = lake.read("splits", ["image_id", "group_id", "split", "assigned_at"], where)
    rows = lake.query(
        "with o as (select image_id, any_value(object_key) picture_key from processed_now group by 1), "
        "s as (select image_id, arg_max(split, assigned_at) split, arg_max(group_id, assigned_at) group_id "
        "from splits_now group by 1) "
        "select i.*, picture_key, split, boxes, "
        "coalesce(group_id, nullif(group_hint, ''), nullif(listing, ''), image_id) group_id "
        "from i left join o using (image_id) "
        "left join s using (image_id) left join labels_now using (image_id) order by image_id",
        i=_images(lake, ids), processed_now=processed, splits_now=splits, labels_now=_labels(lake, ids, policy),
    )  # fmt: skip
    return _conformed(rows)


def _of_window(lake: Lake, start: datetime, end: datetime, policy: Policy) -> Selection:
    columns = [
        "image_id", "at", "stage", "file_name", "photograph_key", "width", "height", "source", "camera", "listing",
        "threshold", "boxes", *QUALITIES,
    ]  # fmt: skip
    table = lake.read("inferences", columns, [("at", ">=", start), ("at", "<", end), ("stage", "=", "production")])
    text = f"{start.isoformat(timespec='minutes')} to {end.isoformat(timespec='minutes')}"
    if not table.num_rows:
        span = lake.query(
            'select min("at") as first, max("at") as last from t', t=lake.read("inferences", ["at"])
        ).to_pylist()
        first, last = span[0]["first"], span[0]["last"]
        held = f"answers reach from {first} to {last}" if last else "it has answered nothing yet"
        raise NothingToExplore(f"Production answered nothing in the window {text}: {held}.")
    labels = _labels(lake, table["image_id"].unique().to_pylist(), policy)
    rows = lake.query(
        "with w as (select *, null::varchar light from answers "  # nobody says in what light traffic was taken
        'qualify row_number() over (partition by image_id order by "at" desc) = 1) '
        "select w.image_id, file_name as key, nullif(photograph_key, '') picture_key, width, height, source, camera, "
        "coalesce(nullif(listing, ''), w.image_id) group_id, "
        f"{LIGHT} as light, {', '.join(QUALITIES)}, labels_now.boxes boxes, "
        "list_transform(list_filter(w.boxes, lambda b: b.score >= threshold), "
        "lambda b: {'class_id': b.class_id, 'x1': b.x1, 'y1': b.y1, 'x2': b.x2, 'y2': b.y2}) predicted "
        "from w left join labels_now using (image_id) order by 1",
        answers=table, labels_now=labels,
    )  # fmt: skip
    note = "A photograph that was sent several times counts once, with its last answer."
    name = f"{start.astimezone(UTC):%Y%m%dT%H%M%S}-{end.astimezone(UTC):%Y%m%dT%H%M%S}"
    return Selection("window", name, f"Traffic of {text}", _conformed(rows), (note,))


def _images(lake: Lake, ids: Sequence[str] | None) -> pa.Table:
    """Rows of `images` with source and light."""
    images = read_images(lake, _OF_IMAGES, ids)
    return lake.query(f"select i.* exclude (light), {LIGHT} as light, {SOURCE} as source from i", i=images)


def _labels(lake: Lake, ids: Sequence[str] | None, policy: Policy) -> pa.Table:
    """The labels of photographs that count."""
    where = [] if ids is None else [("image_id", "in", list(ids))]
    return labels_that_count(lake.read("annotations", COLUMNS, where), policy).rows.select(["image_id", "boxes"])


def _conformed(rows: pa.Table) -> pa.Table:
    """The columns of PHOTOGRAPHS, in order of image_id."""
    columns = [
        rows[field.name].cast(field.type) if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type)
        for field in PHOTOGRAPHS
    ]
    return pa.Table.from_arrays(columns, schema=PHOTOGRAPHS)


def labelled_count(photographs: pa.Table) -> int:
    """How many of the photographs are labelled, with damage or reviewed without."""
    return int(pc.sum(pc.is_valid(photographs["boxes"])).as_py() or 0)
