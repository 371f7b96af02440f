"""Photographs of a dataset as a training sees them: the square without augmentation, and what its epochs make of it.

The training's own function makes them, from the same seed: what is shown is what a training would be given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from carsdepo_assets.families.registry import UnknownFamily, family_of, names
from carsdepo_assets.lake.datasets import latest, read_manifest
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.pointers import RecipePointer
from carsdepo_assets.policy import Policy
from carsdepo_assets.policy_augmentation import AugmentationSettings
from carsdepo_assets.registry.lineage import read_lineage
from carsdepo_assets.registry.preprocessing import NOT_DECLARED, describe_preprocessing
from carsdepo_assets.reporting.page import data_uri

if TYPE_CHECKING:
    from carsdepo_assets.detectors.base import Recipe
    from carsdepo_assets.imaging.augmentation import AugmentedSquare, LabelledPixels

MOST_PHOTOGRAPHS, MOST_EPOCHS = 12, 8
_QUALITY = 88
_COLUMNS = ("image_id", "split", "object_key", "processed_width", "processed_height", "scale", "boxes")


class NothingToShow(LookupError):
    """There is no dataset, no such family, or no augmentation that is declared; the message says what to do."""


@dataclass(frozen=True)
class ShownSquare:
    """A photograph as a network is given it."""

    picture: str
    """A data: URI."""
    boxes: tuple[tuple[int, float, float, float, float], ...]
    """Class id and corners in the square's pixels."""
    dropped: int
    """Labels that are seen too little to stay."""


@dataclass(frozen=True)
class ShownPhotograph:
    """A photograph and what the first epochs of a training make of it."""

    image_id: str
    original: ShownSquare
    epochs: tuple[ShownSquare, ...]


@dataclass(frozen=True)
class AugmentedExamples:
    """What the page of an augmentation shows."""

    dataset: str
    family: str
    title: str
    """The family, for people."""
    where_from: str
    """Where the settings come from, as a sentence."""
    settings: AugmentationSettings
    side: int
    """Of the squares, in pixels."""
    seed: int
    resize: str
    normalisation: str
    photographs: tuple[ShownPhotograph, ...]
    class_names: tuple[str, ...]

    @property
    def boxes(self) -> int:
        """Labels of the pictures of epochs that are shown, the dropped ones among them."""
        return sum(len(s.boxes) + s.dropped for p in self.photographs for s in p.epochs)

    @property
    def dropped(self) -> int:
        """Of these, those that were dropped."""
        return sum(s.dropped for p in self.photographs for s in p.epochs)


def augmented_examples(
    lake: Lake,
    policy: Policy,
    *,
    dataset: str | None = None,
    model: str | None = None,
    family: str | None = None,
    photographs: int = 6,
    epochs: int = 4,
) -> AugmentedExamples:
    """Makes the pictures of some labelled photographs of a dataset's split `train`, evenly spaced.

    Args:
        lake: The lake.
        policy: Gives the settings where neither a model nor the newest recipe is shown.
        dataset: The dataset's version; None: the model's, else the newest.
        model: Digest of a model whose recipe is shown; None: the newest recipe, or the policy's for `family`.
        family: The family whose settings are shown; None: that of the newest recipe, else yolov8n.
        photographs: How many are shown, at most MOST_PHOTOGRAPHS.
        epochs: How many pictures of each, at most MOST_EPOCHS.

    Raises:
        NothingToShow: The message says what is lacking.
        LakeError: There is no such model or dataset.
    """
    lineage = None if model is None else read_lineage(lake, model)
    recipe, where_from = _recipe(lake, policy, lineage.recipe if lineage else None, model, family)
    if recipe.augmentation is None:
        raise NothingToShow(f"{where_from} Its photographs are varied {NOT_DECLARED}: there is nothing to show.")
    version = dataset or (lineage.data.version if lineage else None) or latest(lake)
    if version is None:
        raise NothingToShow("There is no dataset yet: import labelled photographs, and a dataset is made of them.")
    pool = _Pool(lake, version)
    chosen = pool.spread(min(photographs, MOST_PHOTOGRAPHS))
    if not chosen:
        raise NothingToShow(f"Dataset {version} has no labelled photograph in split train: import labels.")
    recorded = lineage.preprocessing if lineage else None
    preprocessing = recorded or describe_preprocessing(recipe.detector, recipe.image_size, recipe.augmentation, policy)
    shown = tuple(_shown(pool, row, recipe, min(epochs, MOST_EPOCHS)) for row in chosen)
    return AugmentedExamples(
        dataset=version,
        family=recipe.detector,
        title=family_of(recipe.detector).title,
        where_from=where_from,
        settings=recipe.augmentation,
        side=recipe.image_size,
        seed=recipe.seed,
        resize=preprocessing.resize_text,
        normalisation=preprocessing.normalisation_text,
        photographs=shown,
        class_names=policy.class_map.names,
    )


