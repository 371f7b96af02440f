"""The model in production as the next training sees it: its family, its input size, and the weights to go on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, is_complete, read_card
from carsdepo_assets.registry.ledger import LedgerHistory


@dataclass(frozen=True)
class Champion:
    """The model in production as the next training sees it."""

    card: ModelCard
    """The card of the model in production."""
    start: ModelCard | None = None
    """The card of the model whose weights the training goes on from; None where there is none, see `init`."""
    init: str | None = None
    """How the oldest of its ancestors started, where all of them were trained on this dataset; None: unknown."""

    def fits(self, names: Sequence[str]) -> bool:
        """Whether the classes of the weights to start from are the first ones of the class map `names`."""
        learnt = self.card.class_names if self.start is None else self.start.class_names
        return tuple(names[: len(learnt)]) == tuple(learnt)


def champion_for(lake: Lake, dataset_version: str) -> Champion | None:
    """What production serves now, after promotions and rollbacks; None where it serves nothing.

    Its `start` is that model, or the nearest ancestor that was trained on another dataset and is not barred: a model
    has nothing new to learn from the dataset that it was trained on, and a rejected model's weights are not passed on.

    Raises:
        LakeError: production's model is not in the lake.
    """
    history = LedgerHistory.read(lake)
    event = history.served("production")
    if event is None or event.digest is None:
        return None
    champion = card = read_card(lake, event.digest)
    while True:
        if card.dataset_version != dataset_version and card.digest not in history.barred:
            return Champion(champion, card if card.detector == champion.detector else None)
        parent = card.recipe.get("champion")
        if parent is None or not is_complete(lake, parent):
            same = card.dataset_version == dataset_version and card.detector == champion.detector
            init = card.recipe.get("init") if same else None
            return Champion(champion, None, None if init == "champion" else init)
        card = read_card(lake, parent)
