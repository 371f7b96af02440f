"""scoring/mistakes.py: the order and the kinds of misses and false alarms."""

from carsdepo_assets.scoring.evaluation import evaluate
from carsdepo_assets.scoring.mistakes import ranked_mistakes
from carsdepo_assets_tests.scoring.cases import detected, random_images, truth


def test_order_and_kinds() -> None:
    truths = [
        truth((0, 0, 10, 10, 0), (20, 0, 60, 40, 1), (100, 0, 110, 10, 0)),
        truth((0, 0, 20, 20, 1)),
    ]
    detections = [
        detected(
            (0, 0, 10, 10, 0, 0.9),
            (0, 0, 10, 9, 0, 0.8),  # right, and again
            (20, 0, 60, 40, 0, 0.7),  # the dent called a scratch
            (100, 0, 110, 10, 0, 0.3),  # suspected, under the threshold
            (200, 0, 210, 10, 1, 0.6),  # nothing there
        ),
        detected((0, 0, 20, 8, 1, 0.95)),  # too loose
    ]
    result = ranked_mistakes(truths, detections, 2, threshold=0.5)
    assert [(a.image, a.row, a.kind) for a in result.false_alarms] == [
        (1, 0, "loose_box"),
        (0, 1, "duplicate"),
        (0, 2, "wrong_class"),
        (0, 4, "background"),
    ]
    assert [a.score for a in result.false_alarms] == [0.95, 0.8, 0.7, 0.6]
    assert [(m.image, m.row, m.near_score) for m in result.misses] == [(0, 1, 0.0), (1, 0, 0.0), (0, 2, 0.3)]
    assert result.misses[0].xyxy == (20, 0, 60, 40)
    assert result.false_alarms[0].best_iou == 0.4


def test_the_numbers_are_those_of_the_evaluation() -> None:
    truths, detections = random_images(4, 30)
    result = ranked_mistakes(truths, detections, 2, threshold=0.4, limit=3)
    whole = evaluate(truths, detections, ["a", "b"], threshold=0.4)
    assert (result.n_misses, result.n_false_alarms) == (whole.fn, whole.fp)
    assert len(result.misses) == len(result.false_alarms) == 3
    for alarm in result.false_alarms:
        assert detections[alarm.image].scores[alarm.row] == alarm.score
    for miss in result.misses:
        assert tuple(truths[miss.image].xyxy[miss.row]) == miss.xyxy


def test_nothing() -> None:
    result = ranked_mistakes([truth()], [detected()], 2, threshold=0.5)
    assert result.misses == []
    assert result.false_alarms == []
    assert result.n_misses == 0
