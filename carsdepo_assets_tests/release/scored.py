"""Scored photographs of drawn skill: what the gate judges, without a detector."""

from __future__ import annotations

import numpy as np

from carsdepo_assets.evaluation.predict import Scored
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


def with_threshold(
    truths: list[Truth],
    groups: list[str],
    threshold: float,
    *,
    seed: int,
    recalls: tuple[float, float],
    false_alarms: float,
    surer: tuple[float, float],
    below: float,
) -> Scored:
    """A model of which `recalls` (by class) and `false_alarms` (a photograph) hold at its own threshold.

    Scores above it fall off as Beta(1, b), b of right and wrong boxes in `surer`: the smaller, the surer. Below it lie
    half as many false alarms again, and the share `below` of the boxes that were missed.
    """
    rng = np.random.default_rng(seed)
    detections = []
    for truth in truths:
        kind = int(truth.classes[0])
        rows = []
        if rng.random() < recalls[kind]:
            rows.append((*truth.xyxy[0], threshold + 0.6 * rng.beta(1, surer[0]), kind))
        elif rng.random() < below:
            rows.append((*truth.xyxy[0], threshold * rng.random(), kind))
        for above, number in ((True, rng.poisson(false_alarms)), (False, rng.poisson(false_alarms / 2))):
            for x, y in rng.uniform(0, SIDE - 12, (number, 2)):
                score = threshold + 0.6 * rng.beta(1, surer[1]) if above else threshold * rng.random()
                rows.append((x, y, x + 12, y + 12, score, int(rng.integers(0, 2))))
        table = np.array(rows, float).reshape(-1, 6)
        table = table[np.argsort(-table[:, 4], kind="stable")]
        detections.append(Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64)))
    rows_of = [{"image_id": f"i{n:05d}", "group_id": g} for n, g in enumerate(groups)]
    return Scored(rows_of, truths, detections, [(SIDE, SIDE)] * len(truths))


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode()[-4:], "big")
