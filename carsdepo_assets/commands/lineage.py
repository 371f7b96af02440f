"""`carsdepo lineage`: shows where a model, the model of a stage or a single answer comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from carsdepo_assets.settings import Settings


def lineage_of(
    settings: Settings, *, model: str | None = None, stage: str | None = None, prediction: str | None = None
) -> dict[str, Any]:
    """The lineage of what is named, as `site.tracing` gives it; of the latest model where nothing is named.

    Args:
        settings: The installation.
        model: As `model_named` takes it.
        stage: "staging" or "production", for the model that the stage serves.
        prediction: The id of an answer.

    Raises:
        ValueError: More than one is named.
        LookupError: There is nothing of that name; the message lists what there is.
    """
    from carsdepo_assets.commands.named_model import model_named
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.site import tracing

    if sum(v is not None for v in (model, stage, prediction)) > 1:
        raise ValueError("Name one of --model, --stage and --prediction.")
    lake, places = Lake.open(settings.lake), tracing.Places.of(settings)
    tracking = tracing.open_tracking(settings)
    if prediction is not None:
        return tracing.prediction_lineage(lake, tracking, prediction, places)
    if stage is not None:
        return tracing.production_lineage(lake, tracking, stage, places)
    digest = model_named(settings, lake, "latest" if model is None else model)
    return tracing.model_lineage(lake, tracking, digest, places)


def show(lineage: Mapping[str, Any], console: Console) -> None:
    """Prints a lineage for people."""
    if "prediction" in lineage:
        _part(console, "The answer", _answer(lineage))
    elif "stage" in lineage:
        _part(console, f"What {lineage['stage']} serves", _deployed(lineage["event"]))
    model = lineage.get("model", lineage)
    if "missing" in model:
        console.print(escape(model["missing"]), highlight=False, soft_wrap=True)
        return
    name = f"version {model['version']}" if model["version"] else model["digest"]
    _part(console, f"Model {name}", _model(model))


def _part(console: Console, title: str, rows: Iterator[tuple[str, str]]) -> None:
    """Prints names and values line by line without a frame, so that paths and URLs can be copied whole."""
    console.print(f"[italic]{escape(title)}[/]", highlight=False)
    shown = list(rows)
    width = max(len(name) for name, _ in shown) + 2
    for name, value in shown:
        lines = value.splitlines() or [""]
        for first, line in zip([name, *[""] * (len(lines) - 1)], lines, strict=True):
            console.print(f"  {first:{width}}{line}", highlight=False, markup=False, soft_wrap=True)
    console.print()


def _answer(lineage: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    answer, photograph, event = lineage["prediction"], lineage["photograph"], lineage["served_by"]
    yield "prediction", answer["prediction_id"]
    yield "page", answer["url"]
    yield "answered", f"{answer['at']} by {answer['stage']}, {answer['runtime']}, {answer['milliseconds'] or 0:.0f} ms"
    yield "decision", f"{answer['decision']}: {_boxes(answer['n_boxes'])} at threshold {answer['threshold']:.3f}"
    counted = [b for b in answer["boxes"] if b["score"] >= answer["threshold"]]
    yield "boxes", "\n".join(f"{b['class']} {b['score']:.3f} {[round(v) for v in b['box']]}" for b in counted) or "none"
    yield (
        "photograph",
        f"{photograph['image_id']}\n{photograph['file_name']}, {photograph['width']} x {photograph['height']}",
    )
    yield "kept at", photograph["place"]
    yield "captured in", answer["captured_in"]
    yield "deployed by", f"{event['actor']}, {event['at']}: {event['reason']}" if event else "no event in the ledger"


def _deployed(event: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "model", event["digest"]
    yield "since", event["at"]
    yield event["action"], f"by {event['actor']}: {event['reason']}"
    yield "Dagster run", event["url"] or "none"


def _preprocessing(model: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    preprocessing = model["preprocessing"]
    if preprocessing is None:
        return
    yield "resize", preprocessing["resize"]
    yield "normalisation", preprocessing["normalisation"]
    version = preprocessing["augmentation"]
    yield "augmentation", f"{version}: {preprocessing['varied']}" if version else preprocessing["varied"]


def _model(model: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    data, evaluation, live = model["dataset"], model["evaluation"], model["approved_by"]
    yield "digest", f"{model['digest']}  {' '.join(model['aliases'])}".strip()
    yield "place", model["place"]
    yield "page", model["url"]
    yield "card", model["card_page"] or f"not made yet: carsdepo model card {model['digest']}"
    yield (
        "trained",
        f"{model['created_at']}, {model['detector']}" + (f": {model['training']}" if model["training"] else ""),
    )
    yield "trained at", model["environment"].get("place", "no place is recorded")
    yield "dataset", f"{data['version']}: {_counts(data['splits'])} photographs\n{data['place']}"
    yield "content", data["content_digest"] or "no digest was recorded"
    yield "labels", f"{data['boxes']} boxes; revisions: {_counts(data['revisions_by_origin'])}"
    yield "licences", "\n".join(map(_licence, data["licences"])) or "not listed by the release of then"
    yield "upload batches", _counts(data["upload_batches"])
    yield "label batches", _counts(data["label_batches"])
    yield "recipe", ", ".join(f"{k} {v}" for k, v in model["recipe"].items() if v is not None and k != "augmentation")
    yield from _preprocessing(model)
    yield "initialised from", " <- ".join(a["digest"] for a in model["initialised_from"]) or "no other model"
    yield "code", f"{model['code']['version']}, source {model['code']['source_digest']}"
    yield "policy", model["policy_digest"]
    yield "MLflow run", model["mlflow"]["url"] or model["mlflow"]["run_id"] or "none"
    yield "Dagster run", model["dagster"]["url"] or "none"
    yield "evaluation", f"{evaluation['verdict']}\n{evaluation['url']}" if evaluation else "not yet"
    for gate in model["gates"]:
        yield (
            "gate",
            f"{gate['verdict']}, {gate['at']}, against {gate['champion'] or 'none'}\n{gate['url'] or ''}".strip(),
        )
    yield "to production", f"by {live['actor']}, {live['at']}: {live['reason']}" if live else "never"


def _licence(listed: Mapping[str, Any]) -> str:
    from carsdepo_assets.lake.licences import LicenceCount

    one = LicenceCount(**listed)
    return one.sentence + (" (no commercial use)" if one.non_commercial else "")


def _boxes(n: int) -> str:
    return f"{n} box" if n == 1 else f"{n} boxes"


def _counts(numbers: Mapping[str, int], most: int = 8) -> str:
    shown = [f"{n:,} {name}" for name, n in list(numbers.items())[:most]]
    return ", ".join(shown) + (f" and {len(numbers) - most} more" if len(numbers) > most else "") or "none"
