"""The golden set grows: by labelled photographs of its own side that came after it was closed."""

from __future__ import annotations

from datetime import datetime

from carsdepo_assets.data.splitting import POOL
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.datasets import latest, read_manifest
from carsdepo_assets.lake.golden import Golden
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer


class NothingToAdd(ValueError):
    """The golden set cannot grow; the message says what is missing."""


def extend(lake: Lake, actor: str, reason: str, now: datetime) -> Golden:
    """Version N+1: the current photographs and those of the newest dataset's test pool. No split changes.

    The pool holds what was hashed to the golden set's side of the wall since it was closed, so nothing in it was ever
    trained or tuned on, by the model in production or any other. Raises NothingToAdd, ValueError without a reason or
    an actor.
    """
    if not reason.strip() or not actor.strip():
        raise ValueError("A golden set is extended by someone, for a reason: give both.")
    with one_writer(lake, "golden"):
        current, added = additions(lake)
        made = Golden(
            current.version + 1,
            tuple(sorted({*current.images, *added})),
            actor.strip(),
            reason.strip(),
            now.isoformat(),
        )
        golden.write(lake, made)
    return made


def additions(lake: Lake) -> tuple[Golden, set[str]]:
    """The current version, and the photographs that would join it. Raises NothingToAdd where either is missing."""
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
