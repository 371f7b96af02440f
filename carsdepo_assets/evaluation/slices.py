"""Names the light that a photograph was taken in and where it came from, so that figures can be given for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from carsdepo_assets.lake.image_metadata import read_images
from carsdepo_assets.lake.lake import Lake

UNSAID_DARK, UNSAID_BRIGHT = "not said, dark", "not said, bright"
DARK_LUMA = 48.0  # mean luma of 0..255: 95 % of rendered night photographs lie under it, 95 % of the others above


# SQL over columns of `images`, for questions about all photographs at once: the light as _light gives it, and the
# import or the first folder of raw/uploads; null where a photograph lies in none.
LIGHT = (
    "case when light is not null and light not in ('', 'unknown') then light when luma_mean is null then 'unknown' "
    f"when luma_mean < {DARK_LUMA} then '{UNSAID_DARK}' else '{UNSAID_BRIGHT}' end"
)
SOURCE = "nullif(regexp_extract(key, '^raw/uploads/([^/]+)/', 1), '')"


def lights(lake: Lake, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The light of each photograph: as its metadata has it, else dark or bright as measured.

    Photographs that came through the service or a labelling queue have no metadata about their light.

    Args:
        lake: The lake whose table `images` holds metadata and measurements.
        rows: Rows with an `image_id`.

    Returns:
        One name for each row, in their order.
    """
    images = {r["image_id"]: r for r in read_images(lake, ["image_id", "light", "luma_mean"]).to_pylist()}
    return [_light(images.get(row["image_id"], {})) for row in rows]


def _light(image: Mapping[str, Any]) -> str:
    light, luma = image.get("light"), image.get("luma_mean")
    if light and light != "unknown":
        return str(light)
    if luma is None:
        return "unknown"
    return UNSAID_DARK if luma < DARK_LUMA else UNSAID_BRIGHT
