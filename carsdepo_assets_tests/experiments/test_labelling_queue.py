"""experiments/labelling_queue.py, experiments/queue_ranking.py, experiments/queue_sheet.py: the labelling queue.

Which photographs are queued, in what order, and that the making of a queue may be killed anywhere.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from carsdepo_assets.experiments.labelling_queue import QueueError, make_queue, queue_state
from carsdepo_assets.experiments.queue_ranking import PER_CAR, by_uncertainty, outside, spread
from carsdepo_assets.lake import queues
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.policy import DataPolicy, MonitoringPolicy, Policy
from carsdepo_assets_tests.data.photograph_files import photograph
from carsdepo_assets_tests.data.small_lake import car, label, upload
from carsdepo_assets_tests.experiments.answers import NOW, answer, dark, report

pytestmark = pytest.mark.slow


def policy_with(size: int = 120) -> Policy:
    return Policy(monitoring=MonitoringPolicy(queue_size=size))


def fill(lake: Lake, rows: list[dict[str, Any]], unit: str = "answers") -> list[str]:
    lake.append("inferences", rows, unit)
    return [row["image_id"] for row in rows]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


@pytest.fixture
def drifted(lake: Lake) -> tuple[Lake, list[str], list[str]]:
    """A lake with a reference of bright photographs, a window of 12 bright and 6 dark ones, and a report `r1`."""
    upload(lake, {f"reference/{i}.jpg": photograph(100 + i) for i in range(30)})
    bright = fill(lake, [answer(lake, photograph(i)) for i in range(12)], "bright")
    night = fill(lake, [answer(lake, dark(50 + i)) for i in range(6)], "night")
    report(lake, "r1")
    return lake, bright, night


def ids(queue: queues.Queue) -> list[str]:
    return [p.image_id for p in queue.photographs]


def test_what_drifted_comes_first_and_says_why(drifted: tuple[Lake, list[str], list[str]]) -> None:
    lake, _, night = drifted
    queue = make_queue(lake, policy_with(), "r1", NOW)
    assert set(ids(queue)[:6]) == set(night)
    assert [p.priority for p in queue.photographs] == list(range(1, 19))
    assert "luma_mean" in queue.photographs[0].why
    assert "below" in queue.photographs[0].why
    assert "luma_mean" not in queue.photographs[-1].why
    assert queue.reason.startswith("Drift 30.0 % (high), worst in luma_mean. Of 18 photographs answered:")


def test_the_reports_own_ranking_wins(drifted: tuple[Lake, list[str], list[str]]) -> None:
    lake, bright, night = drifted
    ranking = json.dumps({"drifted": [[bright[3], 0.9], [bright[1], 0.6], [night[0], 0.4]]})
    lake.put("reports/drift/r1.json", ranking.encode())
    queue = make_queue(lake, policy_with(), "r1", NOW)
    assert ids(queue)[:2] == [bright[3], bright[1]]
    assert queue.photographs[0].why == "drifted in luma_mean: 90 % likely to be part of the change"
    assert ": 2 drifted, 16 others" in queue.reason  # 0.4 is less likely than not


def test_copies_enter_ordinary_intake_with_their_metadata(drifted: tuple[Lake, list[str], list[str]]) -> None:
    lake, *_ = drifted
    queue = make_queue(lake, policy_with(), "r1", NOW)
    first = queue.photographs[0]
    assert first.upload_key == f"raw/uploads/queue/{queue.queue_id}/{first.image_id}.jpg"
    assert hashlib.sha256(lake.get(first.upload_key)).hexdigest() == first.image_id
    upload(lake, {})  # closes and ingests what lies in raw/uploads
    rows = {r["image_id"]: r for r in lake.read("images").to_pylist()}
    assert set(ids(queue)) <= rows.keys()
    row = rows[first.image_id]
    stored = (row["listing"], row["camera"], row["region"], row["uploader"])
    assert stored == (first.listing, "Kestrel K3", "north", "seller-01")
    labelled = label(lake, {first.label_key.removeprefix("raw/labels/"): "0 0.5 0.5 0.2 0.2\n"})
    assert [r["image_id"] for r in labelled.rows.to_pylist()] == [first.image_id]


def test_the_lists_for_people_hold_the_queue(drifted: tuple[Lake, list[str], list[str]]) -> None:
    lake, *_ = drifted
    queue = make_queue(lake, policy_with(), "r1", NOW)
    rows = list(csv.DictReader(io.StringIO(lake.get(f"queues/{queue.queue_id}/queue.csv").decode())))
    assert [r["image_id"] for r in rows] == ids(queue)
    assert rows[0]["label_key"] == queue.photographs[0].label_key
    png = lake.get(f"queues/{queue.queue_id}/contact_sheet.png")
    with Image.open(io.BytesIO(png)) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width <= 900
    assert len(png) < 100_000


def test_a_second_cut_of_a_report_is_the_first(drifted: tuple[Lake, list[str], list[str]]) -> None:
    lake, *_ = drifted
    first = make_queue(lake, policy_with(), "r1", NOW)
    before = list(lake.list())
    assert make_queue(lake, policy_with(3), "r1", NOW + timedelta(days=1)) == first
    assert list(lake.list()) == before


@pytest.mark.parametrize("nth", [1, 2, 3, 9, 20, 36, 38, 39, 40])
def test_killed_at_any_write_the_next_cut_finishes_the_same(
    drifted: tuple[Lake, list[str], list[str]], monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """18 photographs: plan, sidecar and copy of each, list, sheet, queue: 40 writes."""
    lake, *_ = drifted
    whole = lake.put
    writes = 0

    def put(key: str, data: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes == nth:
            raise KeyboardInterrupt
        whole(key, data)

    monkeypatch.setattr(lake, "put", put)
    with pytest.raises(KeyboardInterrupt):
        make_queue(lake, policy_with(), "r1", NOW)
    monkeypatch.undo()
    planned = [(q, complete) for q, complete in queues.all_queues(lake)]
    assert [complete for _, complete in planned] == ([] if nth == 1 else [False])
    queue = make_queue(lake, policy_with(), "r1", NOW + timedelta(hours=1))
    if planned:
        assert queue == planned[0][0]
    assert len(queue.photographs) == 18
    assert all(lake.exists(p.upload_key) for p in queue.photographs)
    assert [complete for _, complete in queues.all_queues(lake)] == [True]
    assert not lake.exists(queues.plan_key(queue.queue_id))


def test_killed_without_a_report_the_next_cut_finishes_it(
    drifted: tuple[Lake, list[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, *_ = drifted
    monkeypatch.setattr("carsdepo_assets.experiments.labelling_queue._finish", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_queue(lake, policy_with(4), None, NOW)
    monkeypatch.undo()
    (plan,) = [q for q, _ in queues.all_queues(lake)]
    assert make_queue(lake, policy_with(4), None, NOW + timedelta(hours=1)) == plan
    other = make_queue(lake, policy_with(4), None, NOW + timedelta(hours=1))
    assert other.queue_id != plan.queue_id
    assert not set(ids(other)) & set(ids(plan))


def test_labelled_queued_and_forgotten_photographs_are_left_out(lake: Lake) -> None:
    labelled, queued, forgotten, unkept, fresh = (photograph(i) for i in range(5))
    upload(lake, {"a/known.jpg": labelled})
    label(lake, {"a/known.txt": ""})
    fill(lake, [answer(lake, queued)], "first")
    make_queue(lake, policy_with(), None, NOW)
    rows = [answer(lake, labelled), answer(lake, queued), answer(lake, forgotten), answer(lake, fresh)]
    fill(lake, [*rows, answer(lake, unkept, photograph_key=None)], "second")
    lake.delete(rows[2]["photograph_key"])
    queue = make_queue(lake, policy_with(), None, NOW + timedelta(seconds=1))
    assert ids(queue) == [hashlib.sha256(fresh).hexdigest()]
    for phrase in ("1 labelled already", "1 in another queue", "2 not kept"):
        assert phrase in queue.reason


def test_near_duplicates_of_labelled_or_chosen_ones_are_left_out(lake: Lake) -> None:
    upload(lake, {"a/known.jpg": car(1, quality=92)})
    label(lake, {"a/known.txt": ""})
    twins = [answer(lake, car(1, quality=70)), answer(lake, car(2, quality=92)), answer(lake, car(2, quality=70))]
    fill(lake, [*twins, answer(lake, car(3))])
    queue = make_queue(lake, policy_with(), None, NOW)
    assert len(ids(queue)) == 2
    assert twins[0]["image_id"] not in ids(queue)
    assert "2 near-duplicates" in queue.reason


def test_a_labelled_scene_in_other_light_is_queued(lake: Lake) -> None:
    upload(lake, {"a/known.jpg": photograph(1)})
    label(lake, {"a/known.txt": ""})
    night = fill(lake, [answer(lake, dark(1))])
    assert ids(make_queue(lake, policy_with(), None, NOW)) == night


def test_an_empty_window_gives_no_queue_and_says_so(lake: Lake) -> None:
    fill(lake, [answer(lake, photograph(1), at=NOW - timedelta(days=3))])
    fill(lake, [answer(lake, photograph(2), stage="staging")], "staging")
    queue = make_queue(lake, policy_with(), None, NOW)
    assert queue.photographs == ()
    assert "Of 0 photographs answered: none to label" in queue.reason
    assert list(queues.all_queues(lake)) == []


def test_an_unknown_report_is_refused_with_those_there_are(lake: Lake) -> None:
    with pytest.raises(QueueError, match="none yet"):
        make_queue(lake, policy_with(), "r9", NOW)
    report(lake, "r1")
    with pytest.raises(QueueError, match=r"'r9'.*r1"):
        make_queue(lake, policy_with(), "r9", NOW)


def test_only_answers_of_the_reports_model_and_window_count(lake: Lake) -> None:
    report(lake, "r1")
    inside = answer(lake, photograph(1))
    others = [
        answer(lake, photograph(2), digest="another"),
        answer(lake, photograph(3), at=NOW),
        answer(lake, photograph(4), at=NOW - timedelta(hours=25)),
    ]
    fill(lake, [inside, *others])
    assert ids(make_queue(lake, policy_with(), "r1", NOW)) == [inside["image_id"]]


def test_without_a_report_the_unsure_come_before_the_sure(lake: Lake) -> None:
    sure = fill(lake, [answer(lake, photograph(i)) for i in range(5)], "sure")
    near = fill(lake, [answer(lake, photograph(9), decision="damage", max_score=0.43)], "near")
    person = fill(lake, [answer(lake, photograph(8), decision="needs_person", max_score=0.35)], "person")
    queue = make_queue(lake, policy_with(), None, NOW)
    assert ids(queue)[:2] == [*person, *near]
    assert set(ids(queue)[2:]) == set(sure)
    assert queue.photographs[0].why.startswith("the model asked for a person")
    assert queue.photographs[1].why == "best score 0.43 is near the threshold 0.40"


def test_random_order_follows_the_seed() -> None:
    rows = [{"image_id": f"i{n}", "max_score": 0.0, "threshold": 0.5, "decision": "clear"} for n in range(30)]

    def order(seed: str) -> list[str]:
        return [c.image_id for c in sorted(by_uncertainty(rows, seed), key=lambda c: c.place)]

    assert order("a") == order("a") != order("b")


def _rows(cars: dict[str, int], source: str = "web") -> list[dict[str, Any]]:
    return [
        {"image_id": f"{name}-{n}", "listing": name, "source": source, "decision": "needs_person", "max_score": n / 100,
         "threshold": 0.5}
        for name, count in cars.items()
        for n in range(count)
    ]  # fmt: skip


def test_a_car_gives_its_photographs_together_up_to_the_cap() -> None:
    taken = spread(by_uncertainty(_rows({"big": 9, "small": 2}), "s"), 8, lambda c: True)
    names = [c.car for c in taken]
    assert names == ["big"] * PER_CAR + ["small"] * 2 + ["big"] * 2


def test_sources_take_turns_within_a_tier() -> None:
    rows = _rows({f"w{i}": 1 for i in range(6)}) + _rows({f"m{i}": 1 for i in range(2)}, "mobile")
    taken = spread(by_uncertainty(rows, "s"), 4, lambda c: True)
    assert sorted(c.row["source"] for c in taken) == ["mobile", "mobile", "web", "web"]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ([5.0] * 5 + [50.0] * 5, ["low"]),  # only the dark side grew
        ([250.0] * 5 + [50.0] * 5, ["high"]),
        ([5.0] * 3 + [250.0] * 3, ["low", "high"]),
        ([50.0] * 10, ["low", "high"]),  # neither side grew: both edges
    ],
)
def test_only_the_side_that_grew_counts(window: list[float], expected: list[str]) -> None:
    rows = [{"image_id": "low", "f": 2.0}, {"image_id": "middle", "f": 50.0}, {"image_id": "high", "f": 190.0}]
    assert sorted(outside(rows, [float(v) for v in range(1, 101)], "f", window)) == sorted(expected)


def test_nothing_is_outside_of_no_reference() -> None:
    assert outside([{"image_id": "a", "f": 1.0}], [], "f", [1.0]) == {}


def test_state_counts_labels_and_age(drifted: tuple[Lake, list[str], list[str]]) -> None:
    lake, *_ = drifted
    queue = make_queue(lake, policy_with(5), "r1", NOW)
    upload(lake, {})
    label(lake, {p.label_key.removeprefix("raw/labels/"): "" for p in queue.photographs[:2]})
    (state,) = queue_state(lake, NOW + timedelta(minutes=5))
    assert (state.queue_id, state.photographs, state.labelled, state.open) == (queue.queue_id, 5, 2, 3)
    assert (state.age_s, state.complete, state.report_id) == (300.0, True, "r1")
    assert queues.read(lake, queue.queue_id) == queue
    with pytest.raises(LakeError, match=queue.queue_id):
        queues.read(lake, "another")


def test_photographs_whose_annotators_disagree_are_asked_for_until_they_are_labelled(lake: Lake) -> None:
    policy = Policy(data=DataPolicy(conflicts="exclude"))
    upload(lake, {"x/a.jpg": photograph(1), "x/b.jpg": photograph(2)})
    for number, (annotator, boxes) in enumerate([("anna", "0 0.5 0.5 0.4 0.4"), ("ben", "1 0.2 0.2 0.1 0.1")]):
        record = {"origin": "import:x", "options": {"annotator": annotator, "class_ids": {"0": 0, "1": 1}}}
        label(lake, {"x/a.txt": boxes, "x/b.txt": "" if number else "\n"}, record)
    after = NOW + timedelta(days=3650)  # when the labels have long come
    assert not make_queue(lake, Policy(), None, after).photographs  # the default: the latest labels count
    queue = make_queue(lake, policy, None, after)
    assert [(p.why, p.photograph_key) for p in queue.photographs] == [
        ("anna and ben agree by 0.00, less than 0.5", "raw/uploads/x/a.jpg")
    ]
    assert "1 disputed" in queue.reason
    (state,) = queue_state(lake, after)
    assert (state.photographs, state.labelled) == (1, 0)  # the labels that disagree are no answer
    assert not make_queue(lake, policy, None, after + timedelta(hours=1)).photographs  # it is asked for already
    answered = after + timedelta(days=1)
    row = lake.read("annotations").to_pylist()[0]
    settled = row | {
        "key": queue.photographs[0].label_key,
        "annotator": "carla",
        "sequence": 99,
        "created_at": answered,
    }
    lake.append("annotations", [settled | {"image_id": queue.photographs[0].image_id}], "answer")
    (state,) = queue_state(lake, answered)
    assert state.labelled == 1
    assert not make_queue(lake, policy, None, answered).photographs
