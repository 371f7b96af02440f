"""YOLOv8 by ultralytics (AGPL-3.0), trained and served without its file formats: weights are plain tensors."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.detectors.base import Exportable, Recipe, Report, Trained, TrainingSet, Watch, unwatched
from carsdepo_assets.detectors.checkpoints import (
    DetectorError,
    fingerprint,
    read_checkpoint,
    read_weights,
    set_aside,
    threads,
    write_weights,
)
from carsdepo_assets.detectors.clock import ClockDecisions
from carsdepo_assets.detectors.pace import Pace
from carsdepo_assets.detectors.postprocess import MAX_BOXES, to_image_frame
from carsdepo_assets.detectors.preflight import check_training
from carsdepo_assets.detectors.recipe_options import check_declared
from carsdepo_assets.detectors.signals import UNHEARD, Listener
from carsdepo_assets.detectors.weight_transfer import taken_over
from carsdepo_assets.detectors.yolov8.dataset_folder import write_yolo_folder
from carsdepo_assets.detectors.yolov8.initial_weights import HEADS, initial_weights
from carsdepo_assets.detectors.yolov8.ultralytics_settings import ultralytics
from carsdepo_assets.scoring.boxes import Detections

if TYPE_CHECKING:
    import torch

    from carsdepo_assets.imaging.resize import Letterboxed, NetworkInput

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
# What a training goes on from, as `YoloTraining._checkpoint` writes it.
CHECKPOINT_KEYS = {
    "epoch", "batches", "losses", "steps", "planned_steps", "planned", "seconds", "history", "finished", "model", "ema",
    "updates", "optimizer", "torch_random", "random", "numpy_random",
}  # fmt: skip
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


# ultralytics' own augmentation, which a recipe that declares its own leaves unused.
FORMERLY = {
    "hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear", "perspective", "flipud", "fliplr", "bgr",
    "mosaic", "close_mosaic", "mixup", "cutmix", "copy_paste", "copy_paste_mode", "auto_augment", "erasing",
    "augmentations", "multi_scale",
}  # fmt: skip


class YoloV8:
    """YOLOv8 of one size; recipe.extra holds ultralytics' own arguments, and `threads` (CPU threads)."""

    heads = HEADS

    def __init__(self, name: str = "yolov8n") -> None:
        self.name = name

    def check_extra(self, recipe: Recipe) -> None:
        """See ChecksExtra.check_extra."""
        ultralytics()
        _check_extra(recipe)

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
        """See Detector.train. Reports an epoch before its checkpoint is written: an epoch killed in between is trained
        and reported again under the same number. The weights kept are the averaged (EMA) ones of the last epoch:
        choosing the best epoch on a small val set chooses noise."""
        pace = Pace(recipe.minutes, recipe.epochs, spent_s, recipe.steps)
        check_training(data, recipe)
        module = ultralytics()
        _check_extra(recipe)
        from carsdepo_assets.detectors.yolov8.training import UnfitCheckpoint, YoloTraining

        has_val = any(len(image.classes) for image in data.split("val"))
        out.mkdir(parents=True, exist_ok=True)
        mark = fingerprint(data, recipe)
        checkpoint = read_checkpoint(out / "checkpoint.pt", mark)
        if checkpoint and not checkpoint.keys() >= CHECKPOINT_KEYS:
            set_aside(out / "checkpoint.pt", "it is not whole.")
            checkpoint = None
        initial = None if checkpoint else initial_weights(self.name, recipe, data.class_names)
        extra = {k: v for k, v in recipe.extra.items() if k != "threads"}
        arguments = {
            **ARGUMENTS,
            "nbs": recipe.batch,
            **extra,
            "model": f"{self.name}.yaml",
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
            "val": has_val,
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
            has_val=has_val,
            threads=threads(recipe.extra.get("threads")),
            signals=signals,
            vary=_varied(data, recipe),
        )
        try:
            if not training.finished_before():
                training.train()
        except UnfitCheckpoint as error:  # it would fail every attempt
            set_aside(out / "checkpoint.pt", f"{error}.")
            return self.train(data, recipe, out, report, watch=watch, spent_s=spent_s, signals=signals)
        weights = out / "weights.pt"
        write_weights(weights, self.name, training.final_state(), data.class_names, training.image_size())
        import torch

        environment = {
            "ultralytics": str(module.__version__),
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        }
        return Trained(weights, training.history, *training.steps(), environment=environment, clock=pace.clock)

    def initial_model(self, recipe: Recipe, class_names: Sequence[str]) -> Any:
        """The model before its first step.

        Args:
            recipe: Its `init` says what the model starts from.
            class_names: The classes of the training.

        Raises:
            DetectorError: YOLOv8 has no such init, or the file is no weights of this size and of these classes.
        """
        model, given = build_model(len(class_names), self.name), initial_weights(self.name, recipe, class_names)
        if given is not None:
            model.load_state_dict(taken_over(model.state_dict(), given.state, HEADS, given.n_known, given.where))
        return model

    def load(self, weights: Path, class_names: Sequence[str], image_size: int, device: str = "cpu") -> YoloPredictor:
        """See Detector.load. image_size is rounded up to the network's stride."""
        from carsdepo_assets.imaging.resize import NetworkInput

        content = read_weights(weights, self.name, class_names)
        model = build_model(len(class_names), self.name)
        model.load_state_dict(content["state"])
        network = NetworkInput(math.ceil(image_size / STRIDE) * STRIDE, STRIDE)
        return YoloPredictor(model.fuse(verbose=False).eval().to(device), network, device)


