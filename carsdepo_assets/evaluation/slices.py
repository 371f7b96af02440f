"""What the figures are sliced by: the light that a photograph was taken in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from carsdepo_assets.lake.lake import Lake

UNSAID_DARK, UNSAID_BRIGHT = "not said, dark", "not said, bright"
DARK_LUMA = 48.0  # mean luma of 0..255: 95 % of rendered night photographs lie under it, 95 % of the others above


def lights(lake: Lake, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One name for each row with an image_id: the light that the metadata says, else dark or bright as measured.

    What was photographed for the service or chosen by a labelling queue comes without a word on its light.
    """
    known = {r["image_id"]: r for r in lake.read("images", columns=["image_id", "light", "luma_mean"]).to_pylist()}
    return [_light(known.get(row["image_id"], {})) for row in rows]


def _light(image: Mapping[str, Any]) -> str:
    said, luma = image.get("light"), image.get("luma_mean")
    if said and said != "unknown":
        return str(said)
    if luma is None:
        return "unknown"
    return UNSAID_DARK if luma < DARK_LUMA else UNSAID_BRIGHT
