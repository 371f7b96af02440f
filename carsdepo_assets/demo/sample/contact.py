"""A contact sheet of rendered photographs with their boxes: python -m carsdepo_assets.demo.sample.contact FOLDER.

Writes FOLDER/contact_sheet.jpg and FOLDER/scenes.json, the parameters of the cars that it shows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from carsdepo_assets.demo.sample.casting import draw_car
from carsdepo_assets.demo.sample.render import RenderedPhoto, photographs
from carsdepo_assets.demo.sample.scene import DENT, LIGHTS

SEED, COLUMNS, TILE = 400, 4, (300, 225)
_COLOURS = {True: (60, 230, 60), False: (255, 60, 60)}  # dents green, scratches red


def contact_sheet(seed: int = SEED, columns: int = COLUMNS) -> tuple[NDArray[np.uint8], list[dict[str, object]]]:
    """Renders one photograph each of several cars, with their boxes drawn in.

    Args:
        seed: Of the first car.
        columns: Cars in a row. Each row has another light, from day to night; its last car is undamaged.

    Returns:
        The sheet, (H, W, 3) uint8, and the parameters of the cars.
    """
    rows, scenes = [], []
    for line, light in enumerate(LIGHTS):
        tiles = []
        for column in range(columns):
            car = draw_car(seed + line * columns + column, light, clean=column == columns - 1)
            photo = next(photographs(car))
            tiles.append(_tile(photo))
            scenes.append(
                {
                    "row": line,
                    "column": column,
                    "boxes": [list(b) for b in photo.boxes],
                    "car": car.parameters(),
                    **photo.scene,
                }
            )
        rows.append(np.hstack(tiles))
    return np.vstack(rows), scenes


def _tile(photo: RenderedPhoto) -> NDArray[np.uint8]:
    """The photograph, scaled to fit in TILE, with its boxes."""
    height, width = photo.rgb.shape[:2]
    scale = min(TILE[0] / width, TILE[1] / height)
    small = cv2.resize(photo.rgb, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    for class_id, *corners in photo.boxes:
        x1, y1, x2, y2 = (round(c * scale) for c in corners)
        cv2.rectangle(small, (x1 - 1, y1 - 1), (x2, y2), _COLOURS[class_id == DENT], 1)
    tile = np.full((TILE[1], TILE[0], 3), 255, np.uint8)
    y, x = (TILE[1] - small.shape[0]) // 2, (TILE[0] - small.shape[1]) // 2
    tile[y : y + small.shape[0], x : x + small.shape[1]] = small
    return tile


def main(folder: Path) -> None:
    """Writes contact_sheet.jpg and scenes.json to the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    sheet, scenes = contact_sheet()
    _, coded = cv2.imencode(".jpg", sheet[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    (folder / "contact_sheet.jpg").write_bytes(coded.tobytes())
    (folder / "scenes.json").write_text(json.dumps({"seed": SEED, "pictures": scenes}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