def build_model(n_classes: int, name: str = "yolov8n") -> Any:
    """Builds YOLOv8 of a size, such as yolov8n, with random weights and a head of n_classes."""
    ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    return DetectionModel(f"{name}.yaml", ch=3, nc=n_classes, verbose=False)


def _varied(data: TrainingSet, recipe: Recipe) -> Callable[[Any], Any] | None:
    """What makes ultralytics' dataset one that is varied as the recipe declares; None where it declares nothing."""
    how = recipe.augmentation
    if how is None:
        return None
    from carsdepo_assets.detectors.yolov8.varied_dataset import VariedDataset

    return lambda dataset: VariedDataset(dataset, data, how, recipe.seed)


def _check_extra(recipe: Recipe) -> None:
    """Raises DetectorError for a key that ultralytics does not know, or a value that it does not take."""
    from ultralytics.cfg import DEFAULT_CFG_DICT, check_cfg

    check_declared(recipe, FORMERLY)
    clash = sorted(RESERVED & recipe.extra.keys())
    if clash:
        raise DetectorError(f"recipe.extra may not set {', '.join(clash)}: the recipe or the detector does.")
    arguments = {k: v for k, v in recipe.extra.items() if k != "threads"}
    unknown = sorted(arguments.keys() - DEFAULT_CFG_DICT.keys())
    if unknown:
        near = get_close_matches(unknown[0], [*DEFAULT_CFG_DICT, "threads"], 3)
        advice = f" Did you mean {' or '.join(near)}?" if near else ""
        raise DetectorError(f"recipe.extra of {recipe.detector}: {unknown[0]} is no argument of ultralytics'.{advice}")
    try:
        check_cfg(arguments)
    except (TypeError, ValueError) as error:
        raise DetectorError(f"recipe.extra of {recipe.detector}: {error}") from error


def _device(device: str) -> str:
    """ultralytics numbers its GPUs: cuda -> 0, cuda:1 -> 1."""
    return device if device == "cpu" else device.removeprefix("cuda").removeprefix(":") or "0"


class YoloPredictor:
    """Predicts image by image: each is letterboxed to its own shape, and boxes do not depend on a batch."""

    def __init__(self, model: Any, network: NetworkInput, device: str) -> None:
        self.model, self.network, self.device = model, network, device

    def exportable(self) -> Exportable:
        """See ExportablePredictor.exportable."""
        import torch

        model = self.model
        model.model[-1].dynamic = True  # its anchors are computed for each image, and not once while it is traced

        class Head(torch.nn.Module):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return self.model(image.permute(0, 3, 1, 2).float() / 255)[0]

        return Exportable(Head().eval(), ("head",), any_shape=True)

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
