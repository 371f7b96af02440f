"""The page that shows how a training varies photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import Query
from fastapi.responses import HTMLResponse

from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.objects import key_problem
from carsdepo_assets.policy import Policy
from carsdepo_assets.reporting.page import render
from carsdepo_assets.site.augmented_examples import (
    MOST_EPOCHS,
    MOST_PHOTOGRAPHS,
    AugmentedExamples,
    NothingToShow,
    augmented_examples,
    offered_families,
)
from carsdepo_assets.site.messages import message_page
from carsdepo_assets.site.protection import page_headers

_FOLDER = Path(__file__).parent
# As the gallery's: a form may ask this site, by GET, for other pictures.
_HEADERS = page_headers("style-src 'unsafe-inline'; img-src data:", forms="'self'")

Name = Annotated[str, Query(max_length=64)]


class AugmentationPage:
    """Shows photographs of a dataset beside what a training makes of them.

    Args:
        lake: opens the lake.
        policy: gives the policy of now.
    """

    def __init__(self, lake: Callable[[], Lake], policy: Callable[[], Policy]) -> None:
        self._lake, self._policy = lake, policy

    def shown(
        self,
        dataset: Name = "",
        model: Name = "",
        family: Name = "",
        photographs: Annotated[int, Query(ge=1, le=MOST_PHOTOGRAPHS)] = 6,
        epochs: Annotated[int, Query(ge=1, le=MOST_EPOCHS)] = 4,
    ) -> HTMLResponse:
        """The page; nothing of it is stored."""
        if any(key_problem(name) is not None or "/" in name for name in (dataset, model) if name):
            return _message(f"There is no dataset or model {dataset or model!r}.")
        try:
            examples = augmented_examples(
                self._lake(),
                self._policy(),
                dataset=dataset or None,
                model=model or None,
                family=family or None,
                photographs=photographs,
                epochs=epochs,
            )
        except (NothingToShow, LakeError) as error:
            return _message(str(error))
        return HTMLResponse(augmentation_html(examples, model, photographs, epochs), 200, _HEADERS)


def augmentation_html(examples: AugmentedExamples, model: str, photographs: int, epochs: int) -> str:
    """Renders the page.

    Args:
        examples: what it shows.
        model: digest of the model whose recipe it is; empty: of none.
        photographs: how many were asked for.
        epochs: likewise.
    """
    return render(
        _FOLDER,
        "augmentation.html",
        here="datasets",
        e=examples,
        model=model,
        photographs=photographs,
        epochs=epochs,
        columns=min(1 + epochs, 5),
        families=offered_families(),
        most_photographs=MOST_PHOTOGRAPHS,
        most_epochs=MOST_EPOCHS,
    )


def _message(text: str) -> HTMLResponse:
    return message_page(404, "Nothing to show", text, here="datasets", link="/datasets")
