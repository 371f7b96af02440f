"""When a batch closes: by its number of files and by their age. It looks at times alone, so that a year is simulated
with it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime

from carsdepo_assets.policy import DataPolicy


def due_parts(
    times: Sequence[datetime], policy: DataPolicy, now: datetime, close_all: bool = False
) -> Iterator[tuple[int, int]]:
    """Decides which batches of the files that wait are closed now.

    A full batch closes at once. The rest closes when its newest file is batch_max_age_s old, or its oldest
    batch_max_wait_s: without the latter, files that come one by one without a pause would wait for a full batch. A
    batch_max_age_s that is longer than the latter holds for both.

    Args:
        times: when each file was modified, in ascending order.
        policy: the batch_* fields are used.
        now: the present.
        close_all: closes everything at once.

    Returns:
        Start and end of each batch within `times`.
    """
    size, wait_s = policy.batch_max_images, max(policy.batch_max_wait_s, policy.batch_max_age_s)
    for start in range(0, len(times), size):
        end = min(start + size, len(times))
        if close_all or end - start == size:
            yield start, end
            continue
        # A clock ahead of ours must not hold a batch open for ever: files from the future do not count as young.
        past = bisect_right(times, now, start, end)
        if (
            past == start
            or (now - times[past - 1]).total_seconds() >= policy.batch_max_age_s
            or (now - times[start]).total_seconds() >= wait_s
        ):
            yield start, end
