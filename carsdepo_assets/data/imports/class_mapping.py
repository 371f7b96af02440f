"""Decides what the classes of an imported folder become: classes of ours, hard negatives, or nothing.

Names of the folder, `--classes` and `--map` say it; nothing is assumed. A class that is in no list of names although
the others are is a slip of a line, so that its files go to quarantine and the rest is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from carsdepo_assets.data.folders.class_names import (
    ClassNames,
    ClassNamesError,
    find_class_names,
    names_of_option,
    same_name,
)
from carsdepo_assets.data.imports.import_refusals import ClassesUnknown, ClassesUnmapped, ClassUse, ImportRefused
from carsdepo_assets.data.imports.layouts import FileKind, Layout
from carsdepo_assets.data.labels.formats.documents import ClassTargets, Target
from carsdepo_assets.policy import ClassMap

LEFT_OUT = "-"
"""As NEW of `--map OLD=NEW`: labels of this class are left out."""


@dataclass(frozen=True)
class ClassMapping:
    """What the classes of a folder become."""

    targets: ClassTargets
    names: Mapping[str, str] = field(default_factory=dict)
    """How the folder calls each class, by the class as the label files write it."""
    origin: str = ""
    """What says how the classes are called: files, options, or the label files themselves; empty where nothing had
    to."""
    notes: tuple[str, ...] = ()
    """What a person should look at: classes without a name, options that led to nothing."""

    def lines(self, class_map: ClassMap) -> list[str]:
        """What became what, for a person: one line a class."""
        return [
            f"{source}{'' if self.names.get(source, source) == source else ' ' + self.names[source]} -> "
            f"{target_name(target, class_map)}"
            for source, target in self.targets.items()
        ]


def target_name(target: Target, class_map: ClassMap) -> str:
    """A target for a person."""
    if target is None:
        return "left out"
    return f"{target} (no damage)" if isinstance(target, str) else class_map.names[target]


def map_classes(layout: Layout, mapping: Mapping[str, str], classes: str | None, class_map: ClassMap) -> ClassMapping:
    """The target of each class of a folder.

    Args:
        layout: what was recognised in the folder.
        mapping: from `--map`: the new name by the folder's name or id of a class. The new name is a class of ours, the
            cause of a hard negative, or `-`.
        classes: from `--classes`: names of the ids 0, 1 and so on, with commas.
        class_map: ours.

    Raises:
        ClassesUnknown: nothing says what the ids of the labels mean.
        ClassesUnmapped: classes are called as none of ours.
        ImportRefused: an option or the label files contradict themselves.
    """
    options = option_targets(mapping, class_map)
    if layout.clashing_names:
        raise ImportRefused(f"{layout.folder}: {'; '.join(layout.clashing_names.values())}: import the two apart.")
    names = _names(layout, classes)
    by_name = targets_by_name(class_map)
    targets: dict[str, Target] = {}
    unnamed: dict[str, ClassUse] = {}
    unmapped: dict[str, ClassUse] = {}
    led: set[str] = set()
    for source in sorted({*names.by_id, *layout.classes}, key=lambda one: (len(one), one)):
        use, name = layout.classes.get(source), names.by_id.get(source)
        given = [same_name(old) for old in (name, source) if old is not None and same_name(old) in options]
        if given:
            led.update(given)
            targets[source] = options[given[0]]
            if options[given[-1]] != targets[source]:
                raise ImportRefused(f"--map gives class {source} one meaning as {name} and another as {source}.")
        elif name is not None and same_name(name) in by_name:
            targets[source] = by_name[same_name(name)]
        elif use is not None and name is None:
            unnamed[source] = use
        elif use is not None:
            unmapped[source] = use
    if unmapped:
        shown = {source: names.by_id[source] for source in unmapped}
        raise ClassesUnmapped(layout.folder, shown, unmapped, _listed(class_map))
    if unknown := {source: use for source, use in layout.nameless.items() if same_name(source) not in options}:
        raise ClassesUnknown(layout.folder, unknown, by_number=False)
    _check_slips(layout, unnamed, targets, names)
    notes = [
        f"class {source} has no name: {use}. These files go to quarantine; correct them, or say what it is, as in "
        f"--map {source}={class_map.names[0]} or --map {source}={LEFT_OUT}"
        for source, use in unnamed.items()
    ]
    notes += layout.notes
    notes += [f"--map {old}: no class of the folder is called so" for old in mapping if same_name(old) not in led]
    # An archive is unpacked below a temporary path, which says nothing to a person.
    origin = names.origin.replace(f"{layout.folder}/", "")
    return ClassMapping(targets, names.by_id, (origin or "--map") if targets else "", tuple(notes))


def targets_by_name(class_map: ClassMap) -> dict[str, Target]:
    """Our classes and the causes of hard negatives, by their names as `same_name` writes them."""
    ours: dict[str, Target] = {same_name(cause): cause for cause in class_map.not_damage}
    return ours | {same_name(name): i for i, name in enumerate(class_map.names)}


def _listed(class_map: ClassMap) -> str:
    taken_for_it = f"; no damage, but taken for it: {', '.join(class_map.not_damage)}" if class_map.not_damage else ""
    return f"Ours are {', '.join(class_map.names)}{taken_for_it}."


def option_targets(mapping: Mapping[str, str], class_map: ClassMap) -> dict[str, Target]:
    """What `--map` says, by the folder's name or id of a class as `same_name` writes it.

    Raises:
        ImportRefused: it leads to no class of ours; the message says how one is added.
    """
    by_name = {**targets_by_name(class_map), LEFT_OUT: None}
    wrong = sorted({new for new in mapping.values() if same_name(new) not in by_name})
    if wrong:
        names = ", ".join(f'"{name}"' for name in (*class_map.names, *wrong))
        raise ImportRefused(
            f"--map leads to {', '.join(wrong)}, and the classes are {', '.join(class_map.names)}. "
            f"{_listed(class_map)} {LEFT_OUT} leaves a class out. A new class needs these lines in carsdepo.toml "
            f"first: [class_map], version = {class_map.version + 1}, names = [{names}]."
        )
    targets: dict[str, Target] = {}
    for old, new in mapping.items():
        target = by_name[same_name(new)]
        if targets.setdefault(same_name(old), target) != target:
            raise ImportRefused(f"--map gives {old} two meanings, {new} and another: say one of them.")
    return targets


def _names(layout: Layout, classes: str | None) -> ClassNames:
    """The names of the folder's classes, by the class as its label files write it."""
    named = ClassNames(dict(layout.class_names), "the label files themselves" if layout.class_names else "")
    if layout.formats and layout.formats != ["yolo"] and classes is not None:
        raise ImportRefused("--classes names the class ids of YOLO labels, and these name their classes themselves.")
    if layout.formats and "yolo" not in layout.formats:
        return named
    try:
        by_file = None
        if classes is None:
            lists = [use.real for use in layout.of(FileKind.NAMES, copied=False)]
            by_file = find_class_names(layout.folder, lists)
        listed = names_of_option(classes) if classes is not None else by_file
    except ClassNamesError as error:
        raise ImportRefused(str(error)) from error
    if listed is None:
        return named
    return ClassNames({**listed.by_id, **named.by_id}, ", ".join(filter(None, (listed.origin, named.origin))))


