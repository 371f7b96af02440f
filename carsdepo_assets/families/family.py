"""What is known of a family of detectors before any of its code is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Usual:
    """First values of a recipe on one kind of hardware."""

    rendered_px: int
    """Side of the square that the network sees, in pixels, for the rendered sample."""
    photographs_px: int
    """The same for photographs, whose damage is small."""
    batch: int
    """Images of an optimizer step."""
    lr: float
    """Learning rate."""
    weight_decay: float
    """Weight decay."""
    freeze: int = 0
    """Leading layers that are kept as they are."""


@dataclass(frozen=True)
class Normalisation:
    """What a model makes of the levels of its image, red, green and blue of 0 to 1, before its first layer."""

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """It is subtracted."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """The result is divided by it."""


@dataclass(frozen=True)
class Pretrained:
    """A file of weights that others publish; it is used where a user put it, or had `carsdepo weights get` fetch it."""

    file: str
    """Its name below the home's folder `weights/`."""
    url: str
    """Where it is published."""
    megabytes: float
    """About how large it is."""
    licence: str
    """Of the weights, as their publisher says it."""
    trained_on: str = "COCO"
    """The data that it learnt from."""
    sha256: str = ""
    """The first digits of its sha256 as its publisher gives them; empty where none is given beforehand."""


@dataclass(frozen=True)
class Family:
    """A family of detectors: one size of one architecture, by one library."""

    name: str
    """In recipes, policies and model cards: small letters, digits and underscores."""
    title: str
    """For people."""
    detector: str | Callable[[str], Any]
    """What makes the `Detector` from the family's name: a function or class, or its place as `module:name`, which is
    imported when the family is first trained or loaded."""
    libraries: tuple[str, ...]
    """Distributions that it needs beside torch."""
    licence: str
    """Of the code that trains it and predicts."""
    cpu: Usual
    """First values of its recipes on a CPU."""
    gpu: Usual
    """First values of its recipes on a GPU."""
    step_seconds: float
    """Seconds of an optimizer step on 2 quiet cores, with `cpu`'s batch and frozen layers, at `step_px`. It bounds the
    epochs of a first recipe; the pace itself is measured while it trains."""
    step_px: int
    """Pixels: the side at which `step_seconds` was measured."""
    imagenet: str | None = None
    """The distribution that holds weights of its backbone, which `init: imagenet` starts from; None: there is none."""
    imagenet_licence: str = ""
    """Of those weights."""
    pretrained: Pretrained | None = None
    """The published weights that `init: pretrained` starts from; None: there are none."""
    rendered_extra: Mapping[str, Any] = field(default_factory=dict)
    """`extra` of a first recipe for the rendered sample."""
    augmentation: Mapping[str, float] | None = None
    """How its trainings vary photographs where the policy says nothing: values of the policy's section `augmentation`,
    which its `Detector` applies as `recipe.augmentation`. None: it varies them by itself; recipes do not say how."""
    rendered_augmentation: Mapping[str, float] = field(default_factory=dict)
    """Values in place of those of `augmentation` in a first recipe for the rendered sample."""
    normalisation: Normalisation | None = None
    """What is made of levels divided by 255; None: it is not told."""
    side_multiple: int = 1
    """Pixels: of which `image_size` must be a multiple; 1: any size is taken."""

    @property
    def starts(self) -> tuple[str, ...]:
        """The values of a recipe's `init` that it can start from, beside a champion of its own and a file."""
        named = (("imagenet", self.imagenet), ("pretrained", self.pretrained))
        return ("scratch", *(name for name, there in named if there is not None))
