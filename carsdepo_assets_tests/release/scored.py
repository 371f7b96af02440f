"""Scored photographs of drawn skill: what the gate judges, without a detector."""

from __future__ import annotations

import numpy as np

from carsdepo_assets.detectors.evaluating import Scored
from carsdepo_assets.scoring.boxes import Detections, Truth

SIDE = 400


def golden(boxes: int, groups: int, seed: int = 0, classes: int = 2) -> tuple[list[Truth], list[str]]:
    """Truths of `boxes` photographs with one box each, and their groups' names."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, SIDE - 80, (boxes, 2))
    xyxy = np.concatenate((corner, corner + rng.uniform(30, 80, (boxes, 2))), axis=1)
    kinds = np.arange(boxes) % classes
    truths = [Truth(xyxy[i : i + 1], kinds[i : i + 1].astype(np.int64)) for i in range(boxes)]
    return truths, [f"g{g:04d}" for g in np.sort(rng.integers(0, groups, boxes))]


def scored(
    truths: list[Truth],
    groups: list[str],
    skill: float | list[float],
    *,
    seed: int,
    false_alarms: float = 0.4,
    misses: dict[int, float] | None = None,
) -> Scored:
    """A model that finds each box with probability `skill` (one a photograph, or one for all; misses: by class).

    Groups differ in difficulty: each has its own shift of the skill, the same for every model on these truths.
    """
    rng = np.random.default_rng(seed)
    shift = {g: np.random.default_rng(abs(hash_of(g))).normal(0, 0.15) for g in set(groups)}
    skills = [skill] * len(truths) if isinstance(skill, float) else skill
    detections = []
    for truth, group, chance in zip(truths, groups, skills, strict=True):
        chance = (misses or {}).get(int(truth.classes[0]), chance)
        rows = []
        if rng.random() < np.clip(chance + shift[group], 0, 1):
            rows.append((*truth.xyxy[0], rng.uniform(0.4, 1.0), int(truth.classes[0])))
        if rng.random() < false_alarms:
            x, y = rng.uniform(0, SIDE - 40, 2)
            rows.append((x, y, x + 35, y + 35, rng.uniform(0.0, 0.7), int(rng.integers(0, 2))))
        table = np.array(rows, float).reshape(-1, 6)
        table = table[np.argsort(-table[:, 4], kind="stable")]
        detections.append(Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64)))
    rows = [{"image_id": f"i{n:05d}", "group_id": g} for n, g in enumerate(groups)]
    return Scored(rows, truths, detections, [(SIDE, SIDE)] * len(truths))


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode()[-4:], "big")
