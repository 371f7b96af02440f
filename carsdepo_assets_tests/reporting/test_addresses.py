"""reporting/addresses.py: which page shows what lies at a key."""

from __future__ import annotations

import dagster as dg
import pytest

from carsdepo_assets.reporting.addresses import page_path, page_url
from carsdepo_assets.resources import LakeResource


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("reports/drift/r1.html", "reports/drift/r1.html"),
        ("reports/kpi/a b.html", "reports/kpi/a%20b.html"),
        ("reports/drift/r1.json", None),
        ("models/0a1b/lineage.json", "models/0a1b"),
        ("models/0a1b/export/model.onnx", "models/0a1b"),
        ("models/0a1b", None),
        ("queues/drift-r1/queue.csv", "queues/drift-r1"),
        ("raw/uploads/queue/drift-r1", "queues/drift-r1"),
        ("raw/uploads/other/a.jpg", None),
        ("datasets/1/manifest.parquet", None),
        ("references/d.parquet", None),
    ],
)
def test_pages(key: str, path: str | None) -> None:
    assert page_path(key) == path
    assert page_url("http://site/", key) == (None if path is None else f"http://site/{path}")


def test_a_link_is_a_page_where_there_is_one_and_a_place_in_the_lake_elsewhere() -> None:
    lake = LakeResource(url="s3://b/lake", home="h", site="http://site")
    assert lake.link("reports/gate/g.html") == dg.MetadataValue.url("http://site/reports/gate/g.html")
    assert lake.link("datasets/1/m.parquet") == dg.MetadataValue.path("s3://b/lake/datasets/1/m.parquet")
    assert lake.address("models/d/lineage.json") == "http://site/models/d"
    assert LakeResource(url="s3://b/lake", home="h").address("models/d/c.json") == "s3://b/lake/models/d/c.json"
