"""The registry of families: the built-in ones, those that other packages bring, and those that a program registers.

A package brings a family by an entry point of the group `carsdepo.detectors`, which names a `Family` or a sequence of
them. Trainings, exports and services are processes of their own, and find it there without any import by the user.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from carsdepo_assets.families.built_in import BUILT_IN
from carsdepo_assets.families.family import Family

GROUP = "carsdepo.detectors"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FILE = re.compile(r"[A-Za-z0-9][\w.+-]*")
_RESERVED = {"auto"}  # what the policy says where it names no family

logger = logging.getLogger(__name__)


class UnknownFamily(ValueError):
    """No family has the name; the message lists those that there are."""


class FamilyError(ValueError):
    """A family that cannot be registered."""


_families: dict[str, Family] = {}
_broken: dict[str, str] = {}  # what each entry point that failed says, by its name
_asked_packages = False


def register(family: Family) -> None:
    """Adds a family for this process. The same family again changes nothing.

    Args:
        family: The family.

    Raises:
        FamilyError: Its name is another family's, or cannot be a name, or its weights have no name of a file.
    """
    if not _NAME.fullmatch(family.name) or family.name in _RESERVED:
        raise FamilyError(f"{family.name!r} cannot name a family: small letters, digits and underscores, not 'auto'.")
    if family.pretrained is not None and not _FILE.fullmatch(family.pretrained.file):
        raise FamilyError(
            f"{family.pretrained.file!r} of {family.name} is no file name: it lies in the home's weights/."
        )
    standing = _families.get(family.name)
    if standing is not None and standing != family:
        raise FamilyError(f"two families are named {family.name!r}: {standing.title} and {family.title}.")
    _families[family.name] = family


def unregister(name: str) -> None:
    """Takes back what `register` added; a name that is not there changes nothing."""
    _families.pop(name, None)


def family_of(name: str) -> Family:
    """The family of a name.

    Raises:
        UnknownFamily: There is none.
    """
    if name not in _families:
        _ask_packages()
    if name not in _families:
        failed = "".join(f" The entry point {entry} could not be read: {why}." for entry, why in _broken.items())
        raise UnknownFamily(f"no detector named {name!r}: there are {', '.join(names())}.{failed}")
    return _families[name]


def names() -> tuple[str, ...]:
    """The names of all families, the built-in ones first."""
    _ask_packages()
    return tuple(_families)


def known_family(name: str) -> str:
    """The name itself, for the validation of fields. Raises UnknownFamily, a ValueError, where there is no such one."""
    return family_of(name).name


def known_family_or_auto(name: str) -> str:
    """As `known_family`; `auto` is taken as well."""
    return name if name == "auto" else known_family(name)


def title_of(name: str) -> str:
    """The family's title; the name where the family is gone, as a package's that was removed."""
    try:
        return family_of(name).title
    except UnknownFamily:
        return name


def _ask_packages() -> None:
    """Registers the families that installed packages bring, once. One that fails is named in a warning."""
    global _asked_packages
    if _asked_packages:
        return
    _asked_packages = True
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        try:
            for family in _brought(entry):
                register(family)
        except (Exception, SystemExit) as error:  # whatever another package's code raises must not take ours down
            _broken[entry.name] = f"{type(error).__name__}: {error}"
            logger.warning("The entry point %s of %s could not be read: %s", entry.name, GROUP, _broken[entry.name])


def _brought(entry: EntryPoint) -> Sequence[Family]:
    named = entry.load()
    families = [named] if isinstance(named, Family) else list(named)
    strangers = [f for f in families if not isinstance(f, Family)]
    if strangers:
        raise FamilyError(f"it names {strangers[0]!r}, which is no Family")
    return families


for _family in BUILT_IN:
    register(_family)
