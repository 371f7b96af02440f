"""Validates a batch with Great Expectations before anything builds on it.

A broken rule of severity ERROR blocks what follows; one of severity WARN is only shown. great_expectations is imported
inside functions, as that takes two seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from carsdepo_assets.policy import Policy
from carsdepo_assets.quality.expectations import broken_rules, expectations

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

Severity = Literal["ERROR", "WARN"]
SHA256 = "^[0-9a-f]{64}$"
BLACK_LUMA = 4.0  # of 255: a photograph whose 95th percentile is no brighter shows nothing
MIN_KNOWN_SHARE = 0.5  # share of photographs with a group or a listing below which splits may leak

HOW_TO_GROUP = (
    "Each of them counts as a car of its own, so figures may flatter. To say which photographs show one car, put a "
    "manifest.csv with the columns file and group (or listing) into their folder below raw/uploads, or NAME.json with "
    '{"group": "..."} beside NAME.jpg, before the photographs.'
)


@dataclass(frozen=True)
class CheckOutcome:
    """The result of validating a batch."""

    passed: bool
    severity: Severity
    """The gravest severity of the broken rules; ERROR when none is broken."""
    summary: str
    """One line for a person."""
    failing_rows: pd.DataFrame
    """The rows that break a rule, with its name in the column `rule`; a rule about the whole batch has no rows."""
    statistics: dict[str, Any] = field(default_factory=dict)
    """The numbers of rows and rules, and for each broken rule its observed value or number of rows."""


@dataclass(frozen=True)
class _Rule:
    name: str
    expectation: Expectation
    severity: Severity = "ERROR"


def validate_uploads(frame: pd.DataFrame, policy: Policy) -> CheckOutcome:
    """Validates an upload batch's objects.

    Args:
        frame: the batch's rows of UPLOADS.
        policy: the section `data` is used.
    """
    gxe = expectations()
    refused = frame["outcome"] == "quarantined"
    checked = frame.assign(
        quarantined=refused.astype(float),
        bytes_read=frame["bytes"].mask(refused),
        sha256_read=frame["sha256"].mask(refused, "not read"),
    )
    batch_rules = [
        _Rule("each key once", gxe.ExpectColumnValuesToBeUnique(column="key")),
        _Rule(
            "a known outcome",
            gxe.ExpectColumnValuesToBeInSet(column="outcome", value_set=["new", "duplicate", "quarantined"]),
        ),
        _Rule("sha256 is 64 hex digits", gxe.ExpectColumnValuesToMatchRegex(column="sha256", regex=SHA256)),
        _Rule("what was read has a sha256", gxe.ExpectColumnValuesToNotBeNull(column="sha256_read")),
        _Rule(
            "size within the limit",
            gxe.ExpectColumnValuesToBeBetween(column="bytes_read", min_value=1, max_value=policy.data.max_bytes),
        ),
    ]
    if len(frame):
        batch_rules.append(_share_rule(gxe, "quarantined", "share in quarantine", policy.data.max_quarantined_share))
    return _validate("uploads", checked, batch_rules)


def validate_images(frame: pd.DataFrame, quarantined: int, policy: Policy) -> CheckOutcome:
    """Validates an upload batch's photographs.

    Args:
        frame: the batch's rows of IMAGES.
        quarantined: how many of its photographs were refused.
        policy: the section `data` is used.
    """
    gxe = expectations()
    data = policy.data
    outcomes = pd.DataFrame({"quarantined": [0.0] * len(frame) + [1.0] * quarantined})
    checked = frame.assign(
        pixels=frame["width"].astype(float) * frame["height"].astype(float),
        black=(frame["luma_p95"].astype(float) <= BLACK_LUMA).astype(float),
    )
    batch_rules = [
        _Rule("image ids are unique", gxe.ExpectColumnValuesToBeUnique(column="image_id")),
        _Rule("image ids exist", gxe.ExpectColumnValuesToNotBeNull(column="image_id")),
        _Rule("image ids are 64 hex digits", gxe.ExpectColumnValuesToMatchRegex(column="image_id", regex=SHA256)),
        *(
            _Rule(f"{side} within limits", gxe.ExpectColumnValuesToBeBetween(column=side, min_value=data.min_side_px))
            for side in ("width", "height")
        ),
        _Rule(
            "pixels within the limit",
            gxe.ExpectColumnValuesToBeBetween(column="pixels", min_value=1, max_value=data.max_pixels),
        ),
        *(
            rule
            for name in ("luma_mean", "luma_p95")
            for rule in (
                _Rule(f"{name} is known", gxe.ExpectColumnValuesToNotBeNull(column=name)),
                _Rule(
                    f"{name} is 0 to 255", gxe.ExpectColumnValuesToBeBetween(column=name, min_value=0, max_value=255)
                ),
            )
        ),
    ]
    if len(frame):
        batch_rules.append(_share_rule(gxe, "black", "share of black photographs", data.max_black_share))
    share = [_share_rule(gxe, "quarantined", "share in quarantine", data.max_quarantined_share)]
    return _merged(
        "images",
        _run("images", checked, batch_rules),
        _run("outcomes", outcomes, share if len(outcomes) else []),
        len(frame),
    )


def validate_groups(frame: pd.DataFrame) -> CheckOutcome:
    """Warns when too few photographs of a batch have a group or a listing, which name the car that they show.

    A photograph without both counts as a car of its own, so that photographs of one car may be on both sides of a
    split. The failing rows are these photographs.

    Args:
        frame: the batch's rows of IMAGES.
    """
    if not len(frame):
        return _validate("groups", frame, [])
    checked = frame.assign(car=frame["group_hint"].where(frame["group_hint"].notna(), frame["listing"]))
    rule = _Rule(
        "group or listing is known",
        expectations().ExpectColumnValuesToNotBeNull(column="car", mostly=MIN_KNOWN_SHARE),
        "WARN",
    )
    outcome = _validate("groups", checked, [rule])
    if outcome.passed:
        return outcome
    return replace(outcome, summary=f"{outcome.summary}. {HOW_TO_GROUP}")


def validate_labels(frame: pd.DataFrame, policy: Policy, images: pd.DataFrame | None = None) -> CheckOutcome:
    """Validates a label batch's revisions and their boxes.

    Args:
        frame: the batch's rows of ANNOTATIONS.
        policy: the class map is used.
        images: image_id, width and height of the photographs; without it the right and lower edges are not checked.
    """
    gxe = expectations()
    boxes = _box_rows(frame, images)
    batch_rules = [
        _Rule("revision ids exist", gxe.ExpectColumnValuesToNotBeNull(column="revision_id")),
        _Rule("image ids are 64 hex digits", gxe.ExpectColumnValuesToMatchRegex(column="image_id", regex=SHA256)),
    ]
    box_rules = [
        _Rule(
            "class is in the class map",
            gxe.ExpectColumnValuesToBeInSet(column="class_id", value_set=list(range(len(policy.class_map.names)))),
        ),
        *(
            _Rule(f"{name} is a number", gxe.ExpectColumnValuesToNotBeNull(column=name))
            for name in ("x1", "y1", "x2", "y2")
        ),
        *(
            _Rule("box has area", gxe.ExpectColumnValuesToBeBetween(column=name, min_value=0, strict_min=True))
            for name in ("box_width", "box_height")
        ),
        *(
            _Rule("box is inside the image", gxe.ExpectColumnValuesToBeBetween(column=name, min_value=0))
            for name in ("x1", "y1", "room_right", "room_below")
        ),
    ]
    return _merged("labels", _run("labels", frame, batch_rules), _run("boxes", boxes, box_rules), len(frame))


def _box_rows(frame: pd.DataFrame, images: pd.DataFrame | None) -> pd.DataFrame:
    """One row a box, with the room left to the image's right and lower edge (NaN where its size is not known)."""
    sizes: dict[str, tuple[float, float]] = {}
    if images is not None:
        sizes = {
            i: (float(w), float(h))
            for i, w, h in zip(images["image_id"], images["width"], images["height"], strict=True)
        }
    rows = []
    for revision, image, boxes in zip(frame["revision_id"], frame["image_id"], frame["boxes"], strict=True):
        width, height = sizes.get(image, (np.nan, np.nan))
        for box in boxes:
            rows.append(
                {
                    "revision_id": revision,
                    "image_id": image,
                    **box,
                    "box_width": box["x2"] - box["x1"],
                    "box_height": box["y2"] - box["y1"],
                    "room_right": width - box["x2"],
                    "room_below": height - box["y2"],
                }
            )
    names = [
        "revision_id",
        "image_id",
        "class_id",
        "x1",
        "y1",
        "x2",
        "y2",
        "box_width",
        "box_height",
        "room_right",
        "room_below",
    ]
    table = pd.DataFrame(rows, columns=names)
    return table.astype(dict.fromkeys(names[3:], float))


