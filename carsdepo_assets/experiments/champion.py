"""The model in production as the next training sees it: its family, its input size, and the weights to go on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, is_complete, read_card
from carsdepo_assets.registry.ledger import barred, events, served


@dataclass(frozen=True)
class Champion:
    """card: of the model in production. start: of the model whose weights a training goes on from; None: see `init`.

    init: how the oldest of its line started, where all of them were trained on this dataset; None: unknown.
    """

    card: ModelCard
    start: ModelCard | None = None
    init: str | None = None

    def fits(self, names: Sequence[str]) -> bool:
        """Whether the weights to start from know the classes of the class map `names`, or the first ones of it."""
        known = self.card.class_names if self.start is None else self.start.class_names
        return tuple(names[: len(known)]) == tuple(known)


def champion_for(lake: Lake, dataset_version: str) -> Champion | None:
    """What production serves now, after promotions and rollbacks; None where it serves nothing.

    `start` is that model, or the nearest it descends from that was trained on another dataset and is not barred: one
    trained on this very dataset has nothing new to learn from it (the recipe comes out as its own again, and its
    candidate stands), and a rejected model's weights are not passed on. Raises LakeError where production's model is
    not in the lake.
    """
    history = events(lake)
    event = served(history, "production")
    if event is None or event.digest is None:
        return None
    champion = card = read_card(lake, event.digest)
    out = barred(history)
    while True:
        if card.dataset_version != dataset_version and card.digest not in out:
            return Champion(champion, card if card.detector == champion.detector else None)
        parent = card.recipe.get("champion")
        if parent is None or not is_complete(lake, parent):
            same = card.dataset_version == dataset_version and card.detector == champion.detector
            init = card.recipe.get("init") if same else None
            return Champion(champion, None, None if init == "champion" else init)
        card = read_card(lake, parent)
