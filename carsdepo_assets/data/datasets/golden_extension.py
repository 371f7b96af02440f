"""Extends the golden test set by labelled photographs that were held out for testing since it was closed."""

from __future__ import annotations

from datetime import datetime

from carsdepo_assets.data.datasets.splitting import POOL
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.datasets import latest, read_manifest
from carsdepo_assets.lake.golden import Golden
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer


class NothingToAdd(ValueError):
    """The golden set cannot grow; the message says what is missing."""


def extend(lake: Lake, actor: str, reason: str, now: datetime) -> Golden:
    """Writes the next version of the golden set: its photographs and those of the newest dataset's test pool.

    No split changes. The pool holds the photographs that were assigned to testing since the golden set was closed, so
    that no model was ever trained or tuned on any of them.

    Args:
        lake: whose golden set is extended.
        actor: who decides it.
        reason: why it grows now; it is stored.
        now: the present, with a time zone.

    Returns:
        The new version.

    Raises:
        NothingToAdd: there is no golden set yet, or the pool holds nothing new.
        ValueError: the actor or the reason is empty.
    """
    if not reason.strip() or not actor.strip():
        raise ValueError("A golden set is extended by someone, for a reason: give both.")
    with one_writer(lake, "golden"):
        current, added = additions(lake)
        extended = Golden(
            current.version + 1,
            tuple(sorted({*current.images, *added})),
            actor.strip(),
            reason.strip(),
            now.isoformat(),
        )
        golden.write(lake, extended)
    return extended


def additions(lake: Lake) -> tuple[Golden, set[str]]:
    """The current golden set, and the ids of the photographs that an extension would add.

    Raises:
        NothingToAdd: there is no golden set yet, or nothing would be added.
    """
    current, version = golden.current(lake), latest(lake)
    if current is None or version is None:
        raise NothingToAdd(
            f"{lake.url} has no golden set yet: the first dataset with test photographs makes version 1."
        )
    pool = {r["image_id"] for r in read_manifest(lake, version).to_pylist() if r["split"] == POOL}
    added = pool - set(current.images)
    if not added:
        raise NothingToAdd(
            f"Nothing to add: golden set {current.version} has every photograph that dataset {version} holds out for "
            "testing. Label photographs of more cars and materialize `dataset` first."
        )
    return current, added
