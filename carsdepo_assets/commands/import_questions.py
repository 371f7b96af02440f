"""Asks on a terminal what an import cannot know, and names the options that would have answered."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy

if TYPE_CHECKING:
    from carsdepo_assets.data.imports.import_copying import ImportResult


@dataclass(frozen=True)
class ImportOptions:
    """What a user said about a folder."""

    form: str = "auto"
    """Format of the labels."""
    mapping: Mapping[str, str] = field(default_factory=dict)
    """The new name by the folder's name or id of a class."""
    classes: str | None = None
    """Names of the ids 0, 1 and so on, with commas."""
    name: str | None = None
    """Of the import; None: the folder's."""
    resplit: bool = False
    """Deal the photographs to splits anew, whatever split the folder comes with."""
    annotator: str | None = None
    """Who drew the labels that name nobody themselves."""
    licence: str | None = None
    """Of photographs and labels."""
    claimed_by: str | None = None
    """Who says so; None: the user."""

    def import_folder(
        self,
        lake: Lake | None,
        folder: Path,
        policy: Policy,
        now: datetime,
        origin: str | None = None,
        progress: Callable[[int, int], None] | None = None,
        dry_run: bool = False,
    ) -> ImportResult:
        """Imports a folder as the user said; the arguments are those of data.importing.import_folder."""
        from carsdepo_assets.data.imports.importing import import_folder

        return import_folder(
            lake,
            folder,
            self.form,
            self.mapping,
            policy,
            now,
            origin=origin,
            name=self.name,
            progress=progress,
            classes=self.classes,
            resplit=self.resplit,
            dry_run=dry_run,
            annotator=self.annotator,
            licence=self.licence,
            claimed_by=self.claimed_by,
        )

    def flags(self) -> str:
        """The options as on a command line."""
        parts = [] if self.form == "auto" else ["--format", self.form]
        if self.classes is not None:
            parts += ["--classes", self.classes]
        for old, new in self.mapping.items():
            parts += ["--map", f"{old}={new}"]
        named = (
            ("--name", self.name),
            ("--annotator", self.annotator),
            ("--licence", self.licence),
            ("--claimed-by", self.claimed_by),
        )
        for flag, given in named:
            parts += [] if given is None else [flag, given]
        parts += ["--resplit"] if self.resplit else []
        return shlex.join(parts)


def on_terminal() -> bool:
    """Whether a person can be asked: both stdin and stdout are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def settled(
    lake: Lake | None,
    folder: Path,
    options: ImportOptions,
    policy: Policy,
    ask: Callable[[str, Iterable[str]], str],
    say: Callable[[str], None],
) -> ImportOptions:
    """The options with what the person answered; nothing is copied meanwhile.

    Args:
        lake: where it is imported to; None: there is none yet.
        folder: the folder to import.
        options: as given on the command line.
        policy: the class map has the answers that are possible.
        ask: puts a question with its possible answers, and returns one of these.
        say: prints a line.

    Raises:
        ImportRefused: what no answer settles.
    """
    from carsdepo_assets.data.imports.class_mapping import LEFT_OUT
    from carsdepo_assets.data.imports.importing import ClassesUnknown, ClassesUnmapped, FormatsConflict

    answers = (*policy.class_map.names, *policy.class_map.not_damage, LEFT_OUT)
    now, given = datetime.now(UTC), options
    while True:
        try:
            options.import_folder(lake, folder, policy, now, dry_run=True)
        except FormatsConflict as conflict:
            say(str(conflict))
            form = ask("Which labels count?", conflict.formats)
            options = replace(options, form=form)
        except (ClassesUnknown, ClassesUnmapped) as unknown:
            names = getattr(unknown, "names", {})
            mapping = dict(options.mapping)
            if unknown.reminder:
                say(unknown.reminder)
            for source, use in unknown.uses.items():
                old = names.get(source, source)
                mapping[old] = ask(f"What is class {old}? ({use})", answers)
            options = replace(options, mapping=mapping)
        else:
            break
    if options != given:
        say(f"The same without questions: {options.flags()}")
    return options