def _share_rule(gxe: Any, column: str, name: str, limit: float) -> _Rule:
    return _Rule(f"{name} at most {limit:.0%}", gxe.ExpectColumnMeanToBeBetween(column=column, max_value=limit))


@dataclass(frozen=True)
class _Run:
    rule_count: int
    failed: dict[str, Any]  # rule -> observed value, or number of rows
    severities: frozenset[Severity]
    rows: pd.DataFrame


def _run(name: str, frame: pd.DataFrame, batch_rules: Sequence[_Rule]) -> _Run:
    """Raises RuntimeError where a rule could not be computed: not computed is not passed."""
    if not batch_rules:
        return _Run(0, {}, frozenset(), pd.DataFrame())
    frame = frame.reset_index(drop=True)
    failed: dict[str, Any] = {}
    severities: set[Severity] = set()
    rows: list[pd.DataFrame] = []
    for position, result in broken_rules(name, frame, [(rule.name, rule.expectation) for rule in batch_rules]):
        rule = batch_rules[position]
        severities.add(rule.severity)
        index = result.get("unexpected_index_list")
        if index is None:
            failed[rule.name] = result.get("observed_value")
        else:
            failed[rule.name] = max(len(index), failed.get(rule.name, 0))
            rows.append(frame.loc[sorted(index)].assign(rule=rule.name))
    failing_rows = pd.concat(rows, ignore_index=True) if rows else frame.iloc[:0].assign(rule=pd.Series(dtype=str))
    return _Run(len(batch_rules), failed, frozenset(severities), failing_rows)


