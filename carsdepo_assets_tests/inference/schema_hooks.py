"""What schemathesis cannot know from the schema: bytes that are photographs, and `metadata` that fits their number."""

from __future__ import annotations

import json
from typing import Any

import schemathesis
from hypothesis import strategies as st

from carsdepo_assets_tests.inference.served_models import photograph

_PHOTOGRAPHS = st.sampled_from([photograph(1), photograph(2, damage=None), photograph(3, kind="PNG")])

schemathesis.openapi.format("binary", _PHOTOGRAPHS)
schemathesis.openapi.media_type("image/jpeg", _PHOTOGRAPHS)


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leaves out what the schema cannot state, or a form cannot carry.

    These are valid forms whose `metadata` is not JSON about as many photographs, and wrong forms that are wrong in the
    type of a field alone: on the wire an empty list is no field, and a list of one text is that text.
    """
    body = case.body
    if not isinstance(body, dict):
        return True
    if case.meta.generation.mode.is_negative:
        return all(isinstance(value, str) for name, value in body.items() if name != "photographs")
    try:
        return "metadata" not in body or len(json.loads(body["metadata"])) == len(body["photographs"])
    except (ValueError, TypeError):
        return False
