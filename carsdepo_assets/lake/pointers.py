"""The objects of the lake that are replaced and not added to: each names the newest of its kind.

    datasets/latest.json      the newest dataset
    recipes/latest.json       the recipe that the next training follows
    training/candidate.json   the model that is evaluated and registered next
    training/evaluation.json  the newest evaluation of a candidate
    training/latest.json      the last model that met the floor: its labels count as learnt

class_names.py has one more: the names of the classes.

A pointer is written last, after everything that it names is stored, and in one piece: a process that is killed leaves
either the old pointer or the new one. What a pointer named before stands in the tables `candidates`, `evaluations` and
`trainings`.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from carsdepo_assets.lake.lake import Lake, LakeError


class Pointer(BaseModel):
    """What the pointers share: their key, and how they are read and written.

    Keys of the JSON that a pointer does not have are left out of it, so that lakes of other versions stay readable.
    """

    KEY: ClassVar[str]

    model_config = ConfigDict(frozen=True, extra="ignore")

    @classmethod
    def read(cls, lake: Lake) -> Self | None:
        """The pointer as it stands now.

        Returns:
            None where nothing has been written yet.

        Raises:
            LakeError: the stored object is damaged.
        """
        if not lake.exists(cls.KEY):
            if _is_obstructed(lake, cls.KEY):
                raise LakeError(
                    f"{cls.KEY} in {lake.url} is damaged (a folder, or a link to a file that is not there): remove it "
                    "and put the pointer back from a copy."
                )
            return None
        try:
            return cls.model_validate_json(lake.get(cls.KEY))
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'JSON'}: {e['msg']}" for e in error.errors())
            raise LakeError(f"{cls.KEY} in {lake.url} is damaged ({problems}): put it back from a copy.") from error

    def write(self, lake: Lake) -> None:
        """Replaces what stood there, whole or not at all."""
        lake.put(self.KEY, self.model_dump_json(indent=1).encode())


def _is_obstructed(lake: Lake, key: str) -> bool:
    """Whether something that is no file stands at the key: a pointer that was written and is lost, not one that never
    was. Never on S3, which knows neither links nor folders."""
    if lake.root is None:
        return False
    path = lake.root / key
    return os.path.lexists(path) and not path.is_file()  # it may have been written just now


class DatasetPointer(Pointer):
    """The newest dataset."""

    KEY = "datasets/latest.json"

    version: str
    label_state: int = Field(0, description="annotation revisions that the dataset's build had seen")
    at: datetime | None = Field(None, description="when a build first saw that many; None in lakes of before")


class RecipePointer(Pointer):
    """The recipe that the next training follows, stored at recipes/<digest>.json."""

    KEY = "recipes/latest.json"

    digest: str
    why: tuple[str, ...] = Field((), description="whole sentences: why this family, this start and this length")
    fallback: str | None = Field(None, description="the policy's fallback that made the recipe; None: the usual recipe")
    asked_by: str = Field("person", description="retrain (the sensor) or person")


class CandidatePointer(Pointer):
    """The model that is evaluated and registered next, and what it was trained on."""

    KEY = "training/candidate.json"

    digest: str
    dataset: str = Field(description="version of the dataset that it was trained on")
    recipe: dict[str, Any] = Field(description="the whole recipe, as recipes/<digest>.json holds it")
    label_state: int = Field(description="annotation revisions that the dataset's build had seen")
    seen_at: datetime | None = Field(None, description="when that build looked at the labels")
    why: tuple[str, ...] = Field((), description="why this recipe, in whole sentences")
    fallback: str | None = None
    asked_by: str = "person"


class EvaluationPointer(Pointer):
    """The newest evaluation of a candidate."""

    KEY = "training/evaluation.json"

    digest: str
    trained_on: str = Field(description="version of the dataset that the candidate was trained on")
    evaluation_id: str | None = Field(None, description="row of the table `evaluations`; None in lakes of before")
    figures_key: str | None = Field(None, description="lakes of before: the JSON object that holds the figures")


class LearntPointer(Pointer):
    """The last model that met the floor: the labels that its dataset had seen count as learnt."""

    KEY = "training/latest.json"

    label_state: int
    digest: str = ""
    dataset: str = ""
    recipe: str = Field("", description="the recipe's digest")
    seen_at: datetime | None = Field(None, description="when the dataset's build looked at the labels; None: unknown")
