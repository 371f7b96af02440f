"""A model's detections on the golden set: champion and challenger meet the same photographs, each predicted once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from carsdepo_assets.detectors import catalogue
from carsdepo_assets.detectors.training_set import boxes_of
from carsdepo_assets.evaluation import prediction_cache
from carsdepo_assets.evaluation.predict import (
    NothingToScore,
    Progress,
    Scored,
    SplitEvaluation,
    evaluate_split,
    predict_rows,
)
from carsdepo_assets.evaluation.prediction_cache import CachedPredictions
from carsdepo_assets.lake import golden
from carsdepo_assets.lake.datasets import read_manifest
from carsdepo_assets.lake.golden import Golden
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, read_card
from carsdepo_assets.policy import Policy
from carsdepo_assets.scoring.boxes import Truth

_PART = 256  # photographs predicted before they are kept: a kill loses no more


def golden_scores(
    lake: Lake,
    digest: str,
    dataset_version: str,
    policy: Policy,
    *,
    of: Golden | None = None,
    progress: Progress | None = None,
) -> Scored:
    """Detections of a model as served (originals, serving decoder, on the CPU) and truths as the dataset has them.

    of: a version of the golden set; None: the current one, and before the first the dataset's test split. What was
    predicted before comes from the score cache, equal to the last bit. Raises NothingToScore without a photograph, or
    where the dataset lacks some of the golden set: figures on fewer photographs would not compare. Raises LakeError
    where dataset, model or an original is missing.
    """
    rows = golden_rows(lake, dataset_version, of)
    card = read_card(lake, digest)
    place = prediction_cache.folder(card, policy)
    known = prediction_cache.read(lake, place)
    missing = [row for row in rows if row["image_id"] not in known]
    if missing:
        known |= _predicted(lake, card, missing, place, policy, len(rows), progress)
    elif progress is not None:
        progress(len(rows), len(rows))
    found = [known[row["image_id"]] for row in rows]
    return Scored(rows, [Truth(*boxes_of(r)) for r in rows], [f.detections for f in found], [f.size for f in found])


def evaluate_on_golden(
    lake: Lake,
    digest: str,
    dataset_version: str,
    policy: Policy,
    *,
    of: Golden | None = None,
    progress: Progress | None = None,
) -> SplitEvaluation:
    """golden_scores with their figures, at the threshold in the model's card. Raises what golden_scores does."""
    scored = golden_scores(lake, digest, dataset_version, policy, of=of, progress=progress)
    return evaluate_split(scored, read_card(lake, digest), policy)


def golden_rows(lake: Lake, dataset_version: str, of: Golden | None = None) -> list[dict[str, Any]]:
    """The manifest's rows of the golden set (None: its current version), sorted by image_id; see golden_scores."""
    manifest = read_manifest(lake, dataset_version).to_pylist()
    chosen = of or golden.current(lake)
    if chosen is None:
        rows = [row for row in manifest if row["split"] == "test"]
        if not rows:
            raise NothingToScore(
                f"dataset {dataset_version} has no photograph in split test: import labelled photographs of more cars."
            )
        return rows
    wanted = set(chosen.images)
    rows = [row for row in manifest if row["image_id"] in wanted]
    if len(rows) < len(wanted):
        raise NothingToScore(
            f"dataset {dataset_version} lacks {len(wanted) - len(rows)} of the {len(wanted)} photographs of golden set "
            f"{chosen.version}: it is older than that set. Materialize `dataset`, then evaluate on the new version."
        )
    return rows


def _predicted(
    lake: Lake,
    card: ModelCard,
    rows: Sequence[dict[str, Any]],
    place: str,
    policy: Policy,
    total: int,
    progress: Progress | None,
) -> dict[str, CachedPredictions]:
    """Predicts and keeps, a part at a time."""
    predictor, _ = catalogue.load_model(lake, card.digest)
    found: dict[str, CachedPredictions] = {}
    before = total - len(rows)
    for start in range(0, len(rows), _PART):
        part = list(rows[start : start + _PART])

        def told(done: int, _: int, start: int = start) -> None:
            if progress is not None:
                progress(before + start + done, total)

        scored = predict_rows(lake, part, predictor, policy, progress=told)
        made = {
            row["image_id"]: CachedPredictions(detections, size)
            for row, detections, size in zip(part, scored.detections, scored.sizes, strict=True)
        }
        prediction_cache.write(lake, place, made)
        found |= made
    return found
