"""The interface of all detectors, and the recipe that says how one is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from carsdepo_assets.detectors.clock import ClockDecisions
from carsdepo_assets.detectors.signals import UNHEARD, Listener
from carsdepo_assets.families.registry import known_family
from carsdepo_assets.policy_augmentation import AugmentationSettings
from carsdepo_assets.scoring.boxes import Detections

if TYPE_CHECKING:
    from carsdepo_assets.imaging.resize import Letterboxed, NetworkInput


class Recipe(BaseModel):
    """How to train: everything but the data. Recorded with every model."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    detector: Annotated[str, AfterValidator(known_family)] = "yolov8n"
    init: str = Field("scratch", description="scratch | imagenet | pretrained | champion | yolov8n | a weights file")
    champion: str | None = Field(None, description="digest of the model that `init: champion` starts from")
    image_size: int = Field(160, ge=64, description="pixels: side of the square the network sees")
    epochs: int = Field(10, ge=1)
    steps: int | None = Field(
        None,
        ge=1,
        description="optimizer steps after which training ends, whatever `epochs` says; None: the epochs decide",
    )
    minutes: float | None = Field(None, gt=0, description="wall time after which training stops, whatever is left")
    batch: int = Field(8, ge=1)
    lr: float = Field(0.001, gt=0)
    weight_decay: float = Field(0.0005, ge=0)
    freeze: int = Field(0, ge=0, description="leading layers kept as they are")
    device: str = Field("cpu", description="cpu, cuda:0 ...")
    seed: int = 0
    extra: dict[str, Any] = Field(default_factory=dict, description="arguments of the one detector, by its own names")
    augmentation: AugmentationSettings | None = Field(
        None,
        description="how photographs are varied; None: as the family did it by itself, and as in recipes before this",
    )

    @model_serializer(mode="wrap")
    def _without_what_is_not_declared(self, usual: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Recipes of before keep their text, and so their digest."""
        fields: dict[str, Any] = usual(self)
        if self.augmentation is None:
            fields.pop("augmentation", None)
        return fields

    def digest(self) -> str:
        """First 12 hex digits of the sha256 of the recipe as sorted JSON."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class TrainingImage:
    """One labelled image."""

    image_id: str
    """The photograph's id."""
    path: Path
    """An upright image file."""
    width: int
    """Of that file, in pixels."""
    height: int
    """Of that file, in pixels."""
    split: str
    """`train` or `val`."""
    xyxy: NDArray[np.float64]
    """Boxes in the file's pixels, (N, 4)."""
    classes: NDArray[np.int64]
    """Class ids of the boxes, (N,)."""


@dataclass(frozen=True)
class TrainingSet:
    """What a detector is trained on."""

    class_names: tuple[str, ...]
    """Names of the classes in the order of their ids."""
    images: Sequence[TrainingImage]
    """All images, of all splits."""

    def split(self, name: str) -> list[TrainingImage]:
        """The images of one split."""
        return [i for i in self.images if i.split == name]


@dataclass(frozen=True)
class Trained:
    """The result of a training."""

    weights: Path
    """The file of weights to keep."""
    history: list[dict[str, float]]
    """The reported numbers, one row for each epoch; the last epoch may have been cut short by time."""
    steps: int
    """Optimizer steps that were taken."""
    planned_steps: int
    """Optimizer steps that were planned."""
    environment: dict[str, str] = field(default_factory=dict)
    """Versions of the libraries that trained."""
    clock: ClockDecisions | None = None
    """What the clock decided; None: the detector does not tell."""

    @property
    def stopped_by_time(self) -> bool:
        """Whether the budget of minutes ended the training before its plan was complete."""
        return self.steps < self.planned_steps

    @property
    def ended(self) -> str:
        """How the training ended, in words."""
        if self.stopped_by_time:
            return f"stopped by time after {self.steps:,} of {self.planned_steps:,} steps"
        return f"all {self.steps:,} planned steps"


@dataclass(frozen=True)
class Progress:
    """How far a running training is."""

    epoch: int
    """The epoch under way, counted from 1."""
    steps: int
    """Optimizer steps that were taken."""
    planned_steps: int
    """Optimizer steps that are planned."""
    seconds: float
    """Wall time so far, over all attempts."""
    seconds_left: float | None
    """Estimated wall time that is left; None where it cannot be estimated yet."""
    loss: float | None
    """The epoch's mean loss so far; None before its first step."""
    validating: bool = False
    """Whether the model is being evaluated on the split `val`."""


@dataclass(frozen=True)
class Exportable:
    """A network that can be traced for ONNX: it takes a letterboxed image, (1, height, width, 3) uint8 RGB."""

    network: Any
    """A torch module in evaluation mode."""
    outputs: tuple[str, ...]
    """`head` alone, as YOLOv8 has it before suppression: (1, 4 + classes, anchors). Or `boxes`, corners in pixels of
    the network's image, (n, 4), `scores` (n,) and `labels` (n,) counted from 1; best first, n at most 100."""
    any_shape: bool
    """Whether one graph takes images of every shape; False: of the shape that is traced alone."""


class Interrupted(SystemExit):
    """A `Watch` raises it to end a training that is to go on later: the detector writes its checkpoint first."""


Report = Callable[[dict[str, float]], None]
Watch = Callable[[Progress], None]


def unwatched(progress: Progress) -> None:
    """Does nothing: for trainings whose progress nobody follows."""


class Predictor(Protocol):
    """A loaded model."""

    def predict(self, images: Sequence[NDArray[np.uint8]], min_score: float = 0.001) -> list[Detections]:
        """Detects damage on images.

        Args:
            images: RGB images of any sizes, each HxWx3.
            min_score: Boxes with lower scores are left out, of 1.

        Returns:
            For each image at most 100 boxes, best first, in its pixels and clipped to it.
        """
        ...


class LetterboxPredictor(Predictor, Protocol):
    """A loaded model that can be given images which were letterboxed elsewhere."""

    network: NetworkInput
    """The images that its network takes."""

    def predict_letterboxed(self, image: Letterboxed, min_score: float = 0.001) -> Detections:
        """Detects damage on one image; as `predict` does, which letterboxes it."""
        ...


class ExportablePredictor(LetterboxPredictor, Protocol):
    """A loaded model that can be exported."""

    def exportable(self) -> Exportable:
        """The network to trace; the predictor is not used any more afterwards."""
        ...


@runtime_checkable
class ChecksExtra(Protocol):
    """A detector that can say before a training whether it takes a recipe's `extra`."""

    def check_extra(self, recipe: Recipe) -> None:
        """Raises DetectorError for a key that the detector does not know, or a value that it does not take."""
        ...


class Detector(Protocol):
    """A kind of model that can be trained and loaded."""

    name: str
    """Its name in recipes."""

    def train(
        self,
        data: TrainingSet,
        recipe: Recipe,
        out: Path,
        report: Report,
        *,
        watch: Watch = unwatched,
        spent_s: float = 0.0,
        signals: Listener = UNHEARD,
    ) -> Trained:
        """Trains a model, or goes on with a training that was interrupted.

        The recipe's minutes are looked at after every optimizer step. When they are over in the middle of an epoch,
        that epoch ends there, and its weights are validated, reported and kept.

        Args:
            data: The images to train and to validate on.
            recipe: How to train.
            out: Folder for weights and checkpoint; a checkpoint of the same training there is resumed.
            report: Called after every epoch with its numbers: at least epoch, steps, planned_steps, seconds, loss and,
                where the split `val` has boxes, val_map50.
            watch: Called about once a second with the progress; it may raise Interrupted.
            spent_s: Seconds of the recipe's minutes that are used up already.
            signals: Told of every step and validation; it may raise an exception to end the training.

        Raises:
            DetectorError: The recipe or the data cannot be used, or the training diverged.
        """
        ...

    def load(
        self, weights: Path, class_names: Sequence[str], image_size: int, device: str = "cpu"
    ) -> LetterboxPredictor:
        """Loads weights for prediction.

        Args:
            weights: The file that a training left.
            class_names: The classes that the weights must have been trained on.
            image_size: Longest side of the images that the network sees, in pixels.
            device: `cpu`, `cuda:0` and so on.

        Raises:
            DetectorError: The file is no such weights.
        """
        ...
