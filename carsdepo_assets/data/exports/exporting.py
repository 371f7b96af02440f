"""Exports a version of the dataset as a folder in one of the formats that other tools read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from carsdepo_assets.data.exports.export_names import exported_stems
from carsdepo_assets.data.exports.export_papers import papers
from carsdepo_assets.data.exports.export_photographs import (
    DatasetExportError,
    PlannedPhotograph,
    plan,
    refuse_links,
    write_photograph,
)
from carsdepo_assets.data.exports.whole_folder import whole_folder
from carsdepo_assets.data.exports.writers import WRITERS, ExportedDataset, ExportFormat
from carsdepo_assets.data.exports.writers.exported import Images, Pixels
from carsdepo_assets.data.folders.class_names import same_name
from carsdepo_assets.data.folders.counts import counted
from carsdepo_assets.lake import datasets
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy

_WORKERS = 4  # threads that wait for the disk or for S3 while others decode
_OF_IMAGES = ("orientation", "format", "bytes")


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote."""

    folder: Path
    """The export."""
    version: str
    """Of the dataset."""
    photographs: Mapping[str, int]
    """By split."""
    boxes: int
    """Of all photographs."""
    clean: int
    """Photographs that were reviewed and have no box."""
    files: Mapping[str, int]
    """Photographs by what their file is: copied, linked or encoded; empty without photographs."""
    left_out: Mapping[str, int]
    """Photographs of splits that were not asked for, by split."""
    negatives: Mapping[str, int]
    """Hard negatives of the photographs, by cause."""
    with_negatives: bool
    """Whether they were written, as classes that are called as their causes."""

    @property
    def summary(self) -> str:
        """What was written, in sentences."""
        splits = ", ".join(f"{count} {split}" for split, count in self.photographs.items())
        text = (
            f"Dataset {self.version}: {counted(sum(self.photographs.values()), 'photograph')} ({splits}), "
            f"{counted(self.boxes, 'box')}, "
            f"{self.clean} without damage, in {self.folder}."
        )
        if self.files:
            text += " Photographs: " + ", ".join(f"{n} {how}" for how, n in sorted(self.files.items())) + "."
        else:
            text += " Labels only."
        if self.negatives:
            causes = ", ".join(f"{count} {cause}" for cause, count in self.negatives.items())
            how = "as classes of their own" if self.with_negatives else "left out: --negatives writes them as classes"
            text += f" Hard negatives ({causes}): {how}."
        if self.left_out:
            text += " Left out: " + ", ".join(f"{n} {split}" for split, n in sorted(self.left_out.items())) + "."
        return text


def export_dataset(
    lake: Lake,
    version: str,
    format: ExportFormat,
    target: Path,
    *,
    policy: Policy,
    now: datetime,
    splits: Sequence[str] = (),
    images: Images = "copy",
    pixels: Pixels = "upright",
    photographs_url: str = "",
    negatives: bool = False,
    progress: Callable[[int, int], None] = lambda behind, total: None,
) -> ExportResult:
    """Writes a dataset into a folder that appears whole or not at all.

    Args:
        lake: that holds the dataset.
        version: of the dataset, as `resolve_version` gives it.
        format: one of EXPORT_FORMATS.
        target: the folder, which must not exist.
        policy: the section `data` limits the decoding of photographs.
        now: the present, with a time zone.
        splits: names of the splits to export; none: all, also what is in no training.
        images: copy the photographs, link to them (a lake in a folder only), or leave them out.
        pixels: what a photograph's file is made of; see export_photographs.
        photographs_url: for formats that name photographs by URL: where the export's folder will lie.
        negatives: whether hard negatives are written, as classes that are called as their causes, behind the others.
        progress: is told how many photographs are written, of how many.

    Raises:
        DatasetExportError: The dataset has none of these splits, or a photograph cannot be exported as asked.
        TargetError: The target exists, or another process is writing it.
        LakeError: There is no such dataset, or bytes of a photograph are not there any more.
    """
    refuse_links(lake, images)
    manifest = _with_facts(lake, datasets.read_manifest(lake, version))
    chosen = _of_splits(manifest, version, splits)
    rows = chosen.to_pylist()
    stems = exported_stems({row["image_id"]: row["key"] for row in rows})
    names, marked = class_names(lake, version), _negatives(rows)
    causes = _cause_ids(version, names, marked) if negatives else {}
    planned = [plan(row, stems[row["image_id"]], pixels, causes) for row in rows]
    planned.sort(key=lambda one: one.photograph.name)
    dataset = ExportedDataset(
        version,
        (*names, *causes),
        tuple(one.photograph for one in planned),
        now,
        photographs_url and photographs_url.rstrip("/") + "/",
    )
    writer = WRITERS[format]
    with whole_folder(target) as folder:
        for path, data in writer.write(dataset):
            _write(folder / path, data)
        files = Counter[str]()
        if images != "none":
            places = [folder / writer.image_path(one.photograph) for one in planned]
            files.update(_write_photographs(lake, planned, places, images, policy, progress))
        result = ExportResult(
            target,
            version,
            {split: len(members) for split, members in dataset.splits().items()},
            sum(len(row["boxes"] or []) for row in rows),
            sum(not row["boxes"] for row in rows),
            dict(files),
            dict(Counter(manifest["split"].to_pylist()) - Counter(chosen["split"].to_pylist())),
            marked,
            negatives,
        )
        facts = {"content_digest": datasets.content_digest_of(lake, version), "pixels": pixels}
        for path, data in papers(format, dataset, planned, facts | _facts(result)):
            _write(folder / path, data)
    return result


