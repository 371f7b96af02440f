"""data/batches/quarantine.py, readmissions.py, quarantine_advice.py: what is open, resolved, and looked at again."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest

import carsdepo_assets
from carsdepo_assets.data.batches.batches import list_batches, plan_batches
from carsdepo_assets.data.batches.quarantine import (
    BusinessFiles,
    QuarantinedFile,
    QuarantineError,
    State,
    counted,
    file_named,
    quarantined_files,
    readmit,
    selected,
)
from carsdepo_assets.data.batches.quarantine_advice import REASONS, advice
from carsdepo_assets.data.batches.readmissions import ask_again, check_policy
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.photographs.ingest import build_images, ingest_uploads
from carsdepo_assets.imaging.bad_image import Reason
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.policy import DataPolicy, Policy
from carsdepo_assets_tests.data.photograph_files import NOW, photograph

RULES = Policy()
STRICT = Policy(data=DataPolicy(min_side_px=4000))
BOX = b"0 .5 .5 .1 .1\n"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def take_in(lake: Lake, policy: Policy = RULES) -> list[list[str]]:
    """Plans and ingests what is due; the keys of each batch."""
    keys = []
    for kind in ("uploads", "labels"):
        for batch in plan_batches(lake, kind, policy, NOW, close_all=True):
            if kind == "uploads":
                ingest_uploads(lake, batch.batch_id, policy)
                build_images(lake, batch.batch_id, policy)
            else:
                ingest_labels(lake, batch.batch_id, policy, NOW)
            keys.append(sorted(o.key for o in batch.objects))
    return keys


def files(lake: Lake) -> list[QuarantinedFile]:
    return quarantined_files(lake, BusinessFiles({}, frozenset()))


def states(lake: Lake) -> dict[str, tuple[State, list[str]]]:
    return {file.key.rsplit("/", 1)[-1]: (file.state, file.reasons) for file in files(lake)}


def ask(lake: Lake, keys: Sequence[str] | None = None) -> list[str]:
    """Asks for files again; keys of those that are left as they are."""
    meant = [file for file in files(lake) if keys is None or file.key in keys]
    return [file.key for file, _ in readmit(lake, meant, NOW, "ann@desk").left]


def test_a_photograph_that_new_rules_accept_is_resolved(lake: Lake) -> None:
    lake.put("raw/uploads/a/small.jpg", photograph(1))
    lake.put("raw/uploads/a/cut.jpg", photograph(2)[:300])
    take_in(lake, STRICT)
    assert take_in(lake, RULES) == []  # nothing is looked at again by itself
    assert states(lake) == {"small.jpg": ("open", ["too_small"]), "cut.jpg": ("open", ["truncated"])}
    assert ask(lake) == []
    assert {state for state, _ in states(lake).values()} == {"asked"}
    lake.put("raw/uploads/new.jpg", photograph(3))  # in a batch of its own: one of refused files may be refused whole
    assert take_in(lake, RULES) == [["raw/uploads/new.jpg"], ["raw/uploads/a/cut.jpg", "raw/uploads/a/small.jpg"]]
    new, again = (
        check_policy(lake, batch, RULES).data.max_quarantined_share for batch in list_batches(lake, "uploads")[1:]
    )
    assert (new, again) == (RULES.data.max_quarantined_share, 1.0)
    assert states(lake) == {"small.jpg": ("resolved", ["too_small"]), "cut.jpg": ("open", ["truncated"])}
    assert lake.read("images").num_rows == 2
    assert take_in(lake, RULES) == []  # a request is honoured once
    assert [(kind, reason, n) for kind, reason, n in counted(selected(files(lake)))] == [("photograph", "truncated", 1)]
    assert len(file_named(files(lake), "cut.jpg").refusals) == 2


def test_a_file_of_the_same_bytes_that_was_accepted_before_is_a_duplicate_and_resolved(lake: Lake) -> None:
    lake.put("raw/uploads/a.jpg", photograph(1))
    take_in(lake, STRICT)
    lake.put("raw/uploads/b.jpg", photograph(1))
    take_in(lake, RULES)
    assert states(lake) == {"a.jpg": ("open", ["too_small"])}
    ask(lake)
    take_in(lake, RULES)
    assert states(lake) == {"a.jpg": ("resolved", ["too_small"])}


def test_a_photograph_that_is_sent_again_whole_is_resolved(lake: Lake) -> None:
    lake.put("raw/uploads/a.jpg", photograph(1)[:300])
    take_in(lake)
    lake.put("raw/uploads/a.jpg", photograph(1))
    take_in(lake)
    assert states(lake) == {"a.jpg": ("resolved", ["truncated"])}
    assert ask(lake) == ["raw/uploads/a.jpg"]
    assert take_in(lake) == []


def test_labels_are_looked_at_again_with_the_class_map_of_now(lake: Lake) -> None:
    lake.put("raw/labels/classes.txt", b"scratch\ndent\n")
    lake.put("raw/uploads/a.jpg", photograph(1))
    lake.put("raw/uploads/b.jpg", photograph(2))
    lake.put("raw/labels/a.txt", b"2 .5 .5 .1 .1\n2 .5 .5 .1 .1\nword\n")
    lake.put("raw/labels/b.txt", BOX)
    take_in(lake)
    assert states(lake) == {"a.txt": ("open", ["unknown_class", "malformed"])}
    assert [one.line for one in file_named(files(lake), "a.txt").refusals] == [1, 2, 3]
    ask(lake)
    assert take_in(lake) == [["raw/labels/a.txt"]]
    assert states(lake) == {"a.txt": ("open", ["unknown_class", "malformed"])}
    lake.put("raw/labels/a.txt", BOX)
    take_in(lake)
    assert states(lake) == {"a.txt": ("resolved", ["unknown_class", "malformed"])}
    lake.put("raw/labels/a.txt", b"word\n")  # and refused anew
    take_in(lake)
    assert states(lake) == {"a.txt": ("open", ["malformed"])}


def test_a_label_whose_photograph_came_later_is_resolved(lake: Lake) -> None:
    lake.put("raw/labels/classes.txt", b"scratch\ndent\n")
    lake.put("raw/labels/a.txt", BOX)
    take_in(lake)
    assert states(lake) == {"a.txt": ("open", ["no_photograph"])}
    lake.put("raw/uploads/a.jpg", photograph(1))
    ask(lake)  # asked for, and tried again by itself: in one batch once
    assert take_in(lake) == [["raw/uploads/a.jpg"], ["raw/labels/a.txt"]]
    assert states(lake) == {"a.txt": ("resolved", ["no_photograph"])}


def test_labels_without_names_are_read_once_the_names_are_there(lake: Lake) -> None:
    lake.put("raw/uploads/a.jpg", photograph(1))
    lake.put("raw/labels/a.txt", BOX)
    take_in(lake)
    assert states(lake) == {"a.txt": ("open", ["classes_unknown"])}
    lake.put("raw/labels/classes.txt", b"scratch\ndent\n")
    ask(lake)
    assert take_in(lake) == [["raw/labels/a.txt"]]
    assert states(lake) == {"a.txt": ("resolved", ["classes_unknown"])}


def test_a_batch_under_way_leaves_a_file_open(lake: Lake) -> None:
    lake.put("raw/uploads/a.jpg", photograph(1))
    lake.put("raw/labels/b.txt", BOX)
    take_in(lake, STRICT)
    ask(lake)
    (batch,) = plan_batches(lake, "uploads", RULES, NOW)
    ingest_uploads(lake, batch.batch_id, RULES)
    plan_batches(lake, "labels", RULES, NOW)
    assert {state for state, _ in states(lake).values()} == {"asked"}
    build_images(lake, batch.batch_id, RULES)
    assert states(lake)["a.jpg"][0] == "resolved"


def test_what_is_gone_or_read_once_is_left_as_it_is(lake: Lake) -> None:
    lake.put("raw/uploads/a.jpg", b"none")
    take_in(lake)
    lake.delete("raw/uploads/a.jpg")
    row = {"batch_id": "capture/x", "key": "capture/x", "kind": "capture", "reason": "malformed", "at": NOW}
    lake.append("quarantine", [row], "capture")
    assert sorted(ask(lake)) == ["capture/x", "raw/uploads/a.jpg"]
    assert take_in(lake) == []


def test_selection_and_names(lake: Lake) -> None:
    for key in ("one/a.jpg", "two/a.jpg", "two/b.jpg"):
        lake.put(f"raw/uploads/{key}", key.encode())
    lake.put("raw/labels/two/b.txt", b"word\n")
    take_in(lake)
    everything = files(lake)
    assert [f.key for f in selected(everything, kind="label")] == ["raw/labels/two/b.txt"]
    assert len(selected(everything, reason="not_an_image")) == 3
    assert {f.key for f in selected(everything, import_name="two")} == {
        "raw/uploads/two/a.jpg", "raw/uploads/two/b.jpg", "raw/labels/two/b.txt",
    }  # fmt: skip
    assert selected(everything, import_name="tw") == []
    assert file_named(everything, "raw/uploads/one/a.jpg").key == file_named(everything, "one/a.jpg").key
    with pytest.raises(QuarantineError, match=r"may be 2 files: raw/uploads/one/a\.jpg, raw/uploads/two/a\.jpg"):
        file_named(everything, "a.jpg")
    with pytest.raises(QuarantineError, match="carsdepo quarantine list"):
        file_named(everything, "ne/a.jpg")


def test_a_damaged_request_is_named(lake: Lake) -> None:
    ask_again(lake, "uploads", {"raw/uploads/a.jpg": "x"}, NOW, "ann@desk")
    (entry,) = lake.list("batches/readmitted/uploads/")
    lake.put("batches/readmitted/uploads/20200101.json", b"{")
    lake.put("raw/uploads/a.jpg", photograph(1))
    with pytest.raises(LakeError, match=r"20200101\.json: not a request"):
        take_in(lake)
    assert entry.key.startswith("batches/readmitted/uploads/20")


@pytest.mark.parametrize(
    ("kind", "reason", "words"),
    [
        ("photograph", "truncated", "Send the original"),
        ("photograph", "too_small", "quarantine readmit"),
        ("label", "no_photograph", "by itself"),
        ("label", "something_new", "Correct the file"),
        ("business", "decimal_comma", "decimal_comma under"),
        ("label", "classes_unknown", "classes.txt"),
        ("capture", "malformed", "service"),
        ("of tomorrow", "x", "Correct the file"),
    ],
)
def test_there_is_something_to_do(kind: str, reason: str, words: str) -> None:
    assert words in advice(kind, reason)


def test_every_reason_of_the_code_has_advice_and_a_row_in_the_docs() -> None:
    sources = Path(carsdepo_assets.__file__).parent
    texts = [file.read_text() for file in (sources / "data" / "labels").rglob("*.py")]
    given = {
        str(node.args[0].value)
        for text in texts
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) in ("Problem", "problem")
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    # Parsed gives those of a box by a function of their own.
    of_labels = given | {"not_a_number", "no_area", "outside_image"}
    assert {"classes_unknown", "prediction", "size_differs", "ambiguous_line", "unsupported_shape"} <= given
    of_photographs = {*get_args(Reason), "missing", "changed"}
    assert of_labels | of_photographs <= REASONS
    page = (sources.parent / "docs" / "how-to" / "troubleshooting.md").read_text()
    rows = "".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    assert {reason for reason in of_labels | of_photographs if f"`{reason}`" not in rows} == set()