def _check_slips(layout: Layout, unnamed: Mapping[str, ClassUse], targets: ClassTargets, names: ClassNames) -> None:
    """Refuses classes without a name where they are no slips.

    Raises:
        ClassesUnknown: no class that is used has a name.
        ImportRefused: the ids look as if they began at 1.
    """
    if not unnamed:
        return
    if not any(source in targets for source in layout.classes):
        raise ClassesUnknown(layout.folder, unnamed, "yolo" in layout.formats, names.origin)
    shift = _shift(unnamed, layout, names, targets)
    if shift is not None:
        meant = {source: names.by_id[str(int(source) - shift)] for source in layout.classes}
        listed = " ".join(f"--map {source}={meant[source]}" for source in sorted(meant, key=int))
        raise ImportRefused(
            f"{layout.folder}: the label files use the class ids {_listed_ids(layout.classes)}, and {names.origin} "
            f"names {_listed_ids(names.by_id)}: do their ids begin at {1 if shift > 0 else 0}? Say it by {listed}, "
            "or else what each class is."
        )


def _shift(unnamed: Mapping[str, ClassUse], layout: Layout, names: ClassNames, targets: ClassTargets) -> int | None:
    """By how much all ids that are used are off those that have names; None where they are not off by one.

    A single slip is no shift: one id of many, with the first class in use.
    """
    numbers = [int(source) for source in layout.classes if source.isdecimal() and len(source) < 10]
    named = {int(source) for source in names.by_id if source.isdecimal() and len(source) < 10}
    if len(numbers) < len(layout.classes) or not named:
        return None
    for shift in (1, -1):
        off = {number - shift for number in numbers}
        beyond = max(named) + 1 if shift > 0 else min(named) - 1
        if off <= named and set(unnamed) == {str(beyond)} and all(str(number) in targets for number in off):
            return shift
    return None


def _listed_ids(ids: Iterable[str]) -> str:
    numbers = sorted(int(source) for source in ids if source.isdecimal() and len(source) < 10)
    return f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