def resolve_version(lake: Lake, version: str) -> str:
    """The version of a dataset by its first digits, or the newest by `latest`.

    Raises:
        DatasetExportError: There is no such dataset, or there are several; the message lists them.
    """
    newest = datasets.latest(lake)
    if newest is None:
        raise DatasetExportError(
            f"{lake.url} has no dataset yet: import labelled photographs, then `carsdepo dataset build`."
        )
    if version == "latest":
        return newest
    versions = datasets.versions(lake)
    matching = [one for one in versions if version and one.startswith(version)]
    if len(matching) != 1:
        many = f"{len(matching)} datasets begin with {version!r}" if matching else f"there is no dataset {version!r}"
        raise DatasetExportError(f"{many}; there are {', '.join(versions)}, the newest is {newest}.")
    return matching[0]


def class_names(lake: Lake, version: str) -> tuple[str, ...]:
    """The names of a dataset's classes as they were when it was built, in the order of their ids."""
    names = yaml.safe_load(lake.get(f"datasets/{version}/data.yaml"))["names"]
    return tuple(str(names[class_id]) for class_id in sorted(names))


def _negatives(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The hard negatives of these photographs by cause, in order of name."""
    causes = Counter(negative["cause"] for row in rows for negative in row.get("negatives") or [])
    return dict(sorted(causes.items()))


def _cause_ids(version: str, names: Sequence[str], causes: Mapping[str, int]) -> dict[str, int]:
    """Class ids behind those of the dataset's own classes, by cause.

    Raises:
        DatasetExportError: a cause is called as a class, so that the two would become one.
    """
    both = {same_name(name) for name in names} & {same_name(cause) for cause in causes}
    if both:
        raise DatasetExportError(
            f"Dataset {version}: {', '.join(sorted(both))} is a class and also the cause of hard negatives. Export it "
            "without --negatives."
        )
    return {cause: class_id for class_id, cause in enumerate(causes, len(names))}


def _with_facts(lake: Lake, manifest: pa.Table) -> pa.Table:
    """The manifest with the columns of IMAGES that say how a photograph was uploaded."""
    images = lake.read("images", columns=["image_id", *_OF_IMAGES])
    place = pc.index_in(manifest["image_id"], value_set=images["image_id"].combine_chunks())
    for name in _OF_IMAGES:
        manifest = manifest.append_column(name, images[name].combine_chunks().take(place.combine_chunks()))
    return manifest


def _of_splits(manifest: pa.Table, version: str, splits: Sequence[str]) -> pa.Table:
    if not splits:
        return manifest
    there = set(manifest["split"].to_pylist())
    unknown = [split for split in splits if split not in there]
    if unknown:
        raise DatasetExportError(
            f"Dataset {version} has no split {', '.join(unknown)}; it has {', '.join(sorted(there))}."
        )
    return manifest.filter(pc.is_in(manifest["split"], value_set=pa.array(splits)))


def _write_photographs(
    lake: Lake,
    planned: Sequence[PlannedPhotograph],
    places: Sequence[Path],
    images: Images,
    policy: Policy,
    progress: Callable[[int, int], None],
) -> Iterator[str]:
    for parent in {place.parent for place in places}:
        parent.mkdir(parents=True, exist_ok=True)
    pool = ThreadPoolExecutor(_WORKERS)
    try:
        written = pool.map(lambda one, place: write_photograph(lake, one, place, images, policy.data), planned, places)
        for count, how in enumerate(written, 1):
            progress(count, len(planned))
            yield how
    finally:
        pool.shutdown(cancel_futures=True)  # after an error, or Ctrl-C, the rest is not written


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _facts(result: ExportResult) -> dict[str, Any]:
    return {
        "photographs": dict(result.photographs),
        "boxes": result.boxes,
        "without_damage": result.clean,
        "files": dict(result.files),
        "left_out": dict(result.left_out),
        "negatives": {"written": result.with_negatives, "boxes": dict(result.negatives)},
    }
