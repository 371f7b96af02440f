"""`carsdepo predict`: runs a registered model over a folder of photographs and writes COCO results.

Every file of the folder is in one of three lists: answered, not answered with its reason, and passed over because it is
no photograph by its name (labels, tables, files of the system), as the pipeline passes over it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from carsdepo_assets.data.folders.folder_files import is_hidden, list_folder
from carsdepo_assets.data.objects.manifests import is_photograph
from carsdepo_assets.imaging.formats import PHOTOGRAPH_SUFFIXES
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
    """Files that were not answered: path and reason."""
    passed_over: list[tuple[str, str]] = field(default_factory=list)
    """Files that are no photographs by their name: path and why."""
    folders: int = 0
    """Folders that could not be read; they are among `refused`."""

    @property
    def files(self) -> int:
        """The number of files in the folder: answered, not answered and passed over."""
        return self.photographs + len(self.refused) - self.folders + len(self.passed_over)


class NothingToPredict(ValueError):
    """The folder has no photographs."""


@dataclass
class _Contents:
    photographs: list[Path] = field(default_factory=list)
    passed_over: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # folders
    refused: list[tuple[str, str]] = field(default_factory=list)  # photographs by their name that are no files


def _contents(folder: Path) -> _Contents:
    """The files of a folder at any depth, links to folders included, in the order of names."""
    listing = list_folder(folder)
    contents = _Contents(unreadable=[(str(folder), f"unreadable: {place}") for place in listing.unreadable])
    for file in listing.files:
        path = folder / file.path
        if is_hidden(file.path):
            contents.passed_over.append((str(path), "hidden, or a file of the system"))
        elif not is_photograph(path.name):
            contents.passed_over.append((str(path), f"a {path.suffix.lower()} is no photograph"))
        else:
            contents.photographs.append(path)
    for below, why in listing.no_files.items():
        if (folder / below).is_dir():
            continue  # a link to a folder that is listed already
        is_named_so = not is_hidden(below) and Path(below).suffix.lower() in PHOTOGRAPH_SUFFIXES
        (contents.refused if is_named_so else contents.passed_over).append((str(folder / below), f"unreadable: {why}"))
    return contents


def _read(path: Path, max_bytes: int) -> bytes:
    """The bytes of a file.

    Raises:
        BadImage: it is too large, which is seen before it is read.
        OSError: it cannot be read.
    """
    from carsdepo_assets.imaging.bad_image import BadImage

    if not path.is_file():
        raise FileNotFoundError(2, "is no file, or leads to none", str(path))
    size = path.stat().st_size
    if size > max_bytes:
        raise BadImage("too_large", f"{size} bytes, at most {max_bytes} are read")
    return path.read_bytes()


def predict(
    settings: Settings, folder: Path, model: str, out: Path, progress: Callable[[int, int], None] | None = None
) -> Predicted:
    """Runs a model over the photographs of a folder and writes its boxes as COCO results.

    The file has one row for each box, with file_name and image_id (from 1, in the order of names). It holds every box
    down to score 0.001, as average precision needs, and not only those above the model's threshold. It is written whole
    or not at all. What the pipeline would take is answered, by the same decoder and limits; a file that cannot be
    answered stops none of the others.

    Args:
        settings: The installation.
        folder: The folder with the photographs, at any depth.
        model: A version number, a digest (or its first digits), or "latest": the model in production, or, where there
            is none, the newest candidate that met the floor.
        out: The file to write.
        progress: Called with the number of photographs behind and of all.

    Raises:
        RegistryError: There is no such model, or MLflow's server is away.
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
    from carsdepo_assets.registry.models import RegistryError, get
    from carsdepo_assets.scoring.coco_files import check_place, save_results

    if not folder.is_dir():
        raise NothingToPredict(f"{folder} is not a folder.")
    contents = _contents(folder)
    files = contents.photographs
    if not files:
        number = len(contents.passed_over)
        others = f": its {number} files are labels, tables and the like" if number else ""
        raise NothingToPredict(f"{folder} has no photographs{others}. Name a photograph, or a folder that has some.")
    check_place(out)
    lake, policy, tracking = Lake.open(settings.lake), settings.policy(), resources(settings)["tracking"].tracking()
    if (absence := tracking.absence()) is not None:
        raise RegistryError(f"The model is sought in MLflow's registry, and {absence}.")
    if model == LATEST:
        used = model_in_use(lake, tracking, policy)
    else:
        chosen = get(tracking, model)
        used = ModelInUse(chosen.digest, chosen.version, "as asked")
    predictor, card = load_model(lake, used.digest)
    limits = pipeline_limits(policy.data)
    result = Predicted(
        version=used.version,
        digest=used.digest,
        why=used.why,
        refused=[*contents.unreadable, *contents.refused],
        passed_over=contents.passed_over,
        folders=len(contents.unreadable),
    )
    numbers: list[int] = []
    detections: list[Detections] = []
    for number, path in enumerate(files, 1):
        try:
            data = _read(path, policy.data.max_bytes)
            _, image = served(Decodings(data, limits), policy, network_of(predictor))
        except BadImage as error:
            result.refused.append((str(path), str(error)))
        except OSError as error:
            result.refused.append((str(path), f"unreadable: {error.strerror or error}"))
        except MemoryError:
            result.refused.append((str(path), "too_costly: there is not enough memory to decode it"))
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
