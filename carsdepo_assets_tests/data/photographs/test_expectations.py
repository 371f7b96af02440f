"""data/photographs/expectations.py: which batches pass, which are blocked, and that the failing rows are the right
ones."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pandas as pd
import pytest

from carsdepo_assets.data.photographs.expectations import (
    validate_groups,
    validate_images,
    validate_labels,
    validate_uploads,
)
from carsdepo_assets.policy import Policy

RULES = Policy()


def sha(i: int) -> str:
    return f"{i:064x}"


def uploads(*changes: dict[str, Any]) -> pd.DataFrame:
    rows = [
        {"key": f"k{i}", "bytes": 100, "sha256": sha(i), "outcome": "new", "reason": None, **change}
        for i, change in enumerate(changes)
    ]
    return pd.DataFrame(rows, columns=["key", "bytes", "sha256", "outcome", "reason"])


def images(*changes: dict[str, Any]) -> pd.DataFrame:
    rows = [
        {
            "image_id": sha(i),
            "width": 640,
            "height": 480,
            "luma_mean": 90.0,
            "luma_p95": 200.0,
            "group_hint": "g",
            "listing": None,
            **change,
        }
        for i, change in enumerate(changes)
    ]
    return pd.DataFrame(rows, columns=["image_id", "width", "height", "luma_mean", "luma_p95", "group_hint", "listing"])


def labels(*boxes: tuple[int, float, float, float, float]) -> pd.DataFrame:
    named = [dict(zip(("class_id", "x1", "y1", "x2", "y2"), box, strict=True)) for box in boxes]
    return pd.DataFrame(
        [
            {"revision_id": "r", "image_id": sha(0), "boxes": named},
            {"revision_id": "empty", "image_id": sha(1), "boxes": []},
        ]
    )


BAD: dict[str, Any] = {"outcome": "quarantined", "sha256": None, "bytes": 0}


@pytest.mark.parametrize(
    ("frame", "broken", "rows"),
    [
        (uploads(), [], 0),
        (uploads({}, {}, {"outcome": "duplicate", "sha256": sha(0)}), [], 0),
        (uploads({}, BAD), [], 0),  # half is allowed
        (uploads({}, BAD, BAD), ["share in quarantine at most 50%"], 0),
        (uploads({}, {"key": "k0"}), ["each key once"], 2),
        (uploads({}, {"outcome": "lost"}), ["a known outcome"], 1),
        (uploads({}, {"sha256": "XYZ"}), ["sha256 is 64 hex digits"], 1),
        (uploads({}, {"sha256": None}), ["what was read has a sha256"], 1),
        (uploads({}, {"bytes": 2**40}), ["size within the limit"], 1),
    ],
)
def test_uploads(frame: pd.DataFrame, broken: list[str], rows: int) -> None:
    outcome = validate_uploads(frame, RULES)
    assert (outcome.passed, outcome.severity, list(outcome.statistics["failed"])) == (not broken, "ERROR", broken)
    assert len(outcome.failing_rows) == rows


@pytest.mark.parametrize(
    ("frame", "refused", "broken", "severity", "rows"),
    [
        (images(), 0, [], "ERROR", 0),
        (images({}, {}), 2, [], "ERROR", 0),
        (images({}), 2, ["share in quarantine at most 50%"], "ERROR", 0),
        (images(), 1, ["share in quarantine at most 50%"], "ERROR", 0),
        (images({}, {"image_id": sha(0)}), 0, ["image ids are unique"], "ERROR", 2),
        (images({}, {"image_id": "short"}), 0, ["image ids are 64 hex digits"], "ERROR", 1),
        (images({}, {"width": 8}), 0, ["width within limits"], "ERROR", 1),
        (images({}, {"width": 40000, "height": 40000}), 0, ["pixels within the limit"], "ERROR", 1),
        (images({}, {"luma_mean": 256.0}), 0, ["luma_mean is 0 to 255"], "ERROR", 1),
        (images({}, {"luma_mean": None}), 0, ["luma_mean is known"], "ERROR", 1),
        (images({}, {"luma_p95": 1.0}), 0, [], "ERROR", 0),
        (images({"luma_p95": 1.0}, {"luma_p95": 1.0}, {}), 0, ["share of black photographs at most 50%"], "ERROR", 0),
        (images({"group_hint": None}, {"group_hint": None}), 0, [], "ERROR", 0),
    ],
)
def test_images(frame: pd.DataFrame, refused: int, broken: list[str], severity: str, rows: int) -> None:
    outcome = validate_images(frame, refused, RULES)
    assert (outcome.passed, outcome.severity, list(outcome.statistics["failed"])) == (not broken, severity, broken)
    assert len(outcome.failing_rows) == rows
    assert all(rule in outcome.summary for rule in broken)


@pytest.mark.parametrize(
    ("frame", "passed", "rows"),
    [
        (images(), True, 0),
        (images({}), True, 0),
        (images({"group_hint": None, "listing": "L1"}), True, 0),
        (images({"group_hint": None}, {}), True, 0),
        (images({"group_hint": None}, {"group_hint": None}, {}), False, 2),
    ],
)
def test_photographs_of_unknown_cars_warn_and_say_what_to_do(frame: pd.DataFrame, passed: bool, rows: int) -> None:
    outcome = validate_groups(frame)
    assert (outcome.passed, len(outcome.failing_rows)) == (passed, rows)
    if not passed:
        assert outcome.severity == "WARN"
        assert "manifest.csv with the columns file and group" in outcome.summary


SIZES = pd.DataFrame({"image_id": [sha(0)], "width": [100], "height": [50]})


@pytest.mark.parametrize(
    ("box", "sizes", "broken"),
    [
        ((0, 0, 0, 100, 50), SIZES, []),
        ((1, 10, 10, 20, 20), None, []),
        ((7, 10, 10, 20, 20), SIZES, ["class is in the class map"]),
        ((0, 10, 10, 10, 20), SIZES, ["box has area"]),
        ((0, 20, 10, 10, 20), SIZES, ["box has area"]),
        ((0, -1, 10, 20, 20), None, ["box is inside the image"]),
        ((0, 10, 10, 101, 20), SIZES, ["box is inside the image"]),
        ((0, 10, 10, 20, 51), SIZES, ["box is inside the image"]),
        ((0, float("nan"), 10, 20, 20), SIZES, ["x1 is a number"]),
    ],
)
def test_labels(box: tuple[int, float, float, float, float], sizes: pd.DataFrame | None, broken: list[str]) -> None:
    outcome = validate_labels(labels((0, 1, 1, 9, 9), box), RULES, sizes)
    assert (outcome.passed, list(outcome.statistics["failed"])) == (not broken, broken)
    assert outcome.failing_rows["rule"].tolist() == broken
    assert all(outcome.failing_rows["revision_id"] == "r")


def test_no_labels_hold() -> None:
    assert validate_labels(labels().iloc[:0], RULES).passed


def test_importing_the_rules_loads_no_great_expectations() -> None:
    code = "import sys, carsdepo_assets.data.photographs.expectations; sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
