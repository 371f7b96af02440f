"""Registers photographs and labels that lie in the lake's raw/ already as an import, without copying them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from carsdepo_assets.data.batches.batches import is_label, is_photograph
from carsdepo_assets.data.folders.class_names import ClassNamesError, names_of_option, same_name
from carsdepo_assets.data.folders.counts import counted
from carsdepo_assets.data.imports.class_mapping import option_targets, targets_by_name
from carsdepo_assets.data.imports.import_sources import SourceRefused
from carsdepo_assets.data.labels.formats.documents import Target
from carsdepo_assets.data.labels.import_records import read_import_record, write_import_record
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.policy import ClassMap, Policy


def in_place_name(source: str, lake: Lake) -> str:
    """The name of an import whose photographs lie in the lake already, below raw/uploads/NAME.

    Raises:
        SourceRefused: they do not. A lake finds photographs by its own keys, and reads them again long after.
    """
    root, place = lake.url.rstrip("/"), source.rstrip("/")
    if not source.startswith("s3://") and lake.root is not None:
        root, place = str(lake.root), str(Path(source).expanduser().resolve())
    name = place.removeprefix(f"{root}/raw/uploads/")
    if name == place or not name or "/" in name:
        raise SourceRefused(
            f"{source} cannot be used in place: only {root}/raw/uploads/NAME can, since the lake finds photographs by "
            "its own keys and reads them again, for years. Put it there, or import it without --in-place: it is copied."
        )
    return name


def register_in_place(
    lake: Lake, name: str, classes: str | None, mapping: Mapping[str, str], policy: Policy
) -> tuple[int, int]:
    """Stores what the class ids of the label files below raw/labels/NAME mean. No other file is written.

    Args:
        lake: where the files are.
        name: of the import.
        classes: names of the class ids 0, 1 and so on, with commas; None: no label file needs them.
        mapping: our class name by the files' class name.
        policy: the class map is used.

    Returns:
        The number of photographs, and of label files.

    Raises:
        SourceRefused: there are no photographs, or it is not known what the class ids mean.
    """
    photographs = sum(is_photograph(o.key) for o in lake.list(f"raw/uploads/{name}"))
    if not photographs:
        raise SourceRefused(f"{lake.url}/raw/uploads/{name}: there is no photograph.")
    labels = [o.key for o in lake.list(f"raw/labels/{name}") if is_label(o.key)]
    with one_writer(lake, f"import-{name[:100]}"):
        before = read_import_record(lake, name)
        if classes is None:
            if before is None and any(key.lower().endswith(".txt") for key in labels):
                raise SourceRefused(
                    f"{lake.url}/raw/labels/{name}: nothing says what the class ids of its "
                    f"{counted(len(labels), 'label file')} mean. Say it by --classes with the name of 0, "
                    "of 1 and so on, as in --classes scratch,dent."
                )
        else:
            targets = _targets(classes, mapping, policy.class_map)
            record = {"origin": "yolo", "options": {"import": name, "format": "yolo", "class_ids": targets}}
            write_import_record(lake, name, record)
    return photographs, len(labels)


def _targets(classes: str, mapping: Mapping[str, str], class_map: ClassMap) -> dict[str, Target]:
    options, by_name = option_targets(mapping, class_map), targets_by_name(class_map)
    try:
        names = names_of_option(classes)
    except ClassNamesError as error:
        raise SourceRefused(str(error)) from error
    targets = {**by_name, **options}
    unknown = [name for name in names.by_id.values() if same_name(name) not in targets]
    if unknown:
        raise SourceRefused(
            f"--classes: {', '.join(unknown)} is none of {', '.join(class_map.names)}; give --map OLD=NEW for each."
        )
    return {i: targets[same_name(name)] for i, name in names.by_id.items()}
