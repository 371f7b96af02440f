"""How many boxes Faster R-CNN proposes, learns from and keeps, whatever its backbone. Light to import."""

from __future__ import annotations

from typing import Any

# Arguments of torchvision's FasterRCNN. Of ResNet50 the head has four convolutions for each proposal: 1,000 of them,
# torchvision's number, are 115 GFLOPs.
PROPOSALS: dict[str, Any] = {
    "rpn_pre_nms_top_n_train": 800,
    "rpn_post_nms_top_n_train": 400,
    "rpn_pre_nms_top_n_test": 500,
    "rpn_post_nms_top_n_test": 300,
    "rpn_batch_size_per_image": 128,
    "box_batch_size_per_image": 64,
    "box_score_thresh": 0.001,
    "box_nms_thresh": 0.5,
    "box_detections_per_img": 100,
}
