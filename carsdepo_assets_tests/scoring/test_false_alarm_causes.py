"""scoring/false_alarm_causes.py: each false alarm is counted once, by the hard negative in which it lies."""

from __future__ import annotations

import numpy as np
import pytest

from carsdepo_assets.scoring.boxes import Truth
from carsdepo_assets.scoring.evaluation import evaluate
from carsdepo_assets.scoring.false_alarm_causes import Negatives
from carsdepo_assets.scoring.matching import ScoringError
from carsdepo_assets_tests.scoring.cases import detected, random_images, truth, with_crowds

Negative = tuple[float, float, float, float, str]
DENT = truth((0, 0, 20, 20, 1))


def negatives(*rows: Negative) -> Negatives:
    """One row a box: x1, y1, x2, y2, cause."""
    return Negatives(np.array([row[:4] for row in rows], float).reshape(-1, 4), tuple(row[4] for row in rows))


GLARE: Negative = (100, 100, 200, 200, "reflection")
CASES = {
    # name: (labelled boxes, detections, negatives, {cause: false alarms})
    "a streak in a wide reflection": (truth(), [(150, 150, 160, 152, 0, 0.9)], [GLARE], {"reflection": 1, None: 0}),
    "the same box": (truth(), [(100, 100, 200, 200, 0, 0.9)], [GLARE], {"reflection": 1, None: 0}),
    "half of it inside": (truth(), [(90, 150, 110, 152, 0, 0.9)], [GLARE], {"reflection": 1, None: 0}),
    "less than half of it inside": (truth(), [(89, 150, 109, 152, 0, 0.9)], [GLARE], {"reflection": 0, None: 1}),
    "a wide box around a small negative": (
        truth(),
        [(0, 0, 100, 100, 0, 0.9)],
        [(10, 10, 30, 30, "dirt")],
        {"dirt": 0, None: 1},
    ),
    "at the threshold": (truth(), [(150, 150, 160, 152, 0, 0.5)], [GLARE], {"reflection": 1, None: 0}),
    "under the threshold": (truth(), [(150, 150, 160, 152, 0, 0.49)], [GLARE], {"reflection": 0, None: 0}),
    "damage found in a reflection": (DENT, [(0, 0, 20, 20, 1, 0.9)], [(0, 0, 50, 50, "reflection")], {
        "reflection": 0,
        None: 0,
    }),
    "a second box on a damage": (
        DENT,
        [(0, 0, 20, 20, 1, 0.9), (0, 0, 20, 19, 1, 0.8)],
        [(0, 0, 50, 50, "reflection")],
        {"reflection": 0, None: 1},
    ),
    "the wrong class of a damage": (DENT, [(0, 0, 20, 20, 0, 0.9)], [(0, 0, 50, 50, "dirt")], {"dirt": 0, None: 1}),
    "too loose for the damage, within dirt": (DENT, [(0, 0, 20, 9, 1, 0.9)], [(0, 0, 50, 50, "dirt")], {
        "dirt": 1,
        None: 0,
    }),
    "the negative that holds more of it": (
        truth(),
        [(0, 0, 10, 10, 0, 0.9)],
        [(0, 0, 6, 10, "dirt"), (0, 0, 9, 10, "shadow")],
        {"dirt": 0, "shadow": 1, None: 0},
    ),
    "equal shares": (
        truth(),
        [(0, 0, 10, 10, 0, 0.9)],
        [(0, 0, 20, 20, "shadow"), (0, 0, 30, 30, "dirt")],
        {"dirt": 1, "shadow": 0, None: 0},
    ),
    "two in one negative": (
        truth(),
        [(110, 110, 120, 120, 0, 0.9), (150, 150, 160, 160, 1, 0.8), (0, 0, 5, 5, 1, 0.7)],
        [GLARE],
        {"reflection": 2, None: 1},
    ),
    "no negative": (truth(), [(0, 0, 5, 5, 1, 0.7)], [], {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_cause_of_a_false_alarm(case: str) -> None:
    truths, detections, marked, expected = CASES[case]
    result = evaluate(
        [truths], [detected(*detections)], ["scratch", "dent"], threshold=0.5, negatives=[negatives(*marked)]
    )
    assert {row.cause: row.false_alarms for row in result.false_alarm_causes} == expected
    assert {row.cause: row.negatives for row in result.false_alarm_causes if row.cause} == {
        cause: [m[4] for m in marked].count(cause) for cause in {m[4] for m in marked}
    }


def test_shares_are_of_all_false_alarms_and_negatives_of_another_image_do_not_count() -> None:
    streak = detected((150, 150, 160, 152, 0, 0.9), (0, 0, 20, 20, 1, 0.9))
    marked = [negatives(GLARE, (0, 0, 9, 9, "dirt")), negatives(), negatives(GLARE)]
    result = evaluate([DENT, truth(), DENT], [streak] * 3, ["scratch", "dent"], threshold=0.5, negatives=marked)
    rows = [(row.cause, row.negatives, row.false_alarms, row.share) for row in result.false_alarm_causes]
    assert rows == [("dirt", 1, 0, 0.0), ("reflection", 2, 2, 0.5), (None, 0, 2, 0.5)]
    nothing = evaluate([DENT], [detected()], ["scratch", "dent"], threshold=0.5, negatives=[negatives(GLARE)])
    assert [row.share for row in nothing.false_alarm_causes] == [None, None]


def test_together_they_are_the_false_positives_and_no_other_figure_changes() -> None:
    truths, detections = random_images(8, 40)
    truths = with_crowds(8, truths)
    marks = random_images(9, 40)[0]
    marked = [Negatives(m.xyxy, tuple(("dirt", "reflection")[c] for c in m.classes)) for m in marks]
    result = evaluate(truths, detections, ["a", "b"], threshold=0.4, negatives=marked)
    plain = evaluate(truths, detections, ["a", "b"], threshold=0.4)
    assert sum(row.false_alarms for row in result.false_alarm_causes) == result.fp
    assert all(row.false_alarms for row in result.false_alarm_causes)
    assert result.model_copy(update={"false_alarm_causes": []}) == plain


@pytest.mark.parametrize(
    ("marked", "message"),
    [
        ([], "1 images, but 0 with negatives"),
        ([Negatives(np.zeros((2, 4)), ("dirt",))], "image 0"),
        ([negatives((9, 9, 3, 3, "dirt"))], "inverted"),
    ],
)
def test_what_does_not_fit_is_refused(marked: list[Negatives], message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        evaluate([Truth(np.zeros((0, 4)), np.zeros(0, np.int64))], [detected()], ["a"], threshold=0.5, negatives=marked)
