"""training/report.py, training/evaluation_charts.py, training/mistake_pictures.py: the page and its pictures."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from carsdepo_assets.reporting.page import GATE_SLOT
from carsdepo_assets.scoring.bootstrap import bootstrap_map50
from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.evaluation import evaluate, evaluate_slices
from carsdepo_assets.scoring.mistakes import ranked_mistakes
from carsdepo_assets.training import report
from carsdepo_assets.training.mistake_pictures import FALSE, MAX_PNG_BYTES, MAX_PNG_WIDTH, MISSED, caption
from carsdepo_assets_tests.scoring.cases import detected, random_images, truth

pytestmark = pytest.mark.slow

NAMES = ["scratch", "dent"]
HISTORY = [{"epoch": k, "loss": 3 / k, "val_map50": 0.1 * k, "seconds": 1.0} for k in range(1, 6)]


def context(truths: list[Truth], detections: list[Detections], threshold: float = 0.4) -> report.EvaluationReportInput:
    mistakes = ranked_mistakes(truths, detections, len(NAMES), threshold=threshold, limit=4)
    noise = np.random.default_rng(0)
    by = ["night" if i % 2 else "day" for i in range(len(truths))]
    return report.EvaluationReportInput(
        evaluation=evaluate(truths, detections, NAMES, threshold=threshold),
        interval=bootstrap_map50(truths, detections, 2, [str(i // 2) for i in range(len(truths))], resamples=50),
        passed=True,
        verdict="mAP@.5 0.412 meets the floor of 0.020",
        made_at=datetime(2026, 3, 4, 5, 6, tzinfo=UTC),
        threshold_from="best F1 on 12 val photographs with 31 boxes",
        mistakes=mistakes,
        truths=truths,
        detections=detections,
        history=HISTORY,
        images={
            m.image: noise.integers(0, 255, (27, 28, 3), dtype=np.uint8).repeat(20, 0).repeat(20, 1)
            for m in [*mistakes.misses, *mistakes.false_alarms]
        },
        slices=evaluate_slices(truths, detections, NAMES, by, threshold=threshold),
        facts={"Model": "9f1c2ab377d0"},
    )


@pytest.fixture(scope="module")
def usual() -> report.EvaluationReportInput:
    return context(*random_images(3, 24))


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


def test_it_needs_nothing_beside_itself(usual: report.EvaluationReportInput) -> None:
    html = report.render_report(usual)
    page = _Page(html)
    assert page.sources
    assert all(s.startswith("data:image/") for s in page.sources)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "url(" not in html
    assert "@import" not in html
    for source in page.sources:
        kind, content = source.split(";base64,")
        if kind == "data:image/jpeg":
            assert Image.open(io.BytesIO(base64.b64decode(content))).size == (480, 360)
        else:
            assert b"</svg>" in base64.b64decode(content)


def test_it_says_what_it_was_given(usual: report.EvaluationReportInput) -> None:
    e, interval = usual.evaluation, usual.interval
    text = _Page(report.render_report(usual)).text
    assert e.map50 is not None
    assert e.recall is not None
    expected = [
        "Meets the floor for registration",
        usual.verdict,
        "04 March 2026, 05:06 UTC",
        f"{e.map50:.3f}",
        f"{100 * e.recall:.1f} %",
        f"95 %: {interval.low:.3f} to {interval.high:.3f}",
        "Evaluated on 24 photographs",
        f"{e.n_boxes} labelled boxes",
        "of 12 groups",
        usual.threshold_from,
        f"Labelled boxes missed: {e.fn}",
        f"Wrong boxes: {e.fp}",
        "night",
        "9f1c2ab377d0",
        *(caption(m, NAMES) for m in usual.mistakes.misses),
        f"Of 100 labelled damages the model finds {100 * e.recall:.0f}",
    ]
    assert [sentence for sentence in expected if sentence not in text] == []


def test_a_failed_verdict_is_said(usual: report.EvaluationReportInput) -> None:
    html = report.render_report(replace(usual, passed=False, verdict="mAP@.5 0.010 is under the floor of 0.020"))
    text = _Page(html).text
    assert "Below the floor for registration mAP@.5 0.010 is under the floor of 0.020." in text
    assert "Meets the floor" not in text
    assert '<div class="verdict failed">' in html


def test_the_floor_for_registration_is_no_verdict_on_a_release(usual: report.EvaluationReportInput) -> None:
    """The page is written before the gate looks: nothing green, and a place for what the gate says later."""
    html = report.render_report(usual)
    assert '<div class="verdict neutral">' in html
    assert '<div class="verdict">' not in html
    assert "decided by the promotion gate, whose verdict this page does not know" in _Page(html).text
    assert html.count(GATE_SLOT) == 1
    assert 'class="verdict failed"' not in html


def test_foreign_text_is_escaped(usual: report.EvaluationReportInput) -> None:
    html = report.render_report(replace(usual, title="<script>alert(1)</script>", facts={"<b>": "<i>&"}))
    assert not {"script", "b", "i"} & set(_Page(html).tags)
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("truths", "detections", "sentences"),
    [
        (
            [truth(), truth()],
            [detected(), detected()],
            [
                "no figure can be computed",
                "no interval",
                "Nothing was missed",
                "There was no false alarm",
                "No box is wrong",
            ],
        ),
        (
            [truth((9, 9, 90, 90, 0)), truth()],
            [detected(), detected()],
            ["the model finds 0.", "Labelled boxes missed: 1", "There was no false alarm"],
        ),
        (
            [truth(), truth()],
            [detected((9, 9, 90, 90, 0, 0.9)), detected()],
            ["of 100 boxes that it draws 0 are right"],
        ),
    ],
    ids=["nothing", "no predictions", "no truths"],
)
def test_edges(truths: list[Truth], detections: list[Detections], sentences: list[str]) -> None:
    given = replace(context(truths, detections), history=[])
    text = _Page(report.render_report(given)).text
    assert [s for s in sentences if s.lower() not in text.lower()] == []
    assert "nan" not in text
    assert "training" not in report.pictures(given)


def test_mistakes_without_a_photograph_are_listed(usual: report.EvaluationReportInput) -> None:
    page = _Page(report.render_report(replace(usual, images={})))
    assert not [s for s in page.sources if "jpeg" in s]
    assert all(caption(m, NAMES) in page.text for m in usual.mistakes.false_alarms)
    assert "worst_misses" not in report.pictures(replace(usual, images={}))


def test_pictures_fit_the_ui(usual: report.EvaluationReportInput) -> None:
    """Of noise, the worst that a PNG can meet."""
    noise = np.random.default_rng(0)
    noisy = {i: noise.integers(0, 255, (540, 560, 3), dtype=np.uint8) for i in usual.images}
    by_name = report.pictures(replace(usual, images=noisy))
    assert list(by_name) == [
        "precision_recall",
        "threshold_sweep",
        "confusion",
        "training",
        "worst_misses",
        "worst_false_alarms",
    ]
    for name, png in by_name.items():
        picture = Image.open(io.BytesIO(png))
        assert picture.format == "PNG", name
        assert picture.width <= MAX_PNG_WIDTH, name
        assert len(png) <= MAX_PNG_BYTES, name
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 4, name  # not blank


def test_same_input_same_pictures(usual: report.EvaluationReportInput) -> None:
    assert report.pictures(usual) == report.pictures(usual)
    assert report.render_report(usual) == report.render_report(usual)


@pytest.mark.parametrize("rows", [[], [{"epoch": 1, "loss": 2.0}], [{"epoch": 1, "val_map50": 0.0}], [{"epoch": 1}]])
def test_histories_with_gaps(rows: list[dict[str, float]]) -> None:
    assert Image.open(io.BytesIO(report.history_png(rows))).width <= MAX_PNG_WIDTH


def test_many_classes_fit() -> None:
    truths, detections = random_images(1, 10, classes=range(12))
    many = evaluate(truths, detections, [f"class {c}" for c in range(12)], threshold=0.4)
    for draw in (report.pr_curve_png, report.confusion_png):
        assert Image.open(io.BytesIO(draw(many))).width <= MAX_PNG_WIDTH


@pytest.mark.parametrize(("part", "colour"), [("misses", MISSED), ("false_alarms", FALSE)])
def test_the_mistake_is_drawn_where_it_is(part: str, colour: str) -> None:
    """On a black photograph shown whole, the coloured frame's extent is the box, scaled."""
    truths, detections = [truth((40, 30, 200, 150, 0))], [detected((40, 30, 200, 150, 1, 0.9))]
    given = replace(context(truths, detections), images={0: np.zeros((240, 320, 3), np.uint8)})
    mistake = getattr(given.mistakes, part)[0]
    shown = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)) if part == "misses" else detections[0]
    other = truth() if part == "false_alarms" else truths[0]
    png = report.mistakes_png([given.images[0]], [other], [shown], class_names=NAMES, threshold=0.5, mistakes=[mistake])
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    scale = pixels.shape[1] / 320
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    ys, xs = np.nonzero(np.abs(pixels - wanted).sum(axis=2) < 60)
    assert [xs.min(), xs.max(), ys.max()] == pytest.approx([40 * scale, 200 * scale, 150 * scale], abs=3)


def test_mistakes_png_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="0 images"):
        report.mistakes_png([], [], [], class_names=NAMES)
    with pytest.raises(ValueError, match="1 images, 2 truths"):
        report.mistakes_png([np.zeros((9, 9, 3), np.uint8)], [truth(), truth()], [detected()], class_names=NAMES)


def test_a_photograph_of_one_row_and_a_box_beyond_it() -> None:
    image = np.full((1, 400, 3), 90, np.uint8)
    truths = [truth((390, 0, 480, 1, 0))]
    given = replace(context(truths, [detected()]), images={0: image})
    assert len(report.pictures(given)["worst_misses"]) <= MAX_PNG_BYTES
