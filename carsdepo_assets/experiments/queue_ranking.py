"""Ranks photographs for labelling: which teach the next model most. Pure functions: rows in, candidates out."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

PER_CAR = 4  # photographs of one car before another car's turn
TAIL = 0.05  # share of the reference on each side that counts as its edge
NEAR_THRESHOLD = 0.1  # points of score: a best score so near to the threshold could have gone either way
DISPUTED, DRIFTED, UNSURE, REST = -1, 0, 1, 2  # tiers, the first first


@dataclass(frozen=True)
class QueueCandidate:
    """A photograph that could be labelled next."""

    row: Mapping[str, Any]
    """Its row of the table `inferences`; of a disputed one, the columns that a queue needs."""
    car: str
    """The listing, whose photographs are labelled together; the image id where it names none."""
    tier: int
    """DISPUTED, DRIFTED, UNSURE or REST; the lower tier comes first."""
    rank: float
    """The order within the tier, the lowest first."""
    why: str
    """Why it is chosen, for the annotator."""

    @property
    def image_id(self) -> str:
        """The sha256 of the photograph's bytes."""
        return str(self.row["image_id"])

    @property
    def place(self) -> tuple[int, float, str]:
        """Sorts candidates in the order to label them."""
        return self.tier, self.rank, self.image_id


def by_uncertainty(rows: Iterable[Mapping[str, Any]], seed: str) -> list[QueueCandidate]:
    """Ranks photographs by how unsure the model was: answers for a person first, then scores near the threshold.

    Uncertainty sampling after Lewis & Gale 1994. The others follow in random order: they show where the model is sure
    and wrong.

    Args:
        rows: one row of `inferences` for each photograph.
        seed: decides the random order, so that the same queue comes out again.
    """
    candidates = []
    for row in rows:
        score, threshold = row.get("max_score"), row.get("threshold")
        gap = abs(score - threshold) if score is not None and threshold is not None else None
        car = row.get("listing") or row["image_id"]
        if row.get("decision") == "needs_person":
            scores = "" if gap is None else f": best score {score:.2f}, threshold {threshold:.2f}"
            candidates.append(QueueCandidate(row, car, UNSURE, gap or 0.0, f"the model asked for a person{scores}"))
        elif gap is not None and gap <= NEAR_THRESHOLD:
            why = f"best score {score:.2f} is near the threshold {threshold:.2f}"
            candidates.append(QueueCandidate(row, car, UNSURE, 1 + gap, why))
        else:
            digest = hashlib.sha256(f"{seed}:{row['image_id']}".encode()).digest()
            rank = int.from_bytes(digest[:6], "big") / 2**48
            candidates.append(QueueCandidate(row, car, REST, rank, "drawn at random"))
    return candidates


def drifted_first(candidates: Sequence[QueueCandidate], drifted: Mapping[str, str]) -> list[QueueCandidate]:
    """The candidates with the drifted photographs ahead of all others.

    Args:
        drifted: why each drifted photograph counts as one, by image id, the most drifted first.
    """
    order = {image_id: number for number, image_id in enumerate(drifted)}
    return [
        replace(c, tier=DRIFTED, rank=float(order[c.image_id]), why=drifted[c.image_id]) if c.image_id in order else c
        for c in candidates
    ]


def outside(
    rows: Sequence[Mapping[str, Any]], reference: Sequence[float], feature: str, window: Sequence[float]
) -> dict[str, str]:
    """Photographs whose value of a feature lies on the edge of the reference's values.

    The edge is beyond the 5 % or 95 % quantile of the reference. Where only one side holds more of the window than of
    the reference, only that side counts.

    Args:
        rows: the photographs to choose from.
        reference: the feature's values of the training photographs.
        feature: a column of `rows`.
        window: the feature's values of all photographs of the window, labelled ones too.

    Returns:
        Why each photograph is chosen, by image id, the farthest first (in interquartile ranges).
    """
    if not len(reference) or not len(window):
        return {}
    low, q1, q3, high = np.quantile(reference, [TAIL, 0.25, 0.75, 1 - TAIL])
    spread = float(q3 - q1) or 1.0
    values = np.asarray(window, float)
    below, above = float((values < low).mean()) > TAIL, float((values > high).mean()) > TAIL
    both = below == above
    far: list[tuple[float, str, str]] = []
    for row in rows:
        value = row.get(feature)
        if value is None:
            continue
        under, over = float(low - value), float(value - high)
        distance = max(under if below or both else 0.0, over if above or both else 0.0)
        if distance > 0:
            side = "below" if under > 0 else "above"
            why = f"{feature} {value:.4g}, {side} nine in ten of the reference ({low:.4g} to {high:.4g})"
            far.append((-distance / spread, row["image_id"], why))
    return {image_id: why for _, image_id, why in sorted(far)}


def spread(
    candidates: Sequence[QueueCandidate], size: int, accepted: Callable[[QueueCandidate], bool], per_car: int = PER_CAR
) -> list[QueueCandidate]:
    """Chooses candidates so that the queue is spread over cars and sources.

    Cars come in the order of their best photograph; within a tier the sources take turns.

    Args:
        size: how many photographs to choose at most.
        accepted: asked once for each photograph in turn; it may refuse one that repeats another.
        per_car: photographs that a car gives together; those beyond come when every car had its turn.

    Returns:
        The chosen candidates in the order to label them.
    """
    cars: dict[str, list[QueueCandidate]] = defaultdict(list)
    for candidate in sorted(candidates, key=lambda c: c.place):
        cars[candidate.car].append(candidate)
    order = _turns(list(cars.values()))
    taken: list[QueueCandidate] = []
    for part in (slice(None, per_car), slice(per_car, None)):
        for members in order:
            for candidate in members[part]:
                if len(taken) == size:
                    return taken
                if accepted(candidate):
                    taken.append(_near(candidate, members[0]))
    return taken


def _turns(cars: Sequence[list[QueueCandidate]]) -> list[list[QueueCandidate]]:
    """Cars by the tier of their best photograph; within a tier one of each source in turn, best first."""
    waiting: dict[tuple[int, str], list[list[QueueCandidate]]] = defaultdict(list)
    for members in cars:
        best = members[0]
        waiting[best.tier, str(best.row.get("source") or "")].append(members)
    turned: list[tuple[int, int, tuple[int, float, str], list[QueueCandidate]]] = []
    for (tier, _), queue in waiting.items():
        turned += [(tier, turn, members[0].place, members) for turn, members in enumerate(queue)]
    return [members for *_, members in sorted(turned, key=lambda t: t[:3])]


def _near(candidate: QueueCandidate, best: QueueCandidate) -> QueueCandidate:
    """A photograph that is here for its car's sake says so."""
    if candidate is best or candidate.tier == best.tier:
        return candidate
    return replace(candidate, why=f"same car as {best.image_id[:12]}; {candidate.why}")
