"""Which photographs an annotator's hour is best spent on, and in what order. Pure: rows in, candidates out."""

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
DRIFTED, UNSURE, REST = 0, 1, 2  # tiers, the first first


@dataclass(frozen=True)
class QueueCandidate:
    """row: columns of INFERENCES. car: what is labelled together. rank: within the tier, the lowest first."""

    row: Mapping[str, Any]
    car: str
    tier: int
    rank: float
    why: str

    @property
    def image_id(self) -> str:
        return str(self.row["image_id"])

    @property
    def place(self) -> tuple[int, float, str]:
        return self.tier, self.rank, self.image_id


def by_uncertainty(rows: Iterable[Mapping[str, Any]], seed: str) -> list[QueueCandidate]:
    """Unsure answers first: those for a person, then those nearest to the threshold; the rest in hashed order of seed.

    rows: one of INFERENCES for each photograph. Uncertainty sampling after Lewis & Gale 1994; the random rest finds
    what the model is sure of and wrong.
    """
    found = []
    for row in rows:
        score, threshold = row.get("max_score"), row.get("threshold")
        gap = abs(score - threshold) if score is not None and threshold is not None else None
        car = row.get("listing") or row["image_id"]
        if row.get("decision") == "needs_person":
            said = "" if gap is None else f": best score {score:.2f}, threshold {threshold:.2f}"
            found.append(QueueCandidate(row, car, UNSURE, gap or 0.0, f"the model asked for a person{said}"))
        elif gap is not None and gap <= NEAR_THRESHOLD:
            why = f"best score {score:.2f} is near the threshold {threshold:.2f}"
            found.append(QueueCandidate(row, car, UNSURE, 1 + gap, why))
        else:
            digest = hashlib.sha256(f"{seed}:{row['image_id']}".encode()).digest()
            rank = int.from_bytes(digest[:6], "big") / 2**48
            found.append(QueueCandidate(row, car, REST, rank, "drawn at random"))
    return found


def drifted_first(candidates: Sequence[QueueCandidate], drifted: Mapping[str, str]) -> list[QueueCandidate]:
    """The candidates, those in `drifted` (image id -> why, the most drifted first) ahead of all others."""
    order = {image_id: number for number, image_id in enumerate(drifted)}
    return [
        replace(c, tier=DRIFTED, rank=float(order[c.image_id]), why=drifted[c.image_id]) if c.image_id in order else c
        for c in candidates
    ]


def outside(
    rows: Sequence[Mapping[str, Any]], reference: Sequence[float], feature: str, window: Sequence[float]
) -> dict[str, str]:
    """Photographs on the edge of the reference's values of a feature, the farthest first: image id -> why.

    Edge: beyond the 5 % or 95 % quantile of `reference`; where only one side holds more of the `window` (all values of
    the window, labelled photographs too) than of the reference, only that side. Distances in interquartile ranges.
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
    """At most `size` candidates in the order to label them.

    Cars in the order of their best photograph; within a tier the sources take turns. A car gives its photographs
    together, at most `per_car`; what it has beyond that comes when every car had its turn. `accepted` is asked once for
    each photograph in turn, and may refuse one that repeats another.
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
