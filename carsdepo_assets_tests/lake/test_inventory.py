"""lake/inventory.py: what an S3 Inventory finds that events lost, and when everything is listed instead."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from carsdepo_assets.lake import inventory
from carsdepo_assets.lake.inventory import InventorySource
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.objects import ObjectInfo
from carsdepo_assets.lake.source_choice import source_for
from carsdepo_assets.lake.sources import S3ListingSource, listing
from carsdepo_assets_tests.lake.source_contract import Remembered

UPLOADS = "raw/uploads"


class Inventoried:
    """A lake, and inventories of its bucket as S3 writes them."""

    def __init__(self, url: str, cache: Path) -> None:
        self.lake, self.memory = Lake.open(url, cache=cache), Remembered()
        self.bucket, _, self.root = url.removeprefix("s3://").partition("/")
        self.folder = f"{self.root.partition('/')[0]}/inventory/{self.bucket}/daily"
        self.url = f"s3://{self.bucket}/{self.folder}"

    def put(self, *names: str) -> None:
        for name in names:
            self.lake.put(f"{UPLOADS}/{name}", name.encode())

    def write(self, created: datetime, form: str = "Parquet", complete: bool = True, **columns: Sequence[Any]) -> None:
        """An inventory of the present objects, in two files, by their keys backwards."""
        place = Lake.open(f"s3://{self.bucket}")
        entries = sorted(self.lake.list(""), key=lambda o: o.key, reverse=True)
        files = []
        for half in (entries[::2], entries[1::2]):
            content = _parquet(self.bucket, self.root, half, columns)
            md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
            key = f"{self.folder}/data/{md5}.parquet"
            place.put(key, content)
            files.append({"key": key, "size": len(content), "MD5checksum": md5})
        manifest = {"sourceBucket": self.bucket, "fileFormat": form, "files": files, "version": "2016-11-30"}
        manifest["creationTimestamp"] = str(round(created.timestamp() * 1000))
        day = f"{self.folder}/{created:%Y-%m-%dT%H-%MZ}"
        place.put(f"{day}/manifest.json", json.dumps(manifest).encode())
        if complete:
            place.put(f"{day}/manifest.checksum", b"of the manifest")

    def reconcile(self) -> tuple[list[str], list[str]]:
        """A reconciliation to its end: the names that are delivered, and those that are gone."""
        source = source_for(self.lake, UPLOADS, self.memory, inventory=self.url)
        assert isinstance(source, InventorySource)
        objects, gone, cursor = source.reconcile()
        self.memory.keep(objects)
        for key in gone:
            del self.memory.objects[key]
        source.ack(cursor)
        return sorted(o.key.removeprefix(f"{UPLOADS}/") for o in objects), [k.removeprefix(f"{UPLOADS}/") for k in gone]


def _parquet(bucket: str, root: str, entries: Sequence[ObjectInfo], columns: dict[str, Sequence[Any]]) -> bytes:
    table = pa.table(
        {
            "bucket": [bucket] * len(entries),
            "key": pa.array([f"{root}/{o.key}" for o in entries], pa.string()),
            "size": [o.size for o in entries],
            "last_modified_date": pa.array([o.modified_at for o in entries], pa.timestamp("ms", tz="UTC")),
            "e_tag": pa.array([str(o.etag).strip('"') for o in entries], pa.string()),
        }
    )
    for name, values in columns.items():
        table = table.drop([name]) if not values else table.append_column(name, pa.array(values[: len(entries)]))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="snappy")
    return sink.getvalue().to_pybytes()


@pytest.fixture
def inventoried(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inventoried:
    site = Inventoried(s3_url, tmp_path / "cache")
    monkeypatch.setattr(S3ListingSource, "reconcile", lambda source: pytest.fail("everything was listed"))
    return site


def test_what_events_lost_is_delivered_as_it_stands_now(inventoried: Inventoried) -> None:
    inventoried.put("known.jpg", "lost.jpg", "x/100% a+b.jpg", "overwritten.jpg", "gone.jpg", ".hidden.jpg", "a.part")
    inventoried.lake.put("raw/labels/a.txt", b"1")
    taken = {"known.jpg", "overwritten.jpg", "gone.jpg"}
    inventoried.memory.keep(o for o in listing(inventoried.lake, UPLOADS) if o.key.rpartition("/")[2] in taken)
    inventoried.lake.delete(f"{UPLOADS}/gone.jpg")
    inventoried.write(datetime.now(UTC) + timedelta(seconds=5))
    inventoried.lake.put(f"{UPLOADS}/overwritten.jpg", b"as it is now")
    inventoried.put("later.jpg")
    inventoried.lake.delete(f"{UPLOADS}/x/100% a+b.jpg")
    assert inventoried.reconcile() == (["lost.jpg"], ["gone.jpg"])
    # What was overwritten since is as the inventory has it: an event, or the next inventory, tells of it.
    inventoried.write(datetime.now(UTC) + timedelta(seconds=65))
    assert inventoried.reconcile() == (["later.jpg", "overwritten.jpg"], [])
    assert inventoried.memory.objects[f"{UPLOADS}/overwritten.jpg"].size == 12


def test_what_came_after_the_inventory_is_not_gone(inventoried: Inventoried, monkeypatch: pytest.MonkeyPatch) -> None:
    inventoried.put("old.jpg")
    inventoried.write(datetime.now(UTC) - timedelta(hours=1))
    inventoried.put("new.jpg")
    inventoried.memory.keep(listing(inventoried.lake, UPLOADS))
    monkeypatch.setattr(inventory, "_MOST_LOOKS", 0)  # and costs no look
    assert inventoried.reconcile() == ([], [])


def test_an_inventory_is_read_once(inventoried: Inventoried) -> None:
    inventoried.put("a.jpg")
    inventoried.write(datetime.now(UTC))
    source = source_for(inventoried.lake, UPLOADS, inventoried.memory, inventory=inventoried.url)
    assert len(source.reconcile()[0]) == 1
    assert len(source.reconcile()[0]) == 1  # it was not acknowledged
    assert inventoried.reconcile() == (["a.jpg"], [])
    inventoried.memory.objects.clear()
    assert inventoried.reconcile() == ([], [])


def test_the_rows_of_older_versions_and_of_delete_markers_do_not_count(inventoried: Inventoried) -> None:
    inventoried.put("a.jpg", "b.jpg", "c.jpg", "d.jpg")  # the files have d, b and c, a
    inventoried.write(datetime.now(UTC), is_latest=[True, False], is_delete_marker=[None, False])
    assert inventoried.reconcile() == (["c.jpg", "d.jpg"], [])


@pytest.mark.parametrize(
    ("age", "complete", "most", "said"),
    [
        (None, True, 20_000, "no complete inventory"),
        (timedelta(), False, 20_000, "no complete inventory"),
        (timedelta(days=10), True, 20_000, "newest inventory"),
        (timedelta(), True, 1, "2 objects differ"),
    ],
)
def test_where_an_inventory_is_of_no_use_everything_is_listed(
    s3_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    age: timedelta | None,
    complete: bool,
    most: int,
    said: str,
) -> None:
    site = Inventoried(s3_url, tmp_path / "cache")
    site.put("a.jpg", "b.jpg")
    if age is not None:
        site.write(datetime.now(UTC) - age, complete=complete)
    site.put("c.jpg")
    monkeypatch.setattr(inventory, "_MOST_LOOKS", most)
    with caplog.at_level(logging.WARNING):
        assert site.reconcile() == (["a.jpg", "b.jpg", "c.jpg"], [])
    assert said in caplog.text


@pytest.mark.parametrize(
    ("form", "columns", "said"),
    [("CSV", {}, "in CSV.*in Parquet is needed"), ("Parquet", {"e_tag": []}, "lacks e_tag.*ETag")],
)
def test_an_inventory_that_cannot_be_used_is_an_error_that_says_what_to_configure(
    inventoried: Inventoried, form: str, columns: dict[str, Any], said: str
) -> None:
    inventoried.put("a.jpg")
    inventoried.write(datetime.now(UTC), form, **columns)
    with pytest.raises(LakeError, match=said):
        inventoried.reconcile()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("cut", "not the bytes"),
        ("no Parquet", "not a Parquet file"),
        ("gone", "is missing"),
        ("manifest", "no manifest of an S3 Inventory"),
    ],
)
def test_where_an_inventory_is_damaged_everything_is_listed(
    s3_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str, reason: str
) -> None:
    inventoried = Inventoried(s3_url, tmp_path / "cache")
    inventoried.put("a.jpg", "b.jpg")
    inventoried.write(datetime.now(UTC))
    place = Lake.open(f"s3://{inventoried.bucket}")
    files = [entry.key for entry in place.list(f"{inventoried.folder}/data")]
    (manifest,) = [e.key for e in place.list(inventoried.folder) if e.key.endswith("/manifest.json")]
    if damage == "cut":
        place.put(files[0], place.get(files[0])[:-1])
    elif damage == "no Parquet":
        facts = json.loads(place.get(manifest))
        for file in facts["files"]:
            file["MD5checksum"] = hashlib.md5(b"x").hexdigest()
        place.put(manifest, json.dumps(facts).encode())
        for data in files:
            place.put(data, b"x")
    elif damage == "gone":
        place.delete(files[0])
    else:
        place.put(manifest, b"{}")
    inventoried.put("c.jpg")
    with caplog.at_level(logging.WARNING):
        assert inventoried.reconcile() == (["a.jpg", "b.jpg", "c.jpg"], [])
    assert reason in caplog.text
