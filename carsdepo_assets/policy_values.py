"""What the sections of the policy are made of: their base class, their field with a unit, and common limits."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class PolicySection(BaseModel):
    """A table of carsdepo.toml: its values cannot be changed once read, and unknown keys are refused.

    TOML knows inf and nan. JSON, by which a policy goes to workers and into plans, does not: no value is either.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def policy_value(default: Any, unit: str, meaning: str, **limits: Any) -> Any:
    """A field of a section.

    Args:
        default: The built-in value.
        unit: What the value counts or measures; "" where it is a choice, a name or a switch.
        meaning: One or two sentences for `carsdepo policy show` and the policy reference.
        limits: Pydantic's limits of the value, such as ge, lt and min_length.
    """
    return Field(default, description=meaning, json_schema_extra={"unit": unit}, **limits)
