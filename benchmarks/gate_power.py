"""How often the promotion gate decides, and how: drawn models of known skill, by the golden set's boxes and groups.

The world: every labelled box, and every thing that only looks like damage, has a visibility that all models share; each
model adds an error of its own, and what comes out is the score. SHARED is the share of the score's variance that is
common: two models of the same skill then agree on what they find with Cohen's kappa of about 0.6 (the "error
consistency" of Geirhos et al. 2020). Errors are independent beyond that. SHARED = 0 leaves nothing in common, which no
two detectors of the same photographs are; those rows show the limit: with a standard error s of the difference a gate
that lets a model worse by the tolerance t pass in 2.5 % of tries promotes an equal one in Φ(t / s − 1.96) of them.

CARSDEPO_BENCH_TRIES (default 60): pairs of models a row; about a quarter of an hour of one core.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.evaluation.predict import Scored
from carsdepo_assets.policy import GatePolicy, Policy
from carsdepo_assets.release.gate import Verdict, gate_verdict
from carsdepo_assets.scoring.boxes import Detections, Truth
from carsdepo_assets.scoring.evaluation import evaluate

CLASSES = ("scratch", "dent")
SIZES = ((57, 22), (400, 120), (1500, 400), (4000, 1000))
SHARED = 0.8  # of the variance of a score
GROUP = 0.2  # of the shared part: photographs of one car are alike
SKILL = 0.8  # mean score of a box, in standard deviations above the threshold: 79 % of them are found, mAP@.5 0.78
WEAKER = 0.5
LEAST_SCORE = -1.5  # as a detector that gives no box under a confidence of a few percent
WANTED = 0.8  # of equal models, at 1,500 boxes in 400 groups
THRESHOLD = 0.5
FEW_FALSE_ALARMS = {"clutter": 1.0, "clutter_skill": -1.5}  # mAP@.5 0.94


@dataclass(frozen=True)
class World:
    """A photograph for each box. box: its visibility (n,); clutter: those of what looks like damage, a photograph."""

    truths: list[Truth]
    groups: list[str]
    box: NDArray[np.float64]
    clutter: list[NDArray[np.float64]]
    clutter_class: list[NDArray[np.int64]]
    shared: float
    clutter_skill: float


@dataclass(frozen=True)
class Share:
    """Of the tries: promoted, rejected, the rest undecided. difference: mean, of mAP@.5."""

    promoted: float
    rejected: float
    difference: float
    champion_map50: float


def world(
    boxes: int, groups: int, seed: int, *, shared: float = SHARED, clutter: float = 3.0, clutter_skill: float = -1.0
) -> World:
    """Draws a world; clutter: mean number of things a photograph that look like damage, clutter_skill: their score."""
    random = np.random.default_rng([0, seed, boxes])
    group = np.sort(random.integers(0, groups, boxes))
    of_group = random.normal(size=groups)
    corner = random.uniform(0, 100, (boxes, 2))
    xyxy = np.hstack([corner, corner + random.uniform(30, 90, (boxes, 2))])
    number = random.poisson(clutter, boxes)
    return World(
        truths=[Truth(xyxy[i : i + 1], np.array([i % len(CLASSES)])) for i in range(boxes)],
        groups=[f"car {g}" for g in group],
        box=np.sqrt(GROUP) * of_group[group] + np.sqrt(1 - GROUP) * random.normal(size=boxes),
        clutter=[random.normal(size=n) for n in number],
        clutter_class=[random.integers(0, len(CLASSES), n) for n in number],
        shared=shared,
        clutter_skill=clutter_skill,
    )


def model(of: World, skill: float | Mapping[int, float], seed: int) -> Scored:
    """Draws one model's answers; skill is the mean score of a box, for all classes or by class id."""
    random = np.random.default_rng([1, seed, len(of.truths)])
    own, common = np.sqrt(1 - of.shared), np.sqrt(of.shared)
    means = np.array([skill[int(t.classes[0])] if isinstance(skill, Mapping) else skill for t in of.truths])
    box = means + common * of.box + own * random.normal(size=len(means))
    detections = []
    for truth, score, clutter, kinds in zip(of.truths, box, of.clutter, of.clutter_class, strict=True):
        scores = np.r_[score, of.clutter_skill + common * clutter + own * random.normal(size=len(clutter))]
        x = 300.0 + 60 * np.arange(len(clutter))  # beside every labelled box
        places = np.column_stack([x, np.full(len(x), 300.0), x + 40, np.full(len(x), 340.0)])
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] > LEAST_SCORE]
        detections.append(
            Detections(
                np.vstack([truth.xyxy, places])[order],
                1 / (1 + np.exp(-2 * scores[order])),
                np.r_[truth.classes, kinds][order],
            )
        )
    rows = [{"image_id": f"i{n:05d}", "group_id": g} for n, g in enumerate(of.groups)]
    return Scored(rows, of.truths, detections, [(2000, 400)] * len(rows))


def verdict(champion: Scored, challenger: Scored, resamples: int) -> Verdict:
    """The gate's verdict in interval mode, with the policy's defaults."""
    policy = Policy(gate=GatePolicy(mode="interval", resamples=resamples))
    return gate_verdict(
        champion,
        challenger,
        CLASSES,
        (THRESHOLD, THRESHOLD),
        policy,
        latency_p95_ms=1.0,
        parity=1.0,
        slices={},
    )


