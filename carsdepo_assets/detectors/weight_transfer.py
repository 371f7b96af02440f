"""Takes over the weights of another model, as far as they fit: also where the class map has grown since."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from carsdepo_assets.detectors.checkpoints import DetectorError

LEAST = 0.25  # of a model's values below its heads; from YOLOv8s 4 % fit YOLOv8n


@dataclass(frozen=True)
class ClassRows:
    """Tensors whose first axis has rows for each class, in the order of the class ids."""

    names: str
    """A regular expression that matches their whole names."""
    each: int = 1
    """Rows of a class."""
    before: int = 0
    """Classes ahead of class 0, such as the background."""
    after: int = 0
    """Classes behind the last one."""


def known_classes(where: str, learnt: Sequence[str], wanted: Sequence[str]) -> int:
    """How many leading classes of a model its initial weights know already.

    Args:
        where: Names the weights in messages.
        learnt: Their classes, in the order of the ids.
        wanted: The classes of the model that is to start from them.

    Returns:
        Their number; 0 where no class is shared, so that only what lies below the heads is taken over.

    Raises:
        DetectorError: They share classes, and the learnt ones are not the first of the wanted ones.
    """
    if list(learnt) == list(wanted[: len(learnt)]):
        return len(learnt)
    if set(learnt).isdisjoint(wanted):
        return 0
    raise DetectorError(
        f"{where} was trained on the classes {', '.join(learnt)}, and these are not the first of "
        f"{', '.join(wanted)}: its heads would speak of other classes. New classes come behind the old ones, in "
        "their order; start from scratch, or from weights of other classes altogether, where that cannot be."
    )


def taken_over(
    own: Mapping[str, Any], given: Mapping[str, Any], heads: Sequence[ClassRows], n_known: int, where: str
) -> dict[str, Any]:
    """The state of a new model with the tensors of another one in it.

    Tensors of the same name and shape are taken as they are; of the heads only the rows of the classes that are known.

    Args:
        own: The new model's state.
        given: The other model's.
        heads: Which tensors have rows for each class.
        n_known: How many leading classes both have; 0 leaves the heads as they are.
        where: Names the other model in messages.

    Returns:
        A whole state for the new model.

    Raises:
        DetectorError: Hardly a tensor fits: of another size of one architecture a few narrow ones always do.
    """
    state = dict(own)
    fitting, below = 0, sum(v.numel() for n, v in own.items() if not any(re.fullmatch(h.names, n) for h in heads))
    for name, tensor in given.items():
        if name not in own:
            continue
        rows = next((h for h in heads if re.fullmatch(h.names, name)), None)
        if rows is None:
            if own[name].shape == tensor.shape:
                state[name] = tensor
                fitting += tensor.numel()
        elif n_known and own[name].shape[1:] == tensor.shape[1:]:
            state[name] = _grown(own[name], tensor, rows, n_known)
    if not fitting or fitting < LEAST * below:
        share = f"{100 * fitting / below:.1f} %" if fitting else "none"
        raise DetectorError(
            f"{share} of the weights of {where} fits this family: it is another one's, or of another size."
        )
    return state


def _grown(own: Any, given: Any, rows: ClassRows, n_known: int) -> Any:
    grown = own.detach().clone()
    first = (rows.before + n_known) * rows.each
    grown[:first] = given[:first]
    if rows.after:
        grown[-rows.after * rows.each :] = given[-rows.after * rows.each :]
    return grown
