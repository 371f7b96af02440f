"""data/labels/label_claims.py: an annotator's later labelling of the same photograph is a correction."""

from __future__ import annotations

import pytest

from carsdepo_assets.data.labels.formats.parsed import Parsed
from carsdepo_assets.data.labels.label_claims import Claim, settle

ONE, TWO = (0.0, 0.0, 20.0, 10.0), (30.0, 30.0, 50.0, 40.0)
JAN, FEB = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def claim(box: tuple[float, ...], name: str, annotator: str | None, at: str | None, key: str = "a.json") -> Claim:
    parsed = Parsed(boxes=[(0, box)])
    return Claim(key, "00", "labelstudio", name, parsed, annotator=annotator, labelled_at=at)


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        (claim(ONE, "u/a.jpg", "ann", JAN), claim(TWO, "u/a.jpg", "ann", FEB), [TWO]),
        (claim(ONE, "u/a.jpg", "ann", FEB), claim(TWO, "u/a.jpg", "ann", JAN), [ONE]),
        (claim(ONE, "u/a.jpg", "ann", JAN), claim(TWO, "v/a.jpg", "ann", FEB, "b.json"), [TWO]),
        (claim(ONE, "a.jpg", "ann", JAN), claim(TWO, "b.jpg", "ann", FEB), None),  # two photographs with the same bytes
        (claim(ONE, "a.jpg", "ann", JAN), claim(ONE, "b.jpg", "ann", FEB), [ONE]),
        (claim(ONE, "a.jpg", "ann", None), claim(TWO, "a.jpg", "ann", None), None),  # which is the later one?
        (claim(ONE, "a.jpg", "ann", None), claim(ONE, "a.jpg", "ann", None), [ONE]),
        (claim(ONE, "a.jpg", "ann", JAN), claim(TWO, "a.jpg", "ann", JAN), None),
        (claim(ONE, "a.jpg", "ann", None), claim(TWO, "b.jpg", "ann", None), None),
        (claim(ONE, "a.jpg", "ann", None), claim(TWO, "b.jpg", "bob", None), [ONE, TWO]),  # two annotators are kept
        (claim(ONE, "a.jpg", None, None), claim(TWO, "a.jpg", "bob", None), None),
    ],
)
def test_two_labellings_of_a_photograph(first: Claim, second: Claim, counts: list[tuple[float, ...]] | None) -> None:
    for claims in ([first, second], [second, first]):
        labellings, refused = settle(claims)
        assert [box for one in labellings for _, box in one.entries] == (counts or [])
        assert {problem.reason for _, problem in refused} == (set() if counts else {"contradiction"})
        assert {c.key for c, _ in refused} == (set() if counts else {first.key, second.key})
