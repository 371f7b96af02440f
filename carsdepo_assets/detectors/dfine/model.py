"""D-FINE's network. Imports torch and transformers: import it late.

Peng et al., D-FINE: Redefine Regression Task in DETRs as Fine-grained Distribution Refinement. The sizes are those of
its authors' published weights.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import DFineConfig, DFineForObjectDetection
from transformers.utils import logging as transformers_logging

from carsdepo_assets.detectors.checkpoints import DetectorError

QUERIES = 300
COCO_CLASSES = 80  # of the published weights
PRIOR = 0.01  # of a box of any class, at which untrained heads start

logger = logging.getLogger(__name__)

_B0 = {
    "hidden_sizes": [128, 256, 512, 1024],
    "stem_channels": [3, 16, 16],
    "stage_in_channels": [16, 64, 256, 512],
    "stage_mid_channels": [16, 32, 64, 128],
    "stage_out_channels": [64, 256, 512, 1024],
    "stage_num_blocks": [1, 1, 2, 1],
    "stage_numb_of_layers": [3, 3, 3, 3],
}
_B2 = {
    "hidden_sizes": [192, 384, 768, 1536],
    "stem_channels": [3, 24, 32],
    "stage_in_channels": [32, 96, 384, 768],
    "stage_mid_channels": [32, 64, 128, 256],
    "stage_out_channels": [96, 384, 768, 1536],
    "stage_num_blocks": [1, 1, 3, 1],
    "stage_numb_of_layers": [4, 4, 4, 4],
}
_BACKBONES = {"n": _B0, "s": _B0, "m": _B2}  # HGNetv2
_THREE_MAPS = {"feat_strides": [8, 16, 32], "decoder_n_points": [3, 6, 3]}
_SIZES: dict[str, dict[str, Any]] = {
    "n": {
        "feat_strides": [16, 32],
        "decoder_n_points": [6, 6],
        "decoder_layers": 3,
        "depth_mult": 0.5,
        "hidden_expansion": 0.34,
        "encoder_hidden_dim": 128,
        "encoder_ffn_dim": 512,
        "encode_proj_layers": [1],
        "d_model": 128,
        "decoder_ffn_dim": 512,
        "decoder_in_channels": [128, 128],
    },
    "s": {**_THREE_MAPS, "decoder_layers": 3, "depth_mult": 0.34, "hidden_expansion": 0.5},
    "m": {**_THREE_MAPS, "decoder_layers": 4, "depth_mult": 0.67, "hidden_expansion": 1.0},
}


def configuration(size: str, n_classes: int, image_size: int) -> DFineConfig:
    """The architecture of a size.

    Args:
        size: n, s or m.
        n_classes: Number of damage classes.
        image_size: Side of the square that the network sees, in pixels: a small one has fewer places than queries.
    """
    values, stages = _SIZES[size], _BACKBONES[size]
    strides = values["feat_strides"]
    backbone = {
        "model_type": "hgnet_v2",
        "stage_downsample": [False, True, True, True],
        "stage_light_block": [False, False, True, True],
        "stage_kernel_size": [3, 3, 5, 5],
        "use_learnable_affine_block": True,
        "out_indices": list(range(5 - len(strides), 5)),  # 0 is the stem, 4 the last stage
        **stages,
    }
    places = sum((image_size // stride) ** 2 for stride in strides)
    return DFineConfig(
        num_labels=n_classes,
        backbone_config=backbone,
        encoder_in_channels=stages["stage_out_channels"][-len(strides) :],
        num_feature_levels=len(strides),
        num_queries=min(QUERIES, places),
        initializer_bias_prior_prob=PRIOR,
        freeze_backbone_batch_norms=False,  # the loop keeps them where they were trained before
        **values,
    )


def build_model(size: str, n_classes: int, image_size: int) -> Any:
    """D-FINE of a size (n, s or m) with random weights, for squares of `image_size` pixels of RGB values 0..1."""
    return DFineForObjectDetection(configuration(size, n_classes, image_size))


def published_state(size: str, file: Path) -> dict[str, Any]:
    """The tensors of the authors' file of weights (safetensors), by their names in the model.

    transformers reads it, since it knows the names of older releases; it looks nowhere but in a local folder.

    Raises:
        DetectorError: The file is no safetensors file, or not of this size.
    """
    with tempfile.TemporaryDirectory() as folder:
        configuration(size, COCO_CLASSES, 640).save_pretrained(folder)
        Path(folder, "model.safetensors").symlink_to(file.resolve())
        before = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity_error()
        try:
            model, told = DFineForObjectDetection.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise DetectorError(f"{file}: not the published weights of D-FINE {size.upper()}: {reason}") from error
        finally:
            transformers_logging.set_verbosity(before)
    absent = [name for name in told["missing_keys"] if not name.endswith("num_batches_tracked")]
    if absent:
        raise DetectorError(
            f"{file}: not the published weights of D-FINE {size.upper()}: {len(absent)} tensors are absent, first "
            f"{sorted(absent)[0]}."
        )
    return dict(model.state_dict())
