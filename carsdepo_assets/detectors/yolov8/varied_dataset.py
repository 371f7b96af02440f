"""YOLOv8's training images varied as the recipe declares, in place of ultralytics' own transforms.

ultralytics reads, shrinks and caches the photographs and makes tensors of them; what lies between is ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics.utils.instance import Instances

from carsdepo_assets.detectors.base import TrainingSet
from carsdepo_assets.imaging.augmentation import LabelledPixels, augmented, chance_of
from carsdepo_assets.policy_augmentation import AugmentationSettings

DROPPED = "boxes_dropped"  # of each image of a batch, beside what ultralytics' batches hold


class VariedDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """The dataset that ultralytics' loader reads. Its indices name the epoch too, so that workers need not know it.

    Args:
        dataset: ultralytics' dataset of the split `train`, from the folder that `write_yolo_folder` wrote.
        data: What that folder was written from.
        how: The recipe's augmentation.
        seed: The recipe's.
    """

    def __init__(self, dataset: Any, data: TrainingSet, how: AugmentationSettings, seed: int) -> None:
        self.read, self.how, self.seed = dataset, how, seed
        self.tensors, self.collate_fn = dataset.transforms.transforms[-1], dataset.collate_fn
        ids = sorted(image.image_id for image in data.split("train"))
        self.image_ids = [ids[int(Path(file).stem)] for file in dataset.im_files]

    def __len__(self) -> int:
        return len(self.read)

    def __getitem__(self, drawn: int) -> dict[str, Any]:
        """An image of an epoch: drawn is epoch * len(self) + index."""
        epoch, index = divmod(drawn, len(self))
        label = self.read.get_image_and_label(index)
        label.pop("ratio_pad")  # of ultralytics' own letterbox
        square = augmented(
            _labelled(label),
            self.read.imgsz,
            self.how,
            chance_of(self.seed, epoch, self.image_ids[index]),
            lambda share: _labelled(self.read.get_image_and_label(int(share * len(self)))),
        )
        label["img"] = np.ascontiguousarray(square.rgb[:, :, ::-1])
        label["resized_shape"] = label["img"].shape[:2]
        label["cls"] = square.classes.reshape(-1, 1).astype(np.float32)
        label["instances"] = Instances(
            square.xyxy.astype(np.float32), np.zeros((0, 1000, 2), np.float32), bbox_format="xyxy", normalized=False
        )
        return {**self.tensors(label), DROPPED: square.dropped}


def _labelled(label: dict[str, Any]) -> LabelledPixels:
    """ultralytics' image (BGR) and boxes (shares, or pixels) as pixels of RGB."""
    rgb = np.ascontiguousarray(label["img"][:, :, ::-1])
    instances = label["instances"]
    instances.convert_bbox("xyxy")
    instances.denormalize(rgb.shape[1], rgb.shape[0])
    boxes = np.asarray(instances.bboxes, np.float64).reshape(-1, 4)
    return LabelledPixels(rgb, boxes, label["cls"].reshape(-1).astype(np.int64))
