"""Registers photographs and labels that lie in the lake's raw/ already as an import, without copying them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from carsdepo_assets.data.batches import is_label, is_photograph
from carsdepo_assets.data.class_names import ClassNamesError, names_of_option, same_name
from carsdepo_assets.data.import_records import read_import_record, write_import_record
from carsdepo_assets.data.import_sources import SourceRefused
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.locks import one_writer
from carsdepo_assets.policy import Policy


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
                    f"{lake.url}/raw/labels/{name}: nothing says what the class ids of its {len(labels)} label files "
                    "mean. Say it by --classes with the name of 0, of 1 and so on, as in --classes scratch,dent."
                )
        else:
            class_ids = _class_ids(classes, mapping, policy)
            record = {"origin": "yolo", "options": {"import": name, "format": "yolo", "class_ids": class_ids}}
            if before is not None and before != record and labels:
                raise SourceRefused(
                    f"raw/labels/{name} was imported before with other classes or in another way: import it under "
                    "another name, so that no label is read with the wrong classes."
                )
            write_import_record(lake, name, record)
    return photographs, len(labels)


def _class_ids(classes: str, mapping: Mapping[str, str], policy: Policy) -> dict[str, int]:
    ours = {same_name(name): i for i, name in enumerate(policy.class_map.names)}
    renamed = {same_name(old): same_name(new) for old, new in mapping.items()}
    try:
        names = names_of_option(classes)
    except ClassNamesError as error:
        raise SourceRefused(str(error)) from error
    class_ids = {i: ours.get(renamed.get(same_name(name), same_name(name))) for i, name in names.by_id.items()}
    unknown = [names.by_id[i] for i, ours_id in class_ids.items() if ours_id is None]
    if unknown:
        raise SourceRefused(
            f"--classes: {', '.join(unknown)} is none of {', '.join(policy.class_map.names)}; give --map OLD=NEW for "
            "each."
        )
    return {i: ours_id for i, ours_id in class_ids.items() if ours_id is not None}
