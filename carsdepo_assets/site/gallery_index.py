"""The photographs in columns, in memory, for pages that filter and search them: no listing, no file a photograph.

The columns are read from the lake's tables and ordered once; a page is then a question to DuckDB, of milliseconds. The
columns are read anew where a table has a new version: where that takes longer than a page may, in the background, and
pages meanwhile show what was there before.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from carsdepo_assets.evaluation.slices import LIGHT, SOURCE
from carsdepo_assets.lake.image_metadata import read_images
from carsdepo_assets.lake.label_conflicts import COLUMNS, labels_that_count
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.site.judged_photographs import JUDGED, JudgedPhotographs, judged_photographs

logger = logging.getLogger(__name__)

_TABLES = ("images", "metadata", "annotations", "splits", "deployments", "evaluations", "gates")
_COLUMNS = ("image_id", "batch_id", "key", "width", "height", "luma_mean", "listing", "camera", "light", "ingested_at")
PATIENCE_S = 0.5  # that a page waits for newer columns
FIRST_S = 5.0  # and for the first ones, after which it says that they are being read
_CHOICES = 60  # values of a filter that are offered; others are reached by the address
_MEMORY = "2GB"  # at most; measured: 0.36 GB for a million photographs with 1.2 boxes each

_FACTS = f"""
create table facts as
with s as (select image_id, arg_max(split, assigned_at) as split, arg_max(group_id, assigned_at) as group_id
           from splits_now group by image_id)
select i.image_id, i.batch_id, i.key, lower(parse_filename(i.key)) as file_name, i.width, i.height,
  i.ingested_at as moment, nullif(i.listing, '') as listing,
  nullif(i.camera, '') as camera, {SOURCE} as source, {LIGHT} as light,
  s.split, s.group_id, l.boxes, list_distinct(list_transform(l.boxes, lambda b: b.class_id)) as classes,
  j.predicted, j.misses, j.false_alarms
from images_now i left join s using (image_id) left join labels_now l using (image_id)
  left join judged_now j using (image_id)
order by moment desc, image_id
"""


@dataclass(frozen=True)
class GalleryColumns:
    """The columns as they were at one moment."""

    versions: tuple[object, ...]
    """Of the tables, and the policy's rules of which labels count and what counts as found."""
    at: datetime
    photographs: int
    judged_by: JudgedPhotographs
    """Whose predictions are shown, and at which threshold."""
    connection: Any
    """DuckDB, with the table `facts`; each question takes a cursor of it."""
    choices: Mapping[str, list[tuple[str, int]]]
    """The values of each filter with their numbers of photographs, the most frequent first; of batches the newest."""

    def ask(self, sql: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Runs a query. Text from outside belongs into `values`, for the query's question marks."""
        return _asked(self.connection, sql, values)


def _asked(connection: Any, sql: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
    cursor = connection.cursor()
    try:
        return list(cursor.execute(sql, list(values)).to_arrow_table().to_pylist())
    finally:
        cursor.close()


class GalleryIndex:
    """Keeps the columns of one lake up to date."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: GalleryColumns | None = None
        self._thread: threading.Thread | None = None
        self._trouble: Exception | None = None

    def columns(self, lake: Lake, policy: Policy, patience_s: float | None = None) -> GalleryColumns | None:
        """The columns of now, or of a little before while new ones are read.

        Args:
            lake: The lake.
            policy: Gives which labels and detections count, and the limits of the decoder, by which the predictions
                are found.
            patience_s: How long to wait for new columns; None: PATIENCE_S, for the first ones FIRST_S.

        Returns:
            None where there are none yet and the first ones take longer.

        Raises:
            Exception: what reading them raised, where there are none to show.
        """
        versions = (*(lake.version(table) for table in _TABLES), policy.evaluation, policy.data)
        with self._lock:
            if self._now is not None and self._now.versions == versions:
                return self._now
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._read, args=(lake.url, policy, versions), daemon=True)
                self._thread.start()
            thread = self._thread
        usual = FIRST_S if self._now is None else PATIENCE_S
        thread.join(usual if patience_s is None else patience_s)
        if self._now is None and self._trouble is not None and not thread.is_alive():
            raise self._trouble
        return self._now

    def _read(self, url: str, policy: Policy, versions: tuple[object, ...]) -> None:
        try:
            self._now, self._trouble = read_columns(Lake.open(url), policy, versions), None
        except Exception as error:  # the next page tries again; the log has the trace
            logger.exception("the gallery's columns could not be read")
            self._trouble = error


def read_columns(lake: Lake, policy: Policy, versions: tuple[object, ...] = ()) -> GalleryColumns:
    """Reads the columns of all photographs of a lake."""
    import duckdb

    started = time.monotonic()
    labels = labels_that_count(lake.read("annotations", COLUMNS), policy).rows.select(["image_id", "boxes"])
    judged = judged_photographs(lake, policy, labels)
    given: Mapping[str, pa.Table] = {
        "images_now": read_images(lake, _COLUMNS),
        "splits_now": lake.read("splits", ["image_id", "split", "group_id", "assigned_at"]),
        "labels_now": labels,
        "judged_now": pa.Table.from_pylist(list(judged.rows), schema=JUDGED),
    }
    config = {"python_enable_replacements": "false", "autoinstall_known_extensions": "false", "threads": "2"}
    connection = duckdb.connect(config=config)
    connection.execute(f"SET enable_external_access = false; SET TimeZone = 'UTC'; SET memory_limit = '{_MEMORY}'")
    for name, rows in given.items():
        connection.register(name, rows)
    connection.execute(_FACTS)
    for name in given:
        connection.unregister(name)
    del given, labels
    pa.default_memory_pool().release_unused()  # reading takes three times what stays
    (count,) = connection.execute("select count(*) from facts").fetchone() or (0,)
    logger.info("columns of %d photographs read in %.1f s", count, time.monotonic() - started)
    return GalleryColumns(versions, datetime.now(UTC), int(count), judged, connection, _choices(connection))


def _choices(connection: Any) -> Mapping[str, list[tuple[str, int]]]:
    offered = {}
    for name, column in (*((c, c) for c in ("split", "source", "light", "camera")), ("batch", "batch_id")):
        order = "max(moment) desc" if name == "batch" else "n desc, value"
        rows = _asked(
            connection,
            f"select {column} as value, count(*) as n from facts where {column} is not null group by 1 "
            f"order by {order} limit {_CHOICES}",
        )
        offered[name] = [(str(row["value"]), int(row["n"])) for row in rows]
    classes = "select c, count(*) as n from (select unnest(classes) as c from facts) group by 1 order by 1"
    offered["class"] = [(str(row["c"]), int(row["n"])) for row in _asked(connection, classes)]
    return offered