def _validate(name: str, frame: pd.DataFrame, batch_rules: Sequence[_Rule]) -> CheckOutcome:
    return _merged(name, _run(name, frame, batch_rules), _Run(0, {}, frozenset(), pd.DataFrame()), len(frame))


def _merged(name: str, first: _Run, second: _Run, rows: int) -> CheckOutcome:
    failed = {
        rule: round(float(v), 6) if isinstance(v, (float, np.floating)) else v
        for rule, v in {**first.failed, **second.failed}.items()
    }
    severities = first.severities | second.severities
    rule_count = first.rule_count + second.rule_count
    parts = [part for part in (first.rows, second.rows) if len(part)]
    # Boxes' rows and revisions' rows have different columns: an empty cell says that the column is the other's.
    failing = pd.concat(parts, ignore_index=True) if parts else first.rows
    broken = "; ".join(
        f"{rule} ({value:.1%} found)" if isinstance(value, float) else f"{rule} ({value} rows)"
        for rule, value in failed.items()
    )
    outcome = f"broken: {broken}" if failed else f"{rule_count} rules, all hold"
    summary = f"{name}: {rows} rows, {outcome}"
    severity: Severity = "WARN" if severities == {"WARN"} else "ERROR"
    return CheckOutcome(not failed, severity, summary, failing, {"rows": rows, "rules": rule_count, "failed": failed})
