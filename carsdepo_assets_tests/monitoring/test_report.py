"""monitoring/drift_run.py and report.py: a report is whole, recorded once, escaped, and says what is unknown."""

from __future__ import annotations

import base64
import io
import json
import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.monitoring.drift.test import FeatureDrift
from carsdepo_assets.monitoring.drift_run import MeasuredWindow, measure_window
from carsdepo_assets.monitoring.reference import build_reference
from carsdepo_assets.monitoring.report import change_text
from carsdepo_assets_tests.monitoring import monitored_lake
from carsdepo_assets_tests.monitoring.monitored_lake import NOW, RULES, drawn_answers, photographs

pytestmark = pytest.mark.slow

HOURS = timedelta(hours=24)


def brightness(window: tuple[float, ...], median: float) -> FeatureDrift:
    """Of a reference spread over five bins, with median 93."""
    return FeatureDrift(
        name="luma_mean", ordered=True, statistic=9.0, p_value=0.001, significant=True, tv=0.1, drift=0.1, low=0.05,
        high=0.2, labels=("a", "b", "c", "d", "e"), reference=(0.2,) * 5, window=window, reference_median=93.0,
        window_median=median,
    )  # fmt: skip


def test_a_median_that_contradicts_the_word_is_explained() -> None:
    assert change_text(brightness((0.5, 0.2, 0.1, 0.1, 0.1), 70.0)) == "darker: median 70, before 93"
    assert change_text(brightness((0.3, 0.1, 0.2, 0.2, 0.2), 94.0)) == "darker: a part only, median 94, before 93"