def share(
    boxes: int,
    groups: int,
    skill: float | Mapping[int, float],
    *,
    tries: int,
    champion: float = SKILL,
    resamples: int = 400,
    **about: float,
) -> Share:
    """Pairs of a champion of skill `champion` and a challenger of `skill`, each pair in a world of its own."""
    verdicts = []
    for seed in range(tries):
        drawn = world(boxes, groups, seed, **about)
        pair = [model(drawn, s, 1 + 2 * seed + n) for n, s in enumerate((champion, skill))]
        verdicts.append(verdict(pair[0], pair[1], resamples))
    return Share(
        promoted=float(np.mean([v.verdict == "promote" for v in verdicts])),
        rejected=float(np.mean([v.verdict == "reject" for v in verdicts])),
        difference=float(np.mean([v.figures["map50_difference"] for v in verdicts])),
        champion_map50=float(np.mean([v.figures["champion_map50"] for v in verdicts])),
    )


@functools.cache
def _map50_by_skill() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(skills, mAP@.5 of each on many boxes), both rising: the same world and the same luck for all."""
    skills = np.arange(SKILL - 1, SKILL + 1.3, 0.25)
    drawn = world(4000, 1000, 99)
    scored = [model(drawn, float(skill), 98) for skill in skills]
    return skills, np.array([evaluate(s.truths, s.detections, CLASSES, threshold=THRESHOLD).map50 for s in scored])


def skill_with(difference: float) -> float:
    """The skill whose mAP@.5 differs from SKILL's by this (of 1), between the two nearest of a grid."""
    skills, map50 = _map50_by_skill()
    return float(np.interp(np.interp(SKILL, skills, map50) + difference, map50, skills))


def agreement(tries: int = 20) -> float:
    """Cohen's kappa of what two models of skill SKILL find at the threshold."""
    hits = []
    for seed in range(tries):
        drawn = world(1500, 400, seed)
        hits.append([_hits(model(drawn, SKILL, 1 + 2 * seed + n)) for n in range(2)])
    first, second = np.concatenate(hits, axis=1)
    by_chance = first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean())
    return float(((first == second).mean() - by_chance) / (1 - by_chance))


def _hits(scored: Scored) -> NDArray[np.bool_]:
    """(n,): whether the box of each photograph is found; it is the only one left of 300 pixels."""
    return np.array([bool(((d.xyxy[:, 0] < 300) & (d.scores >= THRESHOLD)).any()) for d in scored.detections])


def run() -> list[dict[str, Any]]:
    tries = int(os.environ.get("CARSDEPO_BENCH_TRIES", "60"))
    kappa = agreement()
    rows: list[dict[str, Any]] = [
        {"name": "two equal models: Cohen's kappa of what they find", "value": kappa, "unit": "of 1"}
    ]
    # Dents found much less, scratches more, so that mAP@.5 alone would hardly notice.
    collapse = {0: skill_with(0.10), 1: skill_with(-0.10)}
    cases: list[tuple[str, float | Mapping[int, float], str, str]] = [
        ("an equal model", SKILL, "promoted", ""),
        ("an equal model", SKILL, "rejected", ""),
        ("2 points worse", skill_with(-0.02), "promoted", ""),
        ("5 points worse", skill_with(-0.05), "promoted", ""),
        ("10 points worse", skill_with(-0.10), "promoted", ""),
        ("5 points better", skill_with(0.05), "promoted", ""),
        ("dents 10 points of AP worse, scratches 10 better", collapse, "rejected", ""),
    ]
    for boxes, groups in SIZES:
        drawn: dict[str, Share] = {}
        for name, skill, outcome, _ in cases:
            if name not in drawn:
                drawn[name] = share(boxes, groups, skill, tries=tries)
            row = _row(boxes, groups, name, outcome, drawn[name])
            if (boxes, groups, name, outcome) == (1500, 400, "an equal model", "promoted"):
                row |= {"against": f"at least {WANTED}", "ratio": row["value"] / WANTED}
            rows.append(row)
    limits: tuple[tuple[str, float, dict[str, float]], ...] = (
        ("an equal, weaker model", WEAKER, {}),
        ("an equal model with nothing in common", SKILL, {"shared": 0.0}),
        ("an equal model with nothing in common, few false alarms", SKILL, FEW_FALSE_ALARMS | {"shared": 0.0}),
    )
    for name, skill, about in limits:
        result = share(1500, 400, skill, champion=skill, tries=tries, **about)
        rows.append(_row(1500, 400, f"{name} (mAP@.5 {result.champion_map50:.2f})", "promoted", result))
    return rows


def _row(boxes: int, groups: int, name: str, outcome: str, result: Share) -> dict[str, Any]:
    mean = f"mean difference {100 * result.difference:+.1f} points"
    return {
        "name": f"{boxes:,} boxes in {groups:,} groups: {name} is {outcome}",
        "value": result.promoted if outcome == "promoted" else result.rejected,
        "unit": "of 1",
        "against": mean,
    }


if __name__ == "__main__":
    for row in run():
        print(row)
