"""YOLOv8n by ultralytics (AGPL-3.0), trained and served without its file formats: weights are plain tensors."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.detectors.base import Recipe, Report, Trained, TrainingSet, Watch, unwatched
from carsdepo_assets.detectors.checkpoints import (
    DetectorError,
    fingerprint,
    is_foreign,
    read_checkpoint,
    read_weights,
    threads,
    write_weights,
)
from carsdepo_assets.detectors.clock import ClockDecisions
from carsdepo_assets.detectors.pace import Pace
from carsdepo_assets.detectors.postprocess import MAX_BOXES, to_image_frame
from carsdepo_assets.detectors.yolov8.dataset_folder import write_yolo_folder
from carsdepo_assets.detectors.yolov8.ultralytics_settings import config_folder, online, ultralytics
from carsdepo_assets.scoring.boxes import Detections

if TYPE_CHECKING:
    import torch

    from carsdepo_assets.imaging.resize import Letterboxed, NetworkInput

ARCHITECTURE = "yolov8n.yaml"
NMS_IOU = 0.7
STRIDE = 32  # of the network's coarsest map: both sides of its input are multiples

# Arguments of ultralytics that a short training needs. Its defaults (nbs=64, mosaic, three warm-up epochs) reach
# mAP@.5 0.001 in the 90 s in which these reach 0.65: what decides is the number of optimizer steps.
ARGUMENTS: dict[str, Any] = {
    "optimizer": "AdamW",
    "lrf": 0.05,
    "warmup_epochs": 1,
    "mosaic": 0.0,
    "close_mosaic": 0,
    "erasing": 0.0,
    "workers": 0,
    "cache": "ram",
    "amp": False,
    "plots": False,
    "deterministic": False,
}
# A recipe may not set these through `extra`: they would break isolation, resuming or the report.
RESERVED = {
    "model",
    "data",
    "save_dir",
    "project",
    "name",
    "resume",
    "epochs",
    "time",
    "imgsz",
    "batch",
    "device",
    "seed",
    "lr0",
    "weight_decay",
    "freeze",
    "pretrained",
    "save",
    "val",
    "patience",
    "plots",
}


class YoloV8:
    """The detector YOLOv8n; recipe.extra holds ultralytics' own arguments, and `threads` (CPU threads)."""

    name = "yolov8n"

    def train(
        self,
        data: TrainingSet,
        recipe: Recipe,
        out: Path,
        report: Report,
        *,
        watch: Watch = unwatched,
        spent_s: float = 0.0,
    ) -> Trained:
        """See Detector.train. Reports an epoch before its checkpoint is written: an epoch killed in between is trained
        and reported again under the same number. The weights kept are the averaged (EMA) ones of the last epoch:
        choosing the best epoch on a small val set chooses noise."""
        pace = Pace(recipe.minutes, recipe.epochs, spent_s, recipe.steps)
        if not data.split("train"):
            raise DetectorError("the training set has no image in split 'train'.")
        clash = sorted(RESERVED & recipe.extra.keys())
        if clash:
            raise DetectorError(f"recipe.extra may not set {', '.join(clash)}: the recipe or the detector does.")
        module = ultralytics()
        from carsdepo_assets.detectors.yolov8.training import YoloTraining

        out.mkdir(parents=True, exist_ok=True)
        mark = fingerprint(data, recipe)
        checkpoint = read_checkpoint(out / "checkpoint.pt", mark)
        initial = None if checkpoint else self._initial_state(recipe, data.class_names)
        extra = {k: v for k, v in recipe.extra.items() if k != "threads"}
        arguments = {
            **ARGUMENTS,
            "nbs": recipe.batch,
            **extra,
            "model": ARCHITECTURE,
            "pretrained": False,
            "data": str(write_yolo_folder(data, out / "yolo")),
            "save_dir": str(out / "ultralytics"),
            "epochs": recipe.epochs,
            "imgsz": recipe.image_size,
            "batch": recipe.batch,
            "lr0": recipe.lr,
            "weight_decay": recipe.weight_decay,
            "freeze": recipe.freeze or None,
            "device": _device(recipe.device),
            "seed": recipe.seed,
            "patience": 0,
            "val": bool(data.split("val")),
            "verbose": False,
        }
        if checkpoint:
            pace.spent_before += checkpoint["seconds"]
            pace.clock = ClockDecisions.of_state(checkpoint.get("clock"))
        training = YoloTraining(
            arguments,
            out=out,
            mark=mark,
            initial=initial,
            checkpoint=checkpoint,
            pace=pace,
            report=report,
            watch=watch,
            has_val=bool(data.split("val")),
            threads=threads(recipe.extra.get("threads")),
        )
        if not training.finished_before():
            training.train()
        weights = out / "weights.pt"
        write_weights(weights, self.name, training.final_state(), data.class_names, training.image_size())
        import torch

        environment = {
            "ultralytics": str(module.__version__),
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        }
        return Trained(weights, training.history, *training.steps(), environment=environment, clock=pace.clock)

    def _initial_state(self, recipe: Recipe, class_names: Sequence[str]) -> dict[str, torch.Tensor] | None:
        """None: random weights from the recipe's seed. Raises DetectorError for an init that YOLOv8n does not have."""
        if recipe.init == "scratch":
            return None
        if recipe.init == "yolov8n":
            return _downloaded_state()
        if recipe.init == "imagenet":
            raise DetectorError(
                "init imagenet is faster_rcnn's backbone; yolov8n has scratch, yolov8n, champion or a file."
            )
        if recipe.init == "champion":
            raise DetectorError("init champion must be given as the champion's weights file when the training starts.")
        return _file_state(Path(recipe.init))

    def load(self, weights: Path, class_names: Sequence[str], image_size: int, device: str = "cpu") -> YoloPredictor:
        """See Detector.load. image_size is rounded up to the network's stride."""
        from carsdepo_assets.imaging.resize import NetworkInput

        content = read_weights(weights, self.name, class_names)
        model = build_model(len(class_names))
        model.load_state_dict(content["state"])
        network = NetworkInput(math.ceil(image_size / STRIDE) * STRIDE, STRIDE)
        return YoloPredictor(model.fuse(verbose=False).eval().to(device), network, device)


