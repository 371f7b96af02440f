"""The commands serve, send, sign, approve, reject, rollback and golden."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from carsdepo_assets.commands.options import AsJson, Home, err, explained, out, print_json, read_settings
from carsdepo_assets.commands.terminal import log_of, quietly
from carsdepo_assets.settings import Settings
from carsdepo_assets.settings_variables import plain

golden = typer.Typer(
    no_args_is_help=True, help="The golden test set, on which a new model is compared with the one in production."
)
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept in the ledger.")]
Version = Annotated[str, typer.Argument(help="A version number, a digest (or its first digits), or latest.")]
Stage = Literal["staging", "production"]
_SHOWN_FAILURES = 10  # shown; the rest is counted


def serve(
    stage: Annotated[Stage, typer.Option("--stage", help="The stage whose model is served.")],
    host: Annotated[str, typer.Option("--host")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option("--port", help="Default: 8000 for production, 8001 for staging.")] = None,
    home: Home = None,
) -> None:
    """Run the inspection service of a stage until Ctrl-C. Its first page leads to the reports."""
    from carsdepo_assets.commands.serving import run

    with explained():
        code = run(Settings.read(home=home), stage, host, port)
    raise typer.Exit(code)


def send(
    folder: Path,
    stage: Annotated[Stage, typer.Option("--stage", help="The stage whose service gets them.")] = "production",
    url: Annotated[str | None, typer.Option("--url", help="The address of another service.")] = None,
    clients: Annotated[int, typer.Option("--clients", min=1, max=64, help="Requests at a time.")] = 4,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Send a folder's photographs to a service; a manifest.csv there gives camera, region, uploader and listing."""
    from carsdepo_assets.commands.sending import send_folder

    settings = read_settings(home)
    with explained(), err.status("sending") as status:
        result = send_folder(
            url or settings.service_url(stage),
            folder,
            api_key=plain(settings.api_key),
            concurrency=clients,
            progress=lambda i, n: status.update(f"{i} of {n} photographs"),
        )
    if as_json:
        print_json(vars(result))
    else:
        table = Table("decision", "photographs", title=f"{result.answered} answered at {result.per_second:.1f}/s")
        for decision, count in sorted(result.by_decision.items()):
            table.add_row(decision, str(count))
        out.print(table)
        if result.prediction_ids:
            out.print(
                f"The last one: `carsdepo lineage --prediction {result.prediction_ids[-1]}`; --json lists every id.",
                highlight=False,
                soft_wrap=True,
            )
        for file, why in result.failures[:_SHOWN_FAILURES]:
            err.print(f"not answered: {file}: {why}", highlight=False, soft_wrap=True)
        if result.failures[_SHOWN_FAILURES:]:
            err.print(f"… and {len(result.failures) - _SHOWN_FAILURES} more")
    raise typer.Exit(1 if result.failures else 0)


def sign(version: Version, home: Home = None) -> None:
    """Sign a model whose files you know to be right; training and staging sign what they make by themselves."""
    from carsdepo_assets.commands import signing

    settings = read_settings(home)
    with explained():
        message = signing.sign(settings, version)
    out.print(message, highlight=False, soft_wrap=True)


def approve(version: Version, reason: Reason, home: Home = None) -> None:
    """Approve a model, whatever the gate decided, and promote it at once if it passed validation at staging."""
    _record_decision("approve", version, reason, home)


def reject(version: Version, reason: Reason, home: Home = None) -> None:
    """Reject a model: it is not promoted automatically until a person approves it."""
    _record_decision("reject", version, reason, home)


def rollback(
    reason: Reason,
    stage: Annotated[Literal["production"], typer.Option("--stage", help="Only production can be rolled back.")],
    home: Home = None,
) -> None:
    """Put the previous model back into production; the present one is barred from automatic promotion."""
    from carsdepo_assets.commands import decisions
    from carsdepo_assets.commands.pipeline import Pipeline

    settings = read_settings(home)
    with explained():
        event = decisions.enter_rollback(settings, reason)
    err.print(
        f"Ledger event {event.sequence}: production goes back to model {event.digest}. Waiting for its service, and "
        "recording it as a run in Dagster …",
        highlight=False,
        soft_wrap=True,
    )
    with explained(), quietly(log_of(settings, "release"), out), Pipeline.open(settings, alone=False) as pipeline:
        message = decisions.finish_rollback(pipeline, event)
    out.print(message, highlight=False, soft_wrap=True)


@golden.command()
def extend(reason: Reason, home: Home = None) -> None:
    """Make a new version of the golden set: photographs held out and labelled since the last version join it."""
    from carsdepo_assets.commands.pipeline import Pipeline
    from carsdepo_assets.lake import golden as sets
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.orchestration.attribution import USER_TAG
    from carsdepo_assets.registry.ledger import person

    settings = read_settings(home)
    _announce()
    with explained(), quietly(log_of(settings, "release"), out), Pipeline.open(settings, alone=False) as pipeline:
        config = {"reason": reason, "actor": person()}
        pipeline.run("extend_golden", ops={"extend_golden_set": {"config": config}}, tags={USER_TAG: config["actor"]})
        now = sets.current(Lake.open(settings.lake))
    assert now is not None
    out.print(f"Golden set {now.version}: {len(now.images)} photographs.", highlight=False)


def _record_decision(action: str, version: str, reason: str, home: Path | None) -> None:
    from carsdepo_assets.commands import decisions
    from carsdepo_assets.commands.pipeline import Pipeline

    settings = read_settings(home)
    _announce()
    with explained(), quietly(log_of(settings, "release"), out), Pipeline.open(settings, alone=False) as pipeline:
        message = getattr(decisions, action)(pipeline, version, reason)
    out.print(message, highlight=False, soft_wrap=True)


def _announce() -> None:
    """A line at once, since the first output else comes after the imports and the run."""
    err.print("Carried out as a run that Dagster records: some seconds …", highlight=False)
