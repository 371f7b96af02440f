"""A folder of photographs through a registered model, as COCO results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from carsdepo_assets.settings import Settings

if TYPE_CHECKING:
    from carsdepo_assets.scoring.boxes import Detections

CHUNK = 8  # photographs decoded at a time
LATEST = "latest"


@dataclass
class Predicted:
    """version: None where the registry numbers none. why: what the model was chosen for, in words.

    refused: (file, reason) of photographs that could not be decoded.
    """

    photographs: int = 0
    boxes: int = 0
    version: int | None = None
    digest: str = ""
    why: str = ""
    refused: list[tuple[str, str]] = field(default_factory=list)


class NothingToPredict(ValueError):
    """The folder has no photographs."""


def predict(
    settings: Settings, folder: Path, model: str, out: Path, progress: Callable[[int, int], None] | None = None
) -> Predicted:
    """Writes `out` whole or not at all: COCO results, one row a box, with file_name and image_id (1-based, by name).

    model: a version number, a digest (or its first digits), or `latest`: production's, else the newest candidate that
    met the floor. Rows carry every box down to score 0.001, which AP needs; the model's threshold is for people.
    Raises RegistryError for an unknown model, NothingToPredict for a folder without photographs.
    """
    from carsdepo_assets.detectors.catalogue import load_model
    from carsdepo_assets.environments import resources
    from carsdepo_assets.imaging.bad_image import BadImage
    from carsdepo_assets.imaging.decode import decode
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.registry.model_in_use import ModelInUse, model_in_use
    from carsdepo_assets.registry.models import get
    from carsdepo_assets.scoring.coco_files import save_results

    if not folder.is_dir():
        raise NothingToPredict(f"{folder} is not a folder.")
    files = sorted(
        p
        for p in folder.rglob("*")
        if p.is_file() and p.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
    )
    if not files:
        raise NothingToPredict(f"{folder} has no photographs (.jpg, .png, .webp, .bmp, .tif).")
    lake, policy, tracking = Lake.open(settings.lake), settings.policy(), resources(settings)["tracking"].tracking()
    if model == LATEST:
        used = model_in_use(lake, tracking, policy)
    else:
        asked = get(tracking, model)
        used = ModelInUse(asked.digest, asked.version, "as asked")
    predictor, card = load_model(lake, used.digest)
    limits = policy.data
    done = Predicted(version=used.version, digest=used.digest, why=used.why)
    numbers: list[int] = []
    found: list[Detections] = []
    for start in range(0, len(files), CHUNK):
        images, ids = [], []
        for number, path in enumerate(files[start : start + CHUNK], start + 1):
            try:
                images.append(
                    decode(
                        path.read_bytes(),
                        max_bytes=limits.max_bytes,
                        max_pixels=limits.max_pixels,
                        min_side=limits.min_side_px,
                    ).rgb
                )
            except BadImage as error:
                done.refused.append((str(path), str(error)))
            else:
                ids.append(number)
        found += predictor.predict(images)
        numbers += ids
        done.photographs += len(ids)
        if progress is not None:
            progress(min(start + CHUNK, len(files)), len(files))
    names = [files[number - 1].relative_to(folder).as_posix() for number in numbers]
    # Category ids are the class map's own: what the class is called in this product.
    done.boxes = save_results(out, found, numbers, names, range(len(card.class_names)))
    return done
