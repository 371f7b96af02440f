"""A model's detections on the golden set, the fixed photographs on which all models are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """A model's detections on the golden set and the labels that the dataset has for it.

    The model predicts as it is served: original bytes, the serving decoder, on the CPU. Photographs that were predicted
    before come from the prediction cache, equal to the last bit. Photographs beyond the service's limits are left out,
    for every model alike.

    Args:
        lake: The lake with dataset, model and originals.
        digest: The model.
        dataset_version: The dataset whose labels count.
        policy: Gives the limits of the decoder.
        of: A version of the golden set; None means the current one, or the dataset's split `test` where there is none.
        progress: Called with the number of photographs that are done and their total.

    Raises:
        NothingToScore: There is no photograph, or the dataset lacks some of the golden set, so that the figures would
            not compare with other models'.
        LakeError: The dataset, the model or an original is missing.
    """
    rows = golden_rows(lake, dataset_version, of)
    card = read_card(lake, digest)
    place = prediction_cache.folder(lake, card, policy)
    predictions = prediction_cache.read(lake, place)
    missing = _missing(lake, place, rows, predictions)
    if missing:
        predictions |= _predicted(lake, card, missing, place, policy, len(rows), progress)
    elif progress is not None:
        progress(len(rows), len(rows))
    rows = [row for row in rows if row["image_id"] in predictions]
    if not rows:
        raise NothingToScore("No golden photograph is within the limits of policy.inference: raise them.")
    scored = [predictions[row["image_id"]] for row in rows]
    return Scored(rows, [Truth(*boxes_of(r)) for r in rows], [f.detections for f in scored], [f.size for f in scored])


def count_missing(lake: Lake, digest: str, dataset_version: str, policy: Policy, *, of: Golden | None = None) -> int:
    """The number of photographs that golden_scores would have to predict; arguments and errors are its own."""
    rows = golden_rows(lake, dataset_version, of)
    place = prediction_cache.folder(lake, read_card(lake, digest), policy)
    return len(_missing(lake, place, rows, prediction_cache.read(lake, place)))


def _missing(
    lake: Lake, place: str, rows: Sequence[dict[str, Any]], predictions: Mapping[str, CachedPredictions]
) -> list[dict[str, Any]]:
    """The rows without a prediction, but for those that the service would refuse."""
    missing = [row for row in rows if row["image_id"] not in predictions]
    left_out = prediction_cache.read_left_out(lake, place) if missing else frozenset()
    return [row for row in missing if row["image_id"] not in left_out]


def evaluate_on_golden(
    lake: Lake,
    digest: str,
    dataset_version: str,
    policy: Policy,
    *,
    of: Golden | None = None,
    progress: Progress | None = None,
) -> SplitEvaluation:
    """Evaluates a model on the golden set; arguments and errors are those of `golden_scores`."""
    scored = golden_scores(lake, digest, dataset_version, policy, of=of, progress=progress)
    return evaluate_split(scored, read_card(lake, digest), policy)


def golden_rows(lake: Lake, dataset_version: str, of: Golden | None = None) -> list[dict[str, Any]]:
    """The rows of a dataset's manifest that the golden set consists of.

    Args:
        lake: The lake.
        dataset_version: The dataset that holds the photographs and their labels.
        of: A version of the golden set; None means the current one.

    Raises:
        NothingToScore: There is no photograph, or the dataset lacks some of the golden set.
    """
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
    """Predicts a part of the rows at a time and writes each part to the cache."""
    predictor, _ = catalogue.load_model(lake, card.digest)
    predictions: dict[str, CachedPredictions] = {}
    before = total - len(rows)
    for start in range(0, len(rows), _PART):
        part = list(rows[start : start + _PART])

        def report(finished: int, _: int, start: int = start) -> None:
            if progress is not None:
                progress(before + start + finished, total)

        scored = predict_rows(lake, part, predictor, policy, progress=report)
        predictions_of_part = {
            row["image_id"]: CachedPredictions(detections, size)
            for row, detections, size in zip(scored.rows, scored.detections, scored.sizes, strict=True)
        }
        prediction_cache.write(lake, place, predictions_of_part)
        left_out = [row["image_id"] for row in part if row["image_id"] not in predictions_of_part]
        prediction_cache.write_left_out(lake, place, left_out)
        predictions |= predictions_of_part
    return predictions
