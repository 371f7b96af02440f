"""What lies in every export beside its labels: manifest.csv with the groups, provenance.json and README.md."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from carsdepo_assets.data.exports.export_photographs import PlannedPhotograph
from carsdepo_assets.data.exports.writers import WRITERS, ExportedDataset, ExportFormat

_SOURCES = {
    "upright": "the photographs as they were uploaded, where they need no turning and every tool opens their format; "
    "the others turned upright and encoded anew as JPEG, at full size. Uploaded files hold what the camera wrote into "
    "them, which may be the place where they were taken",
    "original": "the photographs as they were uploaded. Boxes are in the upright photograph: a tool has to turn "
    "photographs as their EXIF says. The files hold what the camera wrote into them, which may be the place where they "
    "were taken",
    "processed": "the copies that models are trained on: upright, reduced, without metadata",
}


def papers(
    format: ExportFormat, dataset: ExportedDataset, planned: Sequence[PlannedPhotograph], facts: Mapping[str, Any]
) -> Iterator[tuple[str, bytes]]:
    """The files, by path below the export's folder.

    Args:
        format: of the export.
        dataset: as it was written.
        planned: its photographs, in the same order.
        facts: further content of provenance.json: pixels, content_digest, and the counts of what was written.
    """
    yield "manifest.csv", _manifest(dataset, planned)
    provenance = {
        "format": format,
        "dataset": dataset.version,
        "classes": dict(enumerate(dataset.class_names)),
        "exported_at": dataset.at.isoformat(),
        **facts,
    }
    yield "provenance.json", json.dumps(provenance, ensure_ascii=False, indent=1).encode()
    yield "README.md", _readme(format, dataset, facts).encode()


def _manifest(dataset: ExportedDataset, planned: Sequence[PlannedPhotograph]) -> bytes:
    """A row a photograph; `carsdepo import` reads the groups by the columns file and group."""
    out = io.StringIO()
    sheet = csv.writer(out, lineterminator="\n")
    sheet.writerow(["file", "group", "split", "image_id", "upload_key"])
    for photograph, one in zip(dataset.photographs, planned, strict=True):
        sheet.writerow([photograph.name, one.row["group_id"], photograph.split, one.row["image_id"], one.row["key"]])
    return out.getvalue().encode()


def _readme(format: ExportFormat, dataset: ExportedDataset, facts: Mapping[str, Any]) -> str:
    splits = ", ".join(f"{count} {split}" for split, count in facts["photographs"].items())
    causes = ", ".join(facts["negatives"]["boxes"]) if facts["negatives"]["written"] else ""
    negatives = f" Boxes around what looks like damage and is none (hard negatives): {causes}." if causes else ""
    names = ", ".join(f"{class_id} {name}" for class_id, name in enumerate(dataset.class_names))
    turned = "" if facts["files"] else " (left out of this export: labels only)"
    return f"""# Dataset {dataset.version} as {format}

Exported by `carsdepo export` at {dataset.at.isoformat()}. provenance.json says the same for programs.

- Photographs: {splits}; {facts["without_damage"]} of them were reviewed and show no damage.
- Boxes: {facts["boxes"]}. Classes: {names}.{negatives}
- Files of photographs{turned}: {_SOURCES[facts["pixels"]]}.
- manifest.csv has the group of each photograph. Photographs of one group show one car: keep them in one split.
- Models are trained on train, chosen by val and tested on test. test_pool is held out for later tests; excluded would
  leak between splits and belongs into none.

{WRITERS[format].use}
"""
