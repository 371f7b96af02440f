"""site/gallery.py: photographs are found by what is known of them, each once; nothing of a request is trusted."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from carsdepo_assets.data.datasets.dataset import build_dataset
from carsdepo_assets.evaluation import prediction_cache
from carsdepo_assets.evaluation.prediction_cache import CachedPredictions
from carsdepo_assets.lake.datasets import manifest_key, summary_key, versions
from carsdepo_assets.lake.image_metadata import object_key
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, digest_of, write_model
from carsdepo_assets.lake.photograph_features import append_features, read_features
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.boxes import Detections
from carsdepo_assets.site import pictures
from carsdepo_assets.site.alike import AlikePhotographs
from carsdepo_assets.site.dataset_versions import dataset_versions
from carsdepo_assets.site.gallery_index import GalleryIndex, read_columns
from carsdepo_assets.site.gallery_query import GalleryFilter, page_of
from carsdepo_assets_tests.data import small_lake
from carsdepo_assets_tests.site.example_lake import release
from carsdepo_assets_tests.site.test_pages import EVIL, client

SCRATCH, DENT = "0 0.5 0.5 0.25 0.5\n", "1 0.25 0.25 0.25 0.25\n"
LABELS = {"a": SCRATCH, "b": DENT + SCRATCH, "c": "", "d": DENT}  # e and f have none


def filled(home: Path) -> dict[str, str]:
    """A lake of six photographs with a model in production that was judged on a, b and c; ids by name."""
    lake = Lake.open(home / "lake")
    names = {"a": "web/a.jpg", "b": "web/b.jpg", "c": "app/c.jpg", "d": "app/d.jpg", "e": "app/e.jpg", "f": "f.jpg"}
    small_lake.upload(
        lake, {p: small_lake.car(n) for n, p in enumerate(names.values())}, {"web/a.jpg": "g", "web/b.jpg": "g"}
    )
    small_lake.label(lake, {names[n].replace(".jpg", ".txt"): text for n, text in LABELS.items()})
    version = small_lake.dataset(lake).version
    ids = {r["key"].rsplit("/", 1)[-1][0]: r["image_id"] for r in lake.read("images", ["key", "image_id"]).to_pylist()}
    digest = digest_of(b"weights")
    card = ModelCard(
        digest=digest, weights="weights.pt", detector="yolov8n", class_names=("scratch", "dent"), image_size=320,
        threshold=0.31, threshold_from="best F1 on val", dataset_version=version, recipe={},
    )  # fmt: skip
    write_model(lake, b"weights", card, {"history": []}, b"{}")
    release(lake, digest, 1)
    found = {  # a: found, and one below the threshold; b: the dent missed, and a false alarm; c: nothing, rightly
        "a": [(0, 0.9, 36, 18, 60, 54), (1, 0.2, 0, 0, 9, 9)],
        "b": [(0, 0.8, 36, 18, 60, 54), (0, 0.7, 70, 60, 90, 70)],
        "c": [],
    }
    size = small_lake.WIDTH, small_lake.HEIGHT
    predictions = {ids[n]: CachedPredictions(_detections(boxes), size) for n, boxes in found.items()}
    prediction_cache.write(lake, prediction_cache.folder(lake, card, Policy()), predictions)
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], np.float32)
    append_features(lake, "test", [ids[n] for n in "abcd"], vectors)
    return ids


def _detections(boxes: list[tuple[float, ...]]) -> Detections:
    values = np.array(boxes, float).reshape(-1, 6)
    return Detections(values[:, 2:], values[:, 1], values[:, 0].astype(np.int64))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gallery")


@pytest.fixture(scope="module")
def ids(home: Path) -> dict[str, str]:
    return filled(home)


@pytest.fixture(scope="module")
def browser(home: Path, ids: dict[str, str]) -> TestClient:
    return client(home)


def shown(browser: TestClient, ids: dict[str, str], address: str) -> str:
    """The names of the photographs on a page, in order of name."""
    answer = browser.get(address)
    assert answer.status_code == 200, address
    tiles = answer.text.partition('class="tiles')[2]
    return "".join(sorted(name for name, image in ids.items() if f'href="/photographs/{image}"' in tiles))


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("", "abcdef"),
        ("label=labelled", "abcd"),
        ("label=damaged", "abd"),
        ("label=clean", "c"),
        ("label=unlabelled", "ef"),
        ("label=0", "ab"),
        ("label=1", "bd"),
        ("label=7", ""),
        ("label=nonsense", ""),
        ("outcome=judged", "abc"),
        ("outcome=missed", "b"),
        ("outcome=false_alarm", "b"),
        ("outcome=right", "ac"),
        ("outcome=nonsense", ""),
        ("source=web", "ab"),
        ("source=app&label=damaged", "d"),
        ("q=D.JPG", "d"),
        ("q=nothing", ""),
        ("q=%25", ""),  # a sign of SQL's is a letter here
        ("q=' or true --", ""),
        ("source=' or true --", ""),
        ("q=%00", ""),
        ("q[]=a&q=D.JPG&colour=red", "d"),  # the second value of a name counts, and names that there are not do not
        ("label=-1", ""),
        ("after=nonsense", "abcdef"),
        ("after=999999999999999999-a", "abcdef"),  # a time that there cannot be
    ],
)
def test_photographs_are_found_by_what_is_known_of_them(
    browser: TestClient, ids: dict[str, str], asked: str, names: str
) -> None:
    assert shown(browser, ids, f"/photographs?{asked}") == names


@pytest.mark.parametrize("name", [f for f in vars(GalleryFilter()) if f != "after"])
def test_every_filter_is_given_to_the_engine_as_a_value(home: Path, ids: dict[str, str], name: str) -> None:
    columns = read_columns(Lake.open(home / "lake"), Policy())
    for text in ("' or 1=1 --", '" or ""="', "'; drop table facts; --", "? or true", "\x00", "💥" * 99, "\n"):
        page = page_of(columns, GalleryFilter(**{name: text}))
        assert page.count == (6 if name == "q" and not text.strip() else 0), text
    assert page_of(columns, GalleryFilter()).count == 6


def test_a_value_that_no_photograph_has_is_named(browser: TestClient, home: Path) -> None:
    for asked, says in {
        "split=nonsense": "No photograph has the split &#39;nonsense&#39;; there are ",
        "source=' or true --": "; there are app, web",
        "camera=nonsense": "No photograph has the camera",
        "label=nonsense": "but by labelled, damaged, clean, unlabelled or the number of a class",
        "outcome=nonsense": "There is no outcome &#39;nonsense&#39;; there are judged, missed",
    }.items():
        assert says in browser.get(f"/photographs?{asked}").text, asked
    columns = read_columns(Lake.open(home / "lake"), Policy())
    assert page_of(columns, GalleryFilter(source="app", outcome="missed")).unknown == ()


@pytest.mark.parametrize(
    "address",
    [
        f"/photographs?q={'x' * 201}",
        f"/photographs?listing={'%F0%9F%92%A5' * 5_000}",
        f"/datasets/nope?against={'x' * 65}",
        f"/predictions?digest={'x' * 65}",
        "/augmentation?epochs=many",
        f"/augmentation?photographs={10**30}",
    ],
)
def test_a_value_that_cannot_be_asked_for_is_said_on_a_page(home: Path, browser: TestClient, address: str) -> None:
    answer = browser.get(address)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "text/html; charset=utf-8")
    assert "This cannot be asked for" in answer.text
    assert 'aria-label="Pages"' in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert len(answer.text) < 20_000
    assert client(home, CARSDEPO_API_KEY="k" * 20).get(address).status_code == 401


def test_a_photograph_is_found_by_its_id_car_and_batch(browser: TestClient, home: Path, ids: dict[str, str]) -> None:
    assert shown(browser, ids, f"/photographs?q={ids['c'][:10]}") == "c"
    rows = {r["image_id"]: r for r in Lake.open(home / "lake").read("splits").to_pylist()}
    assert shown(browser, ids, f"/photographs?group={rows[ids['a']]['group_id']}") == "ab"
    assert set(shown(browser, ids, f"/photographs?split={rows[ids['a']]['split']}")) >= {"a", "b"}
    batch = Lake.open(home / "lake").read("images", ["batch_id"])["batch_id"][0].as_py()
    assert shown(browser, ids, f"/photographs?batch={batch}") == "abcdef"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7])
def test_pages_hold_each_photograph_once(home: Path, ids: dict[str, str], size: int) -> None:
    columns, seen, asked = read_columns(Lake.open(home / "lake"), Policy()), list[str](), GalleryFilter()
    while True:
        page = page_of(columns, asked, size)
        assert page.count == 6
        seen += [row["image_id"] for row in page.rows]
        if page.next is None:
            break
        asked = GalleryFilter(after=page.next)
    assert sorted(seen) == sorted(ids.values())


def test_a_photographs_page_has_labels_predictions_and_what_looks_like_it(
    browser: TestClient, ids: dict[str, str]
) -> None:
    text = browser.get(f"/photographs/{ids['b']}").text
    assert text.count('class="box label"') - text.partition("More like this")[2].count('class="box label"') == 2
    assert "It missed 1 of 2 labelled damages and gave 1 false alarm." in text
    alike = re.findall(r"/photographs/([0-9a-f]{64})", text.partition("More like this")[2].partition("<h2>")[0])
    assert alike == [ids["a"], ids["d"], ids["c"]]
    assert ids["a"] in text.partition("The same car")[2]
    assert "Nobody has labelled" in browser.get(f"/photographs/{ids['e']}").text
    assert "was not measured" in browser.get(f"/photographs/{ids['e']}").text
    assert "Reviewed: no damage" in browser.get(f"/photographs/{ids['c']}").text


def test_a_box_below_the_threshold_is_no_prediction(browser: TestClient, ids: dict[str, str]) -> None:
    text = browser.get(f"/photographs/{ids['a']}").text.partition("More like this")[0]
    assert text.count('class="box predicted"') == 1


@pytest.mark.parametrize(
    "path", ["/photographs/nope", "/photographs/%27", "/datasets/nope", "/photographs/" + "f" * 64]
)
def test_what_is_not_there_is_said(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 404
    assert "no" in answer.text


def test_pages_run_nothing_and_ask_only_this_site(browser: TestClient, ids: dict[str, str]) -> None:
    for path in ("/photographs", f"/photographs/{ids['a']}", "/datasets"):
        answer = browser.get(path)
        assert "form-action 'self'" in answer.headers["content-security-policy"]
        assert "script-src" not in answer.headers["content-security-policy"]
        assert "<script" not in answer.text
    text = browser.get("/photographs", params={"q": EVIL, "source": EVIL, "after": EVIL}).text
    assert EVIL not in text


def test_the_key_is_asked_for(home: Path, ids: dict[str, str]) -> None:
    locked = client(home, CARSDEPO_API_KEY="k" * 20)
    for path in ("/photographs", f"/photographs/{ids['a']}", "/datasets"):
        assert locked.get(path).status_code == 401
        assert locked.get(path, headers={"X-API-Key": "k" * 20}).status_code == 200


@pytest.mark.parametrize("path", ["/photographs", "/datasets"])
def test_an_empty_lake_says_what_brings_something(tmp_path: Path, path: str) -> None:
    answer = client(tmp_path).get(path)
    assert answer.status_code == 200
    assert "<code>carsdepo" in answer.text


def test_new_photographs_are_seen(tmp_path: Path) -> None:
    lake, index = Lake.open(tmp_path / "lake"), GalleryIndex()

    def counted() -> Any:
        columns = index.columns(lake, Policy(), patience_s=60)
        assert columns is not None
        return columns.photographs

    assert counted() == 0
    small_lake.upload(lake, {"a.jpg": small_lake.car(1)})
    assert counted() == 1


def test_a_lake_in_which_nothing_was_measured(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    small_lake.upload(lake, {"a.jpg": small_lake.car(1)})
    image = lake.read("images", ["image_id"])["image_id"][0].as_py()
    answer = client(tmp_path).get(f"/photographs/{image}")
    assert answer.status_code == 200
    assert "was not measured" in answer.text


def test_the_difference_of_two_datasets(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    small_lake.upload(lake, {f"{n}.jpg": small_lake.car(n) for n in range(4)})
    small_lake.label(lake, {"0.txt": SCRATCH, "1.txt": SCRATCH})
    first = small_lake.dataset(lake).version
    small_lake.label(lake, {"1.txt": DENT, "2.txt": ""})
    second = small_lake.dataset(lake).version
    browser = client(tmp_path)
    text = browser.get(f"/datasets/{second}").text
    counts = dict(re.findall(r"<tr><td>([a-z ]+)</td><td class=\"number\">(\d+)", text))
    assert "Licences, as stated when it was built: none stated" in text
    assert "<title>label: dent</title>" in text
    assert counts == {"added": "1", "removed": "0", "labels changed": "1", "split changed": "0", "group changed": "0"}
    back = browser.get(f"/datasets/{first}?against={second}").text
    assert dict(re.findall(r"<tr><td>([a-z ]+)</td><td class=\"number\">(\d+)", back))["removed"] == "1"
    assert "no earlier version" in browser.get(f"/datasets/{first}").text
    assert browser.get(f"/datasets/{first}?against=nope").status_code == 404
    assert browser.get("/datasets").text.count("/datasets/") == 2


def test_damaged_files_of_a_dataset_are_said_and_take_no_page_away(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    small_lake.upload(lake, {f"{n}.jpg": small_lake.car(n) for n in range(3)})
    small_lake.label(lake, {"0.txt": SCRATCH, "1.txt": SCRATCH})
    first = small_lake.dataset(lake).version
    small_lake.label(lake, {"2.txt": DENT})
    second = small_lake.dataset(lake).version
    browser = client(tmp_path)
    good = lake.get(summary_key(first))
    for summary in (b"", b"[]", b"[" * 99_999, b'{"all": "x"}', b'{"splits": [1]}', b'{"splits": {"train": 3}}',
                    b'{"all": {"photographs": "many"}}', b'{"all": {"boxes": {"dent": null}}}', b'{"notes": "x"}',
                    b'{"licences": ["MIT"]}'):  # fmt: skip
        lake.put(summary_key(first), summary)
        assert browser.get("/datasets").status_code == 200, summary
    assert "Its summary cannot be read." in browser.get(f"/datasets/{first}").text
    lake.put(summary_key(first), good)
    lake.put(manifest_key("a/copy"), lake.get(manifest_key(first)))  # deeper: it is no dataset
    assert {one.version for one in dataset_versions(lake)} == set(versions(lake)) == {first, second}
    for manifest in (b"", b"no parquet" * 99):
        lake.put(manifest_key(first), manifest)
        answer = browser.get(f"/datasets/{second}?against={first}")
        assert answer.status_code == 200
        assert "manifest.parquet is damaged and cannot be read" in answer.text
        answer = browser.get(f"/augmentation?dataset={first}")
        assert answer.status_code == 404
        assert "manifest.parquet is damaged and cannot be read" in answer.text


def test_a_processed_copy_that_is_gone_or_damaged_is_made_up_for_by_the_original(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    small_lake.upload(lake, {"a.jpg": small_lake.car(1)})
    [row] = lake.read("images", ["image_id", "key"]).to_pylist()
    browser, copy = client(tmp_path), object_key(row["image_id"])
    for damaged in (b"", b"no picture", lake.get(copy)[:99], None):
        if damaged is None:
            lake.delete(copy)
        else:
            lake.put(copy, damaged)
        assert 'image href="data:image/jpeg' in browser.get("/photographs").text, damaged
    lake.put(row["key"], b"")
    pictures._picture.cache_clear()
    answer = browser.get(f"/photographs/{row['image_id']}")
    assert answer.status_code == 200
    assert "not kept" in answer.text


def test_features_that_do_not_fit_are_those_of_no_photograph(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    append_features(lake, "x", ["b", "a", "f"], np.eye(3, 4, dtype=np.float32))
    append_features(lake, "x", ["c"], np.array([[np.nan, 1, 0, 0]], np.float32))
    append_features(lake, "x", ["d"], np.array([[1, 0]], np.float32))  # of another version
    lake.append("photograph_features", [{"image_id": "e", "extractor": "x", "vector": b"abc", "code": b"12"}], "e")
    ids, vectors = read_features(lake, "x")
    assert (ids, vectors.shape) == (["a", "b", "f"], (3, 4))
    lake.append("photograph_features", [{"image_id": "e", "extractor": "y", "vector": b"", "code": b""}], "none")
    assert read_features(lake, "y")[0] == []
    alike = AlikePhotographs()
    assert [i for i, _ in alike.of(lake, "a", 9) or ()] == ["b", "f"]
    assert [alike.of(lake, image, 9) for image in ("c", "e", "g")] == [None] * 3


def test_a_dataset_is_as_old_after_its_lake_was_copied(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    small_lake.upload(lake, {"0.jpg": small_lake.car(0), "1.jpg": small_lake.car(1)})
    built = {}
    for days, text in ((0, SCRATCH), (1, DENT)):
        small_lake.label(lake, {"0.txt": text, "1.txt": SCRATCH})
        at = small_lake.NOW + timedelta(days=days)
        built[build_dataset(lake, small_lake.RULES, at).version] = at
    for n, version in enumerate(reversed(built)):  # the files of the older one are copied last
        os.utime(lake.local_path(manifest_key(version)), (n, n))
    assert [(one.version, one.at) for one in dataset_versions(lake)] == list(reversed(built.items()))
    summary = lake.local_path(summary_key(next(iter(built))))
    summary.write_text(summary.read_text().replace("built_at", "of_an_earlier_release"))
    assert dataset_versions(lake)[-1].at == datetime.fromtimestamp(1, UTC)


def test_a_model_of_which_no_predictions_are_kept(tmp_path: Path) -> None:
    filled(tmp_path)
    lake = Lake.open(tmp_path / "lake")
    for part in list(lake.list("scores")):  # as after an upgrade of what predicts: they are looked for elsewhere
        lake.delete(part.key)
    browser = client(tmp_path)
    text = browser.get("/photographs").text
    assert "none are kept of the model in production" in text
    assert "at its threshold" not in text
    assert 'name="outcome"' not in text
    assert 'name="outcome"' in browser.get("/photographs?outcome=missed").text
