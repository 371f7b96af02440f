"""Small folders of photographs and labels for tests of imports, and what of them stands in a lake."""

from __future__ import annotations

import json
from pathlib import Path

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.data.photograph_files import photograph


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def cars(folder: Path, **more: str | bytes) -> Path:
    return write(
        folder,
        {
            "images/a.jpg": photograph(1),
            "images/b.jpg": photograph(2),
            "labels/a.txt": "0 .5 .5 .1 .1\n",
            "labels/b.txt": "",
            "classes.txt": "scratch\ndent\n",
            "manifest.csv": "file,group\na.jpg,g1\nb.jpg,g2\n",
            "README.md": "x",
            **more,
        },
    )


def coco(categories: dict[int, str], used: list[int]) -> str:
    return json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
            "annotations": [
                {"id": i, "image_id": 1, "category_id": c, "bbox": [1, 1, 5, 5]} for i, c in enumerate(used)
            ],
            "categories": [{"id": i, "name": n} for i, n in categories.items()],
        }
    )


def raw(lake: Lake) -> list[str]:
    return sorted(o.key.removeprefix("raw/") for o in lake.list("raw/"))
