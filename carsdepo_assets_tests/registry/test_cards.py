"""registry/card_contents.py, card_figures.py, card_training.py, card_pages.py: what a card states, and whence.

Also registry/card_parts.py, training_cost.py, preprocessing.py, which they are made with.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carsdepo_assets.lake.evaluations import ClassFigures, EvaluationRecord, record_evaluation
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.licences import LicenceStatement, state_licences
from carsdepo_assets.policy import ComputePolicy
from carsdepo_assets.policy_augmentation import AugmentationSettings
from carsdepo_assets.registry.card_contents import card_contents
from carsdepo_assets.registry.card_pages import card_key, card_markdown, markdown_key, try_card, write_card
from carsdepo_assets.registry.card_parts import CardContents, CardFact, CardSection
from carsdepo_assets.registry.ledger import record
from carsdepo_assets.registry.lineage import Lineage, read_lineage
from carsdepo_assets.registry.preprocessing import describe_preprocessing
from carsdepo_assets.site.tracing import model_lineage
from carsdepo_assets_tests.commands.reproducible_lake import photographs_and_labels, stored_model
from carsdepo_assets_tests.data.photograph_files import NOW
from carsdepo_assets_tests.data.small_lake import RULES
from carsdepo_assets_tests.detectors.rectangles import made_up_model

SECTIONS = [
    "Model details",
    "Intended use",
    "Figures",
    "Figures by light",
    "Evaluation data",
    "Training data and its licences",
    "Training",
    "Limits",
    "Findings of the training",
    "Release",
    "Lineage",
]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path)


def evaluated(lake: Lake, digest: str) -> None:
    report = "reports/evaluation/one"
    slices = [{"name": "dark <b>", "n_images": 3, "n_boxes": 4, "map50": 0.25, "counts": {"recall": 0.5}}]
    lake.put(f"{report}.json", json.dumps({"slices": slices}).encode())
    record_evaluation(
        lake,
        EvaluationRecord(
            evaluation_id="e1",
            at=NOW,
            digest=digest,
            dataset="d",
            golden=2,
            photographs=10,
            boxes=20,
            groups=5,
            map50=0.4321,
            map50_low=0.4,
            map50_high=0.5,
            floor_met=True,
            verdict="mAP@.5 0.432 meets the floor of 0.020",
            classes=(ClassFigures(name="scratch", boxes=19, ap50=0.3), ClassFigures(name="dent", boxes=120)),
            report_key=f"{report}.html",
        ),
    )


def test_every_figure_says_where_it_comes_from(lake: Lake) -> None:
    digest = stored_model(lake, photographs_and_labels(lake, 3)).digest
    evaluated(lake, digest)
    state_licences(lake, "x", [LicenceStatement("raw/uploads/", "CC-BY-NC-4.0", True, "README.md", "x")], NOW)
    record(lake, "production", "promote", digest=digest, version=7, actor="anna", reason="it | is *good*")
    card = card_contents(lake, digest, RULES)
    assert [section.title for section in card.sections] == SECTIONS
    assert card.version == 7
    facts = {f.name: f for section in card.sections for f in section.facts}
    assert all(f.source for f in facts.values())
    assert all(table.source for section in card.sections for table in section.tables)
    assert facts["mAP@.5"].text == "0.432 (95 % interval 0.400 to 0.500, whole cars resampled)"
    assert facts["mAP@.5"].source == "table evaluations, e1, map50, map50_low, map50_high"
    assert facts["recall at the threshold"].text == "–"  # not computed is no 0
    assert facts["Licence of the family"].text.startswith("AGPL-3.0")
    limits = next(section for section in card.sections if section.title == "Limits").paragraphs
    assert "scratch: only 19 labelled boxes." in limits
    assert not any(limit.startswith("dent") for limit in limits)
    assert any(limit.startswith("No commercial use: CC-BY-NC-4.0, claimed by README.md") for limit in limits)
    assert any(limit.startswith("Nobody states a licence of the labels") for limit in limits)
    [licences] = next(s for s in card.sections if s.title.startswith("Training data")).tables
    assert licences.rows[0][:4] == ("CC-BY-NC-4.0 (no commercial use)", "photographs", licences.rows[0][2], "README.md")


def test_resize_normalisation_and_augmentation_stand_beside_the_recipe(lake: Lake) -> None:
    made, settings = photographs_and_labels(lake, 3), AugmentationSettings(flip=0.5)
    old = stored_model(lake, made, b"old")
    recipe = {**old.recipe, "augmentation": settings.model_dump(mode="json")}
    preprocessing = describe_preprocessing("faster_rcnn_resnet50", 384, settings, RULES)
    new = stored_model(lake, made, b"new", recipe=recipe, preprocessing=preprocessing)
    undeclared = stored_model(lake, made, b"x", preprocessing=describe_preprocessing("yolov8n", 64, None, RULES))

    def said(digest: str) -> dict[str, str]:
        facts = [f for s in card_contents(lake, digest, RULES).sections for f in s.facts]
        return {f.name: f.text for f in facts if f.name in ("Resize", "Normalisation", "Augmentation")}

    assert said(new.digest) == {
        "Resize": f"turned upright, stored with at most {RULES.data.longest_side_px} px, letterboxed to 384 px with "
        "grey 114 beside it",
        "Normalisation": "levels divided by 255, less 0.485, 0.456, 0.406, divided by 0.229, 0.224, 0.225",
        "Augmentation": f"version {settings.version}: flip 0.5",
    }
    assert said(old.digest) == {}  # of a release that did not record them
    assert said(undeclared.digest)["Augmentation"] == "by the family itself, not declared"
    assert said(undeclared.digest)["Normalisation"] == "levels divided by 255"
    assert preprocessing.tags()["carsdepo.augmentation"] == settings.version
    assert read_lineage(lake, new.digest).preprocessing == preprocessing
    text = old.model_dump_json(exclude={"preprocessing"})  # as a release of before wrote it
    assert Lineage.model_validate_json(text) == old


@pytest.mark.parametrize(
    ("environment", "seconds", "prices", "text", "source"),
    [
        ({}, 90.0, {}, "nothing counted: policy.compute.prices_per_hour.local lists no price", "result.json, seconds"),
        ({}, 90.0, {"local": 2.0}, "0.05 EUR: 1.5 minutes at 2 EUR an hour", "policy.compute.prices_per_hour.local"),
        ({}, None, {"local": 2.0}, "not known: how long the training took was not recorded", "result.json, seconds"),
        (
            {"place": "sagemaker"},
            90.0,
            {"local": 2.0},
            "not known here: it was trained at sagemaker, and the machine that it had there is not kept with the "
            "model; Dagster run 7f tells",
            "lineage.json, environment.place",
        ),
    ],
)
def test_the_cost_is_computed_or_what_is_missing_is_said(
    environment: dict[str, str], seconds: float | None, prices: dict[str, float], text: str, source: str, tmp_path: Path
) -> None:
    lake = Lake.open(tmp_path)
    model = stored_model(lake, photographs_and_labels(lake, 3), environment=environment, dagster_run_id="7f")
    lake.put(f"models/{model.digest}/result.json", json.dumps({"seconds": seconds}).encode())
    policy = RULES.model_copy(update={"compute": ComputePolicy(prices_per_hour=prices, currency="EUR")})
    [cost] = [f for s in card_contents(lake, model.digest, policy).sections for f in s.facts if f.name == "Cost"]
    assert cost.text.startswith(text)
    assert source in cost.source


def test_page_and_markdown_hold_the_same_and_escape_what_anybody_wrote(lake: Lake) -> None:
    digest = stored_model(lake, photographs_and_labels(lake, 3)).digest
    evaluated(lake, digest)
    record(lake, "production", "approve", digest=digest, version=7, actor="anna", reason="it | is *good* <script>")
    assert write_card(lake, digest, RULES) == card_key(digest)
    page, text = lake.get(card_key(digest)).decode(), lake.get(markdown_key(digest)).decode()
    for heading in SECTIONS:
        assert f"<h2>{heading}</h2>" in page
        assert f"\n## {heading}\n" in text
    assert "<script>" not in page
    assert "dark &lt;b&gt;" in page
    assert "it \\| is \\*good\\* \\<script>" in text
    assert "dark \\<b>" in text
    assert "Mitchell et al." in page
    assert "Mitchell et al." in text
    assert f"carsdepo reproduce {digest}" in page
    summary = json.loads(lake.get(f"reports/card/{digest}.json"))
    assert summary["figures"]["map50"] == 0.4321
    assert "http" not in page.replace("https://", "")  # it needs no other file


def test_a_model_that_was_not_evaluated_has_a_card_too(lake: Lake) -> None:
    digest = stored_model(lake, photographs_and_labels(lake, 3)).digest
    card = card_contents(lake, digest, RULES)
    assert "Not evaluated yet." in card.summary
    assert card.figures == {}
    assert card.version is None


def test_a_card_stops_nothing_that_it_only_describes(lake: Lake) -> None:
    digest, warnings = made_up_model(lake, b"w"), list[str]()
    assert try_card(lake, digest, RULES, 1, warnings.append) is None
    assert warnings[0].startswith(f"Model {digest} has no card:")
    with pytest.raises(LakeError):
        write_card(lake, "0" * 16, RULES)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("a | b\n\n| c |", "a \\| b \\| c \\|"),
        ("[a](javascript:x) ![i](y)", "\\[a](javascript:x) !\\[i](y)"),
        ("<img src=x> &lt;b&gt; ~~s~~ `c`", "\\<img src=x> \\&lt;b\\&gt; \\~\\~s\\~\\~ \\`c\\`"),
        ("http://evil.example WWW.evil.example", "http\\://evil.example WWW\\.evil.example"),
        ("# head", "\\# head"),
        ("- item", "\\- item"),
        ("1. item", "1\\. item"),
        ("1.5 is a number", "1\\.5 is a number"),
        ("plain, (as it) is: 3 - 2", "plain, (as it) is: 3 - 2"),
    ],
)
def test_a_name_becomes_no_markup(written: str, text: str) -> None:
    card = CardContents("d", None, NOW, written, {}, (CardSection("S", (written,), (CardFact("n", written, "s"),)),))
    lines = card_markdown(card).splitlines()
    assert [line for line in lines if line == text] == [text, text]
    cell = next(line for line in lines if line.startswith("| n |")).removeprefix("| n | ").removesuffix(" | s |")
    assert cell in (text, text.replace("\\#", "#").replace("\\-", "-").replace("1\\.", "1."))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("reports/evaluation/one.json", []),
        ("reports/evaluation/one.json", {"slices": 5}),
        ("reports/evaluation/one.json", {"slices": [{}, "x", 5, {"name": "dark"}, {"name": "dark", "n_images": None}]}),
        (
            "reports/evaluation/one.json",
            {"slices": [{"name": "d", "n_images": 1, "n_boxes": 2, "map50": float("nan"), "counts": None}]},
        ),
        ("result.json", {"seconds": "12"}),
        ("result.json", {"seconds": float("nan")}),
        ("model.json", {"threshold": float("nan")}),
    ],
)
def test_figures_that_are_missing_or_no_numbers_are_said_as_such(lake: Lake, file: str, content: object) -> None:
    digest = stored_model(lake, photographs_and_labels(lake, 3)).digest
    evaluated(lake, digest)
    key = file if "/" in file else f"models/{digest}/{file}"
    if file == "model.json":
        assert isinstance(content, dict)
        content = json.loads(lake.get(key)) | content
    lake.put(key, json.dumps(content).encode())
    write_card(lake, digest, RULES)
    text = lake.get(markdown_key(digest)).decode()
    assert "nan" not in text.replace("rename", "")
    assert "| Wall time | not recorded |" in text


def test_an_augmentation_of_another_release_is_named(lake: Lake) -> None:
    made = photographs_and_labels(lake, 3)
    preprocessing = describe_preprocessing("yolov8n", 64, AugmentationSettings(flip=0.5), RULES)
    model = stored_model(lake, made, recipe={"augmentation": {"flip": 0.5, "shear": 2}}, preprocessing=preprocessing)
    facts = {f.name: f.text for s in card_contents(lake, model.digest, RULES).sections for f in s.facts}
    assert facts["Augmentation"] == f"version {preprocessing.augmentation}: flip 0.5, shear 2"
    assert model_lineage(lake, None, model.digest)["preprocessing"]["varied"] == "flip 0.5, shear 2"
