"""lake/golden.py, lake/queues.py: a damaged file is named, with what to do, and never taken for a missing one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from carsdepo_assets.lake import golden, queues
from carsdepo_assets.lake.golden import Golden
from carsdepo_assets.lake.lake import Lake, LakeError

PHOTOGRAPH = queues.QueuedPhotograph("a" * 64, "capture/a.jpg", "raw/uploads/queue/q/a.jpg", 1, "unsure")
QUEUE = queues.Queue("q", datetime(2026, 11, 1, tzinfo=UTC), None, "by uncertainty", (PHOTOGRAPH,))


def damaged(lake: Lake, key: str) -> None:
    lake.put(key, lake.get(key)[:-20])


def test_a_damaged_golden_set_is_not_replaced_by_the_one_before(lake: Lake) -> None:
    golden.write(lake, Golden(1, ("a",)))
    golden.write(lake, Golden(2, ("a", "b")))
    damaged(lake, golden.key(2))
    with pytest.raises(LakeError, match=r"golden/2\.json .* is damaged"):
        golden.current(lake)
    with pytest.raises(LakeError, match=r"golden/2\.json .* is damaged"):
        golden.write(lake, Golden(2, ("a",)))


def test_a_golden_set_is_written_once(lake: Lake) -> None:
    golden.write(lake, Golden(1, ("a", "b")))
    golden.write(lake, Golden(1, ("b", "a"), "someone", "the same photographs again"))
    assert golden.read(lake, 1).reason == ""
    with pytest.raises(LakeError, match="exists already"):
        golden.write(lake, Golden(1, ("a",)))


@pytest.mark.parametrize("key", [queues.queue_key("q"), queues.plan_key("q")])
def test_a_damaged_queue_is_named(lake: Lake, key: str) -> None:
    lake.put(key, QUEUE.to_json())
    assert [queue for queue, _ in queues.all_queues(lake)] == [QUEUE]
    damaged(lake, key)
    with pytest.raises(LakeError, match=r"queues/q/(queue|plan)\.json .* is damaged"):
        queues.queue_state(lake)


def test_a_queue_of_other_fields_is_damaged_too(lake: Lake) -> None:
    lake.put(queues.queue_key("q"), b'{"queue_id": "q", "photographs": []}')
    with pytest.raises(LakeError, match="is damaged"):
        queues.read(lake, "q")
