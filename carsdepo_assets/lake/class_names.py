"""The names that the class ids of the lake's labels stand for, kept as class_map/names.json.

Labels hold ids. Names that were put in another order in the policy would turn every stored scratch into a dent, so that
the names in use are kept beside the labels and compared with the policy's before labels, a dataset or a training rest
on them.
"""

from __future__ import annotations

from typing import ClassVar

import pyarrow.compute as pc
import yaml

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.pointers import DatasetPointer, Pointer
from carsdepo_assets.policy import ClassMap


class ClassNamesChanged(ValueError):
    """An id that stands in the lake's labels has another name in the policy. The message says which, and what to do."""


class LabelledClasses(Pointer):
    """The names of all classes that labels of the lake may have, by their ids."""

    KEY: ClassVar[str] = "class_map/names.json"

    names: tuple[str, ...]


def check_class_names(lake: Lake, class_map: ClassMap) -> None:
    """Compares the policy's names with those of the ids in the lake's labels. Nothing is written.

    Raises:
        ClassNamesChanged: an id that a label has is called something else now, or is gone.
        LakeError: the kept names are damaged.
    """
    _refuse_changed(lake, class_map, _kept(lake))


def keep_class_names(lake: Lake, class_map: ClassMap) -> None:
    """As `check_class_names`, and keeps the policy's names where they are new: the next comparison is with them."""
    kept = _kept(lake)
    _refuse_changed(lake, class_map, kept)
    if class_map.names != kept or not lake.exists(LabelledClasses.KEY):
        LabelledClasses(names=class_map.names).write(lake)


def _kept(lake: Lake) -> tuple[str, ...]:
    kept = LabelledClasses.read(lake)
    if kept is not None:
        return kept.names
    newest = DatasetPointer.read(lake)  # a lake of before has the names in its datasets alone
    if newest is None or not lake.exists(key := f"datasets/{newest.version}/data.yaml"):
        return ()
    names = yaml.safe_load(lake.get(key))["names"]
    return tuple(names[i] for i in sorted(names))


def _refuse_changed(lake: Lake, class_map: ClassMap, kept: tuple[str, ...]) -> None:
    names = class_map.names
    changed = [i for i, name in enumerate(kept) if names[i : i + 1] != (name,)]
    if not changed:
        return
    boxes = pc.list_flatten(lake.read("annotations", ["boxes"])["boxes"])
    used = set(pc.unique(pc.struct_field(boxes, "class_id")).to_pylist())
    if not (wrong := [i for i in changed if i in used]):
        return
    first = wrong[0]
    now = f"is {names[first]} in the policy" if first < len(names) else "is not in the policy"
    raise ClassNamesChanged(
        f"policy.class_map.names: class id {first} {now}, and the labels in {lake.url} mean {kept[first]} by it. "
        f"Names keep their places: write names = [{', '.join(repr(name) for name in kept)}], with new classes behind "
        "them."
    )
