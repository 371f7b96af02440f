"""`carsdepo predict`: runs a registered model over a folder of photographs and writes COCO results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from carsdepo_assets.settings import Settings

if TYPE_CHECKING:
    from carsdepo_assets.scoring.boxes import Detections

LATEST = "latest"


@dataclass
class Predicted:
    """What a call of `predict` did."""

    photographs: int = 0
    """Photographs that the model has seen."""
    boxes: int = 0
    """Boxes that were written, of any score."""
    version: int | None = None
    """The model's version; None where the registry has none for it."""
    digest: str = ""
    """The model's digest."""
    why: str = ""
    """Why this model was taken, for people."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Photographs that could not be decoded: path and reason."""


class NothingToPredict(ValueError):
    """The folder has no photographs."""


def predict(
    settings: Settings, folder: Path, model: str, out: Path, progress: Callable[[int, int], None] | None = None
) -> Predicted:
    """Runs a model over the photographs of a folder and writes its boxes as COCO results.

    The file has one row for each box, with file_name and image_id (from 1, in the order of names). It holds every box
    down to score 0.001, as average precision needs, and not only those above the model's threshold. It is written whole
    or not at all.

    Args:
        settings: The installation.
        folder: The folder with the photographs, at any depth.
        model: A version number, a digest (or its first digits), or "latest": the model in production, or, where there
            is none, the newest candidate that met the floor.
        out: The file to write.
        progress: Called with the number of photographs behind and of all.

    Raises:
        RegistryError: There is no such model.
        NothingToPredict: The folder has no photographs.
        CocoFileError: No file can be written at `out`; nothing was predicted.
    """
    from carsdepo_assets.detectors.catalogue import load_model
    from carsdepo_assets.detectors.predicting import network_of, predict_image
    from carsdepo_assets.environments import resources
    from carsdepo_assets.imaging.bad_image import BadImage
    from carsdepo_assets.imaging.decodings import Decodings
    from carsdepo_assets.imaging.pipeline import pipeline_limits
    from carsdepo_assets.imaging.serving import served
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.registry.model_in_use import ModelInUse, model_in_use
    from carsdepo_assets.registry.models import get
    from carsdepo_assets.scoring.coco_files import check_place, save_results

    if not folder.is_dir():
        raise NothingToPredict(f"{folder} is not a folder.")
    files = sorted(
        p
        for p in folder.rglob("*")
        if p.is_file() and p.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
    )
    if not files:
        raise NothingToPredict(f"{folder} has no photographs (.jpg, .png, .webp, .bmp, .tif).")
    check_place(out)
    lake, policy, tracking = Lake.open(settings.lake), settings.policy(), resources(settings)["tracking"].tracking()
    if model == LATEST:
        used = model_in_use(lake, tracking, policy)
    else:
        chosen = get(tracking, model)
        used = ModelInUse(chosen.digest, chosen.version, "as asked")
    predictor, card = load_model(lake, used.digest)
    limits = pipeline_limits(policy.data)
    result = Predicted(version=used.version, digest=used.digest, why=used.why)
    numbers: list[int] = []
    detections: list[Detections] = []
    for number, path in enumerate(files, 1):
        try:
            _, image = served(Decodings(path.read_bytes(), limits), policy, network_of(predictor))
        except BadImage as error:
            result.refused.append((str(path), str(error)))
        else:
            detections.append(predict_image(predictor, image))
            numbers.append(number)
            result.photographs += 1
        if progress is not None:
            progress(number, len(files))
    names = [files[number - 1].relative_to(folder).as_posix() for number in numbers]
    # Category ids are the class map's own: what the class is called in this product.
    result.boxes = save_results(out, detections, numbers, names, range(len(card.class_names)))
    return result
