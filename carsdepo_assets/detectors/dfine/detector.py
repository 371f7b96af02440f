"""D-FINE by transformers (Apache-2.0, as its published weights): trained by the common loop, without pickled files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.detectors.checkpoints import DetectorError
from carsdepo_assets.detectors.dfine.options import DFineOptions
from carsdepo_assets.detectors.dfine.predictor import DFinePredictor
from carsdepo_assets.detectors.looped_detector import LoopedDetector
from carsdepo_assets.detectors.weight_transfer import ClassRows
from carsdepo_assets.families.registry import family_of

if TYPE_CHECKING:
    from carsdepo_assets.detectors.training_loop import TrainingLoop


class DFine(LoopedDetector):
    """The detector D-FINE of one size; recipe.extra holds the fields of `DFineOptions`."""

    options = DFineOptions
    heads = (
        ClassRows(r"(model\.decoder\.)?class_embed\.\d+\.(weight|bias)"),
        ClassRows(r"model\.enc_score_head\.(weight|bias)"),
        ClassRows(r"model\.denoising_class_embed\.weight", after=1),  # the last row stands for no class
    )

    @property
    def size(self) -> str:
        """n, s or m."""
        return self.name.removeprefix("dfine_")

    def initial_model(self, recipe: Recipe, class_names: Sequence[str]) -> Any:
        """See LoopedDetector.initial_model."""
        multiple = family_of(self.name).side_multiple
        if recipe.image_size % multiple:
            raise DetectorError(f"image_size {recipe.image_size}: {self.name} takes multiples of {multiple}.")
        return super().initial_model(recipe, class_names)

    def build(self, n_classes: int, image_size: int, *, imagenet: bool) -> Any:
        """See LoopedDetector.build."""
        from carsdepo_assets.detectors.dfine.model import build_model

        return build_model(self.size, n_classes, image_size)

    def published_state(self, file: Path) -> dict[str, Any]:
        """See LoopedDetector.published_state."""
        from carsdepo_assets.detectors.dfine.model import published_state

        return published_state(self.size, file)

    def loop(self) -> type[TrainingLoop]:
        """See LoopedDetector.loop."""
        from carsdepo_assets.detectors.dfine.training import DFineLoop

        return DFineLoop

    def load(self, weights: Path, class_names: Sequence[str], image_size: int, device: str = "cpu") -> DFinePredictor:
        """See Detector.load."""
        return DFinePredictor(self.loaded(weights, class_names, image_size, device), image_size, device)
