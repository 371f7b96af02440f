"""What a study changes of the usual recipe: fields that it sets, and fields that it multiplies."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.policy_study import AUGMENTATION, EXTRA


class Adjustments(BaseModel):
    """Changes of a family's usual recipe. They hold for later trainings too, on other data and for another length."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: str | None = Field(None, description="the family; None: today's")
    values: dict[str, Any] = Field(
        default_factory=dict, description="value by field; `extra.NAME`, `augmentation.NAME`"
    )
    factors: dict[str, float] = Field(default_factory=dict, description="factor of the usual value, by field")
    why: str = Field("", description="where they come from, as a sentence")
    init_model: str | None = Field(None, description="digest of the model whose weights the training goes on from")

    def of(self, detector: str) -> Adjustments | None:
        """Them for a family; None where they are of another."""
        return self if self.detector in (None, detector) else None

    def applied(self, usual: Recipe) -> Recipe:
        """The usual recipe with the changes.

        Raises:
            pydantic.ValidationError: a value does not fit the recipe.
        """
        fields = usual.model_dump(mode="json")
        for name, value in self.values.items():
            if name.startswith(EXTRA):
                fields["extra"] = fields["extra"] | {name.removeprefix(EXTRA): value}
            elif name.startswith(AUGMENTATION):
                if usual.augmentation is not None:  # else the family varies photographs by itself
                    fields["augmentation"] = fields["augmentation"] | {name.removeprefix(AUGMENTATION): value}
            else:
                fields[name] = value
        for name, factor in self.factors.items():
            fields[name] = fields[name] * factor
        return Recipe.model_validate(fields)

    def described(self) -> str:
        """The changes in words."""
        texts = [f"{name} {value}" for name, value in self.values.items()]
        texts += [f"{name} {factor:.3g} times the usual" for name, factor in self.factors.items()]
        return ", ".join([*([self.detector] if self.detector else []), *texts]) or "nothing is changed"
