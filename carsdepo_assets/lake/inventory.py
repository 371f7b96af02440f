"""Reconciles with an S3 Inventory: S3's own list of a bucket of millions of objects, written once a day or a week.

The inventory must be of format Parquet (in CSV keys are URL-encoded, and nothing has a type) with the fields Size, Last
modified date and ETag. It tells what was there some hours ago, so that it only says where to look: what differs from
what is known is delivered as it stands when it is looked at.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field, ValidationError

from carsdepo_assets.lake.lake import Lake, LakeError, ObjectMissing
from carsdepo_assets.lake.objects import ObjectInfo, key_problem, micros
from carsdepo_assets.lake.parquet import read_parquet
from carsdepo_assets.lake.present_objects import look_at
from carsdepo_assets.lake.sources import Facts, Memory, Source, facts_of, infos_of, wanted

logger = logging.getLogger(__name__)

_OLDEST = timedelta(days=9)  # a weekly inventory that failed once is older: then it is no longer written
_MOST_LOOKS = 20_000  # objects that are asked for one by one; where more differ, a listing takes fewer requests
_COLUMNS = ("key", "size", "last_modified_date", "e_tag")


class _File(BaseModel):
    key: str
    md5: str = Field(validation_alias="MD5checksum")


class _Manifest(BaseModel):
    source_bucket: str = Field(validation_alias="sourceBucket")
    created_ms: int = Field(validation_alias="creationTimestamp")
    form: str = Field(validation_alias="fileFormat")
    files: list[_File]


class _DamagedInventory(LakeError):
    """The newest inventory does not say what it was written with; the next one may."""


class InventorySource:
    """A prefix of a lake on S3 whose `reconcile` reads the bucket's newest complete S3 Inventory, each inventory once.

    Where there is none, none newer than nine days or the newest is damaged, or where more than 20,000 objects differ,
    everything is listed. One whose configuration is wrong is an error that says what to change.

    Args:
        lake: the lake.
        prefix: the prefix.
        memory: what is known of its objects.
        url: s3://BUCKET/PREFIX/SOURCE-BUCKET/CONFIGURATION, the folder that has a folder for each inventory.
        listing: polls, and reconciles where the inventory cannot.
    """

    def __init__(self, lake: Lake, prefix: str, memory: Memory, url: str, listing: Source) -> None:
        self._lake, self._prefix, self._memory = lake, prefix.strip("/"), memory
        self._url, self._listing = url.rstrip("/"), listing
        self._bucket, _, root = lake.url.removeprefix("s3://").partition("/")
        self._root = f"{root}/" if root else ""

    def poll(self, cursor: str | None) -> tuple[list[ObjectInfo], str]:
        return self._listing.poll(cursor)

    def gone(self, cursor: str) -> list[str]:
        return self._listing.gone(cursor)

    def ack(self, cursor: str) -> None:
        if cursor.startswith("inventory "):
            self._memory.keep_place(self._place, cursor)
        else:
            self._listing.ack(cursor)

    def reconcile(self) -> tuple[list[ObjectInfo], list[str], str]:
        try:
            return self._reconciled()
        except _DamagedInventory as error:
            logger.warning("%s Everything is listed.", error)
            return self._listing.reconcile()

    def _reconciled(self) -> tuple[list[ObjectInfo], list[str], str]:
        manifest = self._newest()
        if manifest is None:
            return self._listing.reconcile()
        created = datetime.fromtimestamp(manifest.created_ms / 1000, UTC)
        cursor = f"inventory {created.isoformat()}"
        if self._memory.place(self._place) == cursor:
            return [], [], cursor
        if datetime.now(UTC) - created > _OLDEST:
            logger.warning("The newest inventory in %s is of %s: everything is listed.", self._url, created)
            return self._listing.reconcile()
        unknown, gone = self._memory.compare(self._prefix, self._facts(manifest), before=micros(created))
        if len(unknown) + len(gone) > _MOST_LOOKS:
            logger.warning("%d objects differ from the inventory: everything is listed.", len(unknown) + len(gone))
            return self._listing.reconcile()
        present = look_at(self._lake, [*(facts[0] for facts in unknown), *gone])
        for error in present.unanswered.values():
            raise error
        fresh = self._memory.unknown(facts_of(present.there))
        return infos_of(fresh), sorted(self._memory.standing(present.missing)), cursor

    def _newest(self) -> _Manifest | None:
        """The newest inventory that is complete, which is where its checksum lies beside its manifest."""
        folder = Lake.open(self._url)
        manifests = sorted(entry.key for entry in folder.list("") if entry.key.endswith("/manifest.checksum"))
        if not manifests:
            logger.warning("%s has no complete inventory yet: everything is listed.", self._url)
            return None
        key = str(PurePosixPath(manifests[-1]).with_suffix(".json"))
        try:
            manifest = _Manifest.model_validate_json(folder.get(key))
        except ValidationError as error:
            raise _DamagedInventory(f"{self._url}/{key}: no manifest of an S3 Inventory: {error}.") from error
        if manifest.form != "Parquet" or manifest.source_bucket != self._bucket:
            raise LakeError(
                f"{self._url}/{key}: an inventory of the bucket {manifest.source_bucket} in {manifest.form}. "
                f"One of {self._bucket} in Parquet is needed, with Size, Last modified date and ETag."
            )
        return manifest

    def _facts(self, manifest: _Manifest) -> list[Facts]:
        """What the inventory says of the prefix, in order of key."""
        bucket = Lake.open(f"s3://{self._url.removeprefix('s3://').partition('/')[0]}")
        below = f"{self._root}{self._prefix}/"
        facts: list[Facts] = []
        for file in manifest.files:
            try:
                content = bucket.get(file.key)
            except ObjectMissing as error:
                raise _DamagedInventory(f"{bucket.url}/{file.key}: this file of the inventory is missing.") from error
            if hashlib.md5(content, usedforsecurity=False).hexdigest() != file.md5:
                raise _DamagedInventory(f"{bucket.url}/{file.key}: not the bytes that the inventory's manifest names.")
            try:
                rows = read_parquet(content)
            except (pa.ArrowException, OSError) as error:
                raise _DamagedInventory(f"{bucket.url}/{file.key}: not a Parquet file: {error}.") from error
            missing = [name for name in _COLUMNS if name not in rows.column_names]
            if missing:
                raise LakeError(
                    f"{bucket.url}/{file.key}: the inventory lacks {', '.join(missing)}. Add the fields Size, Last "
                    "modified date and ETag to its configuration."
                )
            if "is_latest" in rows.column_names:  # of a bucket with versions
                rows = rows.filter(pc.and_(rows["is_latest"], pc.invert(pc.fill_null(rows["is_delete_marker"], False))))
            rows = rows.filter(pc.starts_with(rows["key"].cast(pa.string()), below))
            times = rows["last_modified_date"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
            columns = (rows[name].to_pylist() for name in ("key", "size", "e_tag"))
            facts += [
                (key.removeprefix(self._root), size, time, f'"{etag}"')
                for key, size, etag, time in zip(*columns, times, strict=True)
                if not key.endswith("/") and wanted(key.removeprefix(below)) and not key_problem(key)
            ]
        return sorted(facts)

    @property
    def _place(self) -> str:
        return f"inventory:{self._prefix}"
