"""The commands doctor, dev, import and train."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from carsdepo_assets.commands.loop_steps import Budget, Loop, bring_in, lake_that_is, look, take_in_place
from carsdepo_assets.commands.loop_steps import train as train_steps
from carsdepo_assets.commands.loop_table import show_loop
from carsdepo_assets.commands.options import (
    Annotator,
    AsJson,
    ClaimedBy,
    ClassList,
    DetectorName,
    Home,
    Licence,
    Mapping,
    Minutes,
    Resplit,
    Steps,
    class_mapping,
    explained,
    out,
    print_json,
    read_settings,
    say,
    say_plainly,
)
from carsdepo_assets.commands.progress import unwatched, watch_on
from carsdepo_assets.commands.terminal import log_of, quietly
from carsdepo_assets.settings import Settings


def doctor(home: Home = None, as_json: AsJson = False) -> None:
    """Check this machine: Python, packages, memory, disk, ports, GPU. Exit code 1 where something needed is missing."""
    from carsdepo_assets.commands.doctor import examine

    findings = examine(read_settings(home))
    if as_json:
        print_json([vars(f) for f in findings])
    else:
        table = Table("", "what", "value")
        table.add_column("to do", overflow="fold")
        for f in findings:
            table.add_row(
                "[green]ok[/]" if f.ok else "[red]no[/]",
                f.what,
                f.value,
                "" if f.ok and f.value != "absent" else f.advice,
            )
        out.print(table)
    raise typer.Exit(0 if all(f.ok for f in findings) else 1)


def dev(home: Home = None) -> None:
    """Start Dagster with its sensors, MLflow and both inspection services; Ctrl-C ends them."""
    from carsdepo_assets.commands.dev import run

    with explained():
        code = run(Settings.read(home=home))
    raise typer.Exit(code)


def import_(
    source: Annotated[
        str, typer.Argument(help="A folder, a .zip or .tar archive, or s3://bucket/prefix.", show_default=False)
    ],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="Format of the labels: yolo, coco, voc, cvat, labelme, labelstudio, groundtruth or datumaro; auto: as "
            "their content says.",
        ),
    ] = "auto",
    mapping: Mapping = None,
    classes: ClassList = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the import; default: the folder's. Another name is another import."),
    ] = None,
    annotator: Annotator = None,
    resplit: Resplit = False,
    licence: Licence = None,
    claimed_by: ClaimedBy = None,
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="Copy nothing: SOURCE is raw/uploads/NAME of the lake, with raw/labels/NAME."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look only: print the account and copy nothing.")] = False,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Copy photographs and labels into the lake and ingest them. Exit code 1: they did not come in whole."""
    from carsdepo_assets.commands.import_account_view import show_account
    from carsdepo_assets.commands.import_questions import ImportOptions, on_terminal, settled
    from carsdepo_assets.commands.pipeline import Pipeline
    from carsdepo_assets.data.imports.folder_recognition import FORMATS
    from carsdepo_assets.data.imports.import_names import annotator_name
    from carsdepo_assets.data.imports.import_refusals import ImportRefused
    from carsdepo_assets.data.imports.import_sources import folder_of, remove_left_over

    formats = ("auto", *FORMATS)
    if form not in formats:
        raise typer.BadParameter(f"{form!r} is none of {', '.join(formats)}", param_hint="--format")
    if annotator is not None:
        try:
            annotator = annotator_name(annotator)
        except ImportRefused as error:
            raise typer.BadParameter(str(error), param_hint="--annotator") from error
    if claimed_by is not None and licence is None:
        raise typer.BadParameter("says who claims a licence: give it with --licence", param_hint="--claimed-by")
    options = ImportOptions(form, class_mapping(mapping), classes, name, resplit, annotator, licence, claimed_by)
    settings, loop = read_settings(home), Loop()
    told, watch = ((lambda text: None), unwatched) if as_json else (say, watch_on(out))
    if in_place:
        if dry_run or as_json or name is not None or resplit or annotator is not None or licence is not None:
            raise typer.BadParameter(
                "takes none of --dry-run, --json, --name, --annotator, --licence and --resplit", param_hint="--in-place"
            )
        with explained(), quietly(log_of(settings, "import"), out), Pipeline.open(settings, "INFO") as pipeline:
            take_in_place(pipeline, loop, source, classes, options.mapping, told, watch)
        _show_steps(loop)
        return
    with explained(), ExitStack() as held:
        if removed := remove_left_over(source, settings.home / "sources", datetime.now(UTC)):
            told(removed)
        with watch("downloading", "objects") as advance:
            folder = held.enter_context(folder_of(source, settings.home / "sources", advance))
        if on_terminal() and not as_json:
            options = settled(lake_that_is(settings), folder, options, settings.policy(), _ask, say_plainly)
        if dry_run:
            account = look(settings, folder, options)
        else:
            with quietly(log_of(settings, "import"), out), Pipeline.open(settings, "INFO") as pipeline:
                account = bring_in(pipeline, loop, folder, options, None, told, watch)
    if as_json:
        print_json(account.as_json())
    else:
        _show_steps(loop)
        show_account(account, out)
    raise typer.Exit(1 if account.failures else 0)


def _show_steps(loop: Loop) -> None:
    for step in loop.steps:
        out.print(f"{step.name}: {step.outcome} ({step.seconds:.1f} s)", highlight=False, markup=False, soft_wrap=True)


def _ask(question: str, answers: Iterable[str]) -> str:
    possible = list(answers)
    while True:
        given = str(typer.prompt(f"{question} [{', '.join(possible)}]")).strip()
        for answer in possible:
            if answer.casefold() == given.casefold():
                return answer
        say_plainly(f"{given} is none of these.")


def train(minutes: Minutes = None, steps: Steps = None, detector: DetectorName = None, home: Home = None) -> None:
    """Train a model on the labels of now, evaluate it and register it (the `train` job)."""
    from carsdepo_assets.commands.pipeline import Pipeline

    settings, loop = read_settings(home), Loop()
    length = Budget(steps, minutes)
    with explained(), quietly(log_of(settings, "train"), out), Pipeline.open(settings, "INFO") as pipeline:
        train_steps(pipeline, loop, say, watch=watch_on(out), length=length, detector=detector)
    show_loop(loop, settings)
