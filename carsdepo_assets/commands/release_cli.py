"""Commands about what is served: serve, send, approve, reject, rollback, golden."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from carsdepo_assets.commands.options import AsJson, Home, err, explained, out, print_json, read_settings
from carsdepo_assets.commands.terminal import log_of, quietly
from carsdepo_assets.settings import Settings, plain

golden = typer.Typer(no_args_is_help=True, help="The golden test set, on which champion and challenger are compared.")
Reason = Annotated[str, typer.Option("--reason", help="Kept in the ledger.")]
Version = Annotated[str, typer.Argument(help="A version number, a digest (or its first digits), or latest.")]
Stage = Literal["staging", "production"]
_SHOWN_FAILURES = 10  # shown; the rest is counted


def serve(
    stage: Annotated[Stage, typer.Option("--stage", help="What the ledger says this stage serves is served.")],
    host: Annotated[str, typer.Option("--host")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option("--port", help="Default: 8000 for production, 8001 for staging.")] = None,
    home: Home = None,
) -> None:
    """The inspection service of a stage, until Ctrl-C. Production also shows the reports, from its first page."""
    from carsdepo_assets.commands.serving import run

    with explained():
        code = run(Settings.read(home=home), stage, host, port)
    raise typer.Exit(code)


def send(
    folder: Path,
    stage: Annotated[Stage, typer.Option("--stage", help="Whose service gets them.")] = "production",
    url: Annotated[str | None, typer.Option("--url", help="Another service's address.")] = None,
    clients: Annotated[int, typer.Option("--clients", min=1, max=64, help="Requests at a time.")] = 4,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Post a folder's photographs as a client would; its manifest.csv gives camera, region, uploader, listing."""
    from carsdepo_assets.commands.sending import send_folder

    settings = read_settings(home)
    with explained(), err.status("sending") as status:
        done = send_folder(
            url or settings.service_url(stage),
            folder,
            api_key=plain(settings.api_key),
            concurrency=clients,
            progress=lambda i, n: status.update(f"{i} of {n} photographs"),
        )
    if as_json:
        print_json(vars(done))
    else:
        table = Table("decision", "photographs", title=f"{done.answered} answered at {done.per_second:.1f}/s")
        for decision, count in sorted(done.by_decision.items()):
            table.add_row(decision, str(count))
        out.print(table)
        if done.prediction_ids:
            out.print(
                f"The last one: `carsdepo lineage --prediction {done.prediction_ids[-1]}`; --json lists every id.",
                highlight=False,
                soft_wrap=True,
            )
        for file, why in done.failures[:_SHOWN_FAILURES]:
            err.print(f"not answered: {file}: {why}", highlight=False, soft_wrap=True)
        if done.failures[_SHOWN_FAILURES:]:
            err.print(f"… and {len(done.failures) - _SHOWN_FAILURES} more")
    raise typer.Exit(1 if done.failures else 0)


def approve(version: Version, reason: Reason, home: Home = None) -> None:
    """Approve a model over the gate's word, and promote it at once when staging has found it right."""
    _word("approve", version, reason, home)


def reject(version: Version, reason: Reason, home: Home = None) -> None:
    """Reject a model: no machine promotes it until a person approves it."""
    _word("reject", version, reason, home)


def rollback(
    reason: Reason,
    stage: Annotated[Literal["production"], typer.Option("--stage", help="Staging has no past to go back to.")],
    home: Home = None,
) -> None:
    """Production back to the model before; the present one is barred from automatic promotion."""
    from carsdepo_assets.commands import releasing
    from carsdepo_assets.commands.pipeline import Pipeline

    settings = read_settings(home)
    with explained(), quietly(log_of(settings, "release"), out), Pipeline.open(settings, alone=False) as pipeline:
        out.print(releasing.rollback(pipeline, reason), highlight=False, soft_wrap=True)


@golden.command()
def extend(reason: Reason, home: Home = None) -> None:
    """A new version of the golden set: what was held out and labelled since the last one joins it."""
    from carsdepo_assets.commands.pipeline import Pipeline
    from carsdepo_assets.lake import golden as sets
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.registry.ledger import person

    settings = read_settings(home)
    with explained(), quietly(log_of(settings, "release"), out), Pipeline.open(settings, alone=False) as pipeline:
        pipeline.run("extend_golden", ops={"extend_golden_set": {"config": {"reason": reason, "actor": person()}}})
        now = sets.current(Lake.open(settings.lake))
    assert now is not None
    out.print(f"Golden set {now.version}: {len(now.images)} photographs.", highlight=False)


def _word(action: str, version: str, reason: str, home: Path | None) -> None:
    from carsdepo_assets.commands import releasing
    from carsdepo_assets.commands.pipeline import Pipeline

    settings = read_settings(home)
    with explained(), quietly(log_of(settings, "release"), out), Pipeline.open(settings, alone=False) as pipeline:
        said = getattr(releasing, action)(pipeline, version, reason)
    out.print(said, highlight=False, soft_wrap=True)