def build_model(n_classes: int) -> Any:
    """Builds YOLOv8n with random weights and a head of n_classes."""
    ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    return DetectionModel(ARCHITECTURE, ch=3, nc=n_classes, verbose=False)


def _device(device: str) -> str:
    """ultralytics numbers its GPUs: cuda -> 0, cuda:1 -> 1."""
    return device if device == "cpu" else device.removeprefix("cuda").removeprefix(":") or "0"


def _file_state(path: Path) -> dict[str, torch.Tensor]:
    """A Carsdepo weights file, or ultralytics' own yolov8n.pt where the user named one: that is a pickle, which runs
    code when opened, so it is opened for a training only and never by load()."""
    if path.is_file() and path.suffix == ".pt" and is_foreign(path):
        from ultralytics.nn.tasks import load_checkpoint

        model, _ = load_checkpoint(path)
        state: dict[str, torch.Tensor] = model.float().state_dict()
        return state
    return dict(read_weights(path, YoloV8.name)["state"])


def _downloaded_state() -> dict[str, torch.Tensor]:
    """COCO-trained weights, from the local copy or by download: the one network access, and only when asked for."""
    ultralytics()
    from ultralytics.utils.downloads import attempt_download_asset

    folder = config_folder() / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with online():
            path = Path(attempt_download_asset(folder / "yolov8n.pt", retry=1, progress=False))
    except (OSError, RuntimeError, ValueError) as error:
        path = Path()
        reason = f": {error}"
    else:
        reason = ""
    if not path.is_file():
        raise DetectorError(
            f"init yolov8n needs yolov8n.pt, and its download from github.com/ultralytics/assets failed{reason}. "
            f"Go online, put the file at {folder / 'yolov8n.pt'}, or use init scratch."
        )
    return _file_state(path)


class YoloPredictor:
    """Predicts image by image: each is letterboxed to its own shape, and boxes do not depend on a batch."""

    def __init__(self, model: Any, network: NetworkInput, device: str) -> None:
        self.model, self.network, self.device = model, network, device

    def predict(self, images: Sequence[NDArray[np.uint8]], min_score: float = 0.001) -> list[Detections]:
        """See Predictor.predict. One image at a time: on a CPU batches gain nothing and round differently."""
        from carsdepo_assets.imaging.resize import letterboxed

        return [self.predict_letterboxed(letterboxed(image, self.network), min_score) for image in images]

    def predict_letterboxed(self, image: Letterboxed, min_score: float = 0.001) -> Detections:
        """See LetterboxPredictor.predict_letterboxed."""
        import torch
        from ultralytics.utils.nms import non_max_suppression

        pixels = np.ascontiguousarray(image.pixels.transpose(2, 0, 1))
        tensor = torch.from_numpy(pixels)[None].to(self.device).float() / 255
        with torch.inference_mode():
            # multi_label as in ultralytics' own validation; the time limit is off: a slow machine must not lose boxes.
            rows = (
                non_max_suppression(
                    self.model(tensor), min_score, NMS_IOU, multi_label=True, max_det=MAX_BOXES, max_time_img=math.inf
                )[0]
                .cpu()
                .double()
                .numpy()
            )
        return to_image_frame(rows[:, :4], rows[:, 4], rows[:, 5], image)