class _Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(html)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [v or "" for k, v in attrs if k in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def grey(level: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((120, 160, 3), level, np.uint8)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake.open(tmp_path / "lake")
    digest = monitored_lake.put_model(lake)
    rows = photographs("r", 400, 1)
    monitored_lake.put_dataset(lake, rows)
    build_reference(lake, digest, RULES, drawn_answers)
    for row in rows:
        lake.put(f"objects/{row['image_id']}.jpg", grey(150))
    return lake


def measured_window(lake: Lake, night: float, n: int = 200, **columns: str) -> MeasuredWindow:
    """A window of answers, measured. columns: of every photograph."""
    digest = monitored_lake.digest_of(b"weights")
    rows = [{**r, **columns} for r in photographs("w", n, 2, night)]
    for i, row in enumerate(rows):
        if i % 10:  # one in ten is not kept
            row["photograph_key"] = f"capture/photographs/{row['image_id']}.jpg"
            lake.put(row["photograph_key"], grey(20))
    monitored_lake.put_answers(lake, digest, rows)
    return measure_window(lake, NOW - HOURS, NOW, RULES, NOW, "run")


def html_of(lake: Lake, measured: MeasuredWindow) -> str:
    return lake.get(measured.row["report_key"]).decode()


def test_a_night_is_said_so_that_a_manager_understands(lake: Lake) -> None:
    measured = measured_window(lake, 0.3)
    page = _Page(html_of(lake, measured))
    assert measured.row["band"] == "high"
    assert measured.row["detected"]
    drift = measured.row["drift"]
    for text in (
        "Strong drift",
        f"At least {100 * drift:.1f} % of the traffic",
        "darker",
        "source mobile",
        "No retraining",
        "200",
        "Not compared: source (known of 0 photographs of the reference)",
    ):
        assert text in page.text, text


def test_it_needs_nothing_beside_itself_and_its_pictures_are_pictures(lake: Lake) -> None:
    html = html_of(lake, measured_window(lake, 0.3))
    page = _Page(html)
    assert page.sources
    assert all(s.startswith("data:image/") for s in page.sources)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "url(" not in html
    photos = [base64.b64decode(s.split(",")[1]) for s in page.sources if "jpeg" in s]
    levels = [float(np.asarray(Image.open(io.BytesIO(p))).mean()) for p in photos]
    dark, bright = sum(x < 40 for x in levels), sum(x > 130 for x in levels)
    assert bright == 8
    assert 5 <= dark <= 8
    assert len(html) < 600_000


def test_it_is_recorded_once_and_read_by_the_site_and_the_queue(lake: Lake) -> None:
    measured = measured_window(lake, 0.3)
    again = measure_window(lake, NOW - HOURS, NOW, RULES, NOW + timedelta(minutes=5), "run")
    assert again.row["report_id"] == measured.row["report_id"]
    (row,) = lake.read("drift").to_pylist()
    assert row["dagster_run_id"] == "run"
    assert {f["name"] for f in json.loads(row["features"])} >= {"luma_p95", "max_score", "classes", "camera"}
    assert json.loads(row["sources"])[0]["value"] == "mobile"
    stored = json.loads(lake.get(f"reports/drift/{row['report_id']}.json"))
    assert stored["figures"]["drift"] == pytest.approx(row["drift"])
    assert {"title", "at", "summary"} <= stored.keys()
    images = {r["image_id"] for r in lake.read("inferences").to_pylist()}
    assert stored["drifted"]
    assert all(image in images and 0 < share <= 1 for image, share in stored["drifted"])


def test_more_answers_are_another_report(lake: Lake) -> None:
    first = measured_window(lake, 0.3)
    extra = photographs("late", 30, 9)
    monitored_lake.put_answers(lake, first.row["digest"], extra, unit="late", start=NOW - timedelta(hours=1))
    second = measure_window(lake, NOW - HOURS, NOW, RULES, NOW, "run")
    assert second.row["report_id"] != first.row["report_id"]
    assert lake.read("drift").num_rows == 2


def test_every_text_is_escaped(lake: Lake) -> None:
    measured = measured_window(lake, 0.3, region="<script>alert(1)</script>", uploader="a&b<i>")
    html = html_of(lake, measured)
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "a&amp;b&lt;i&gt;" in html


def test_no_drift_is_said_with_its_p_value(lake: Lake) -> None:
    measured = measured_window(lake, 0.0)
    assert (measured.row["band"], measured.row["drift"], measured.row["computed"]) == ("none", 0.0, True)
    page = _Page(html_of(lake, measured))
    assert "No drift" in page.text
    assert "look like those of the model's reference" in page.text
    assert f"{measured.row['p_value']:.3f}" in page.text


def test_too_few_answers_are_not_no_drift(lake: Lake) -> None:
    measured = measured_window(lake, 0.3, n=20)
    assert (measured.row["band"], measured.row["computed"], measured.row["drift"]) == ("unknown", False, None)
    text = _Page(html_of(lake, measured)).text
    assert "Not known" in text
    assert "20 photographs" in text
    assert "No drift" not in text


def test_an_empty_window_is_reported_as_unknown(lake: Lake) -> None:
    measured = measure_window(lake, NOW - HOURS, NOW, RULES, NOW)
    assert (measured.row["band"], measured.row["digest"], measured.row["photographs"]) == ("unknown", None, 0)
    assert "answered nothing" in _Page(html_of(lake, measured)).text


def test_a_model_without_reference_is_unknown(lake: Lake) -> None:
    monitored_lake.put_answers(lake, "feedfeedfeedfeed", photographs("w", 100, 2))
    measured = measure_window(lake, NOW - HOURS, NOW, RULES, NOW)
    assert (measured.row["band"], measured.row["computed"]) == ("unknown", False)
    assert "no reference" in _Page(html_of(lake, measured)).text


def test_two_models_in_a_window_are_said(lake: Lake) -> None:
    monitored_lake.put_answers(
        lake, "oldoldoldoldoldo", photographs("o", 70, 4), unit="old", start=NOW - timedelta(hours=20)
    )
    text = _Page(html_of(lake, measured_window(lake, 0.0))).text
    assert "Several models answered" in text
    assert "oldoldoldoldoldo (70 answers)" in text


def test_pictures_for_the_ui_are_small(lake: Lake) -> None:
    pictures = measured_window(lake, 0.3).pictures
    assert set(pictures) == {"distributions"}
    for png in pictures.values():
        assert len(png) < 100_000
        assert max(Image.open(io.BytesIO(png)).size) <= 900