def _recipe(
    lake: Lake, policy: Policy, stored: dict[str, Any] | None, model: str | None, family: str | None
) -> tuple[Recipe, str]:
    """The recipe whose pictures are shown, and where it comes from, as a sentence."""
    from carsdepo_assets.detectors.base import Recipe
    from carsdepo_assets.detectors.catalogue import default_recipe
    from carsdepo_assets.detectors.recipe_changes import read_recipe

    if stored is not None:
        recipe = Recipe.model_validate(stored)
        return recipe, f"The recipe {recipe.digest()} of model {model}."
    pointer = RecipePointer.read(lake)
    newest = None if pointer is None else read_recipe(lake, pointer.digest)
    if newest is not None and newest.augmentation is not None and family in (None, newest.detector):
        return newest, f"The newest recipe, {newest.digest()}."
    name = family or (newest.detector if newest else None) or "yolov8n"
    try:
        usual = default_recipe(family_of(name).name, minutes=1, n_train=1, device="cpu", real=True)
    except UnknownFamily as error:
        raise NothingToShow(f"{error}") from error
    if usual.augmentation is not None:
        usual = usual.model_copy(
            update={"augmentation": policy.augmentation.over(usual.augmentation), "seed": policy.training.seed}
        )
    return usual, f"The policy's [augmentation] over the usual values of {name} for photographs."


class _Pool:
    """The training photographs of a dataset, read one by one as they are asked for."""

    def __init__(self, lake: Lake, version: str) -> None:
        table: pa.Table = read_manifest(lake, version, _COLUMNS)
        self.lake, self.rows = lake, table.filter(pc.equal(table["split"], "train")).sort_by("image_id")
        self.read = lru_cache(maxsize=64)(self._read)

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def spread(self, most: int) -> list[int]:
        """Rows of photographs with boxes, evenly spaced."""
        counts = pc.fill_null(pc.list_value_length(self.rows["boxes"]), 0)
        rows = np.flatnonzero(np.asarray(counts) > 0)
        places = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)
        return [int(rows[i]) for i in places]

    def image_id(self, row: int) -> str:
        return str(self.rows["image_id"][row].as_py())

    def _read(self, row: int) -> LabelledPixels:
        from carsdepo_assets.detectors.checkpoints import DetectorError
        from carsdepo_assets.detectors.training_samples import labelled_pixels
        from carsdepo_assets.detectors.training_set import training_image

        try:
            return labelled_pixels(training_image(self.lake, self.rows.slice(row, 1).to_pylist()[0]))
        except DetectorError as error:
            raise NothingToShow(
                f"Photograph {self.image_id(row)} is damaged, and no training takes it: {error}"
            ) from error


def _shown(pool: _Pool, row: int, recipe: Recipe, epochs: int) -> ShownPhotograph:
    from carsdepo_assets.imaging.augmentation import augmented, chance_of

    image, image_id, how = pool.read(row), pool.image_id(row), recipe.augmentation
    assert how is not None
    plain = augmented(image, recipe.image_size, AugmentationSettings(), chance_of(recipe.seed, 0, image_id))
    varied = [
        augmented(
            image,
            recipe.image_size,
            how,
            chance_of(recipe.seed, epoch, image_id),
            lambda share: pool.read(int(share * len(pool))),
        )
        for epoch in range(epochs)
    ]
    return ShownPhotograph(image_id, _square(plain), tuple(map(_square, varied)))


def _square(square: AugmentedSquare) -> ShownSquare:
    from carsdepo_assets.imaging.encode import encode_jpeg

    boxes = tuple(
        (int(c), round(x1, 1), round(y1, 1), round(x2, 1), round(y2, 1))
        for c, (x1, y1, x2, y2) in zip(square.classes, square.xyxy.tolist(), strict=True)
    )
    return ShownSquare(data_uri(encode_jpeg(square.rgb, _QUALITY)), boxes, square.dropped)


def offered_families() -> Sequence[str]:
    """The families whose augmentation can be shown."""
    return [name for name in names() if family_of(name).augmentation is not None]
