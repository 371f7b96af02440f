"""The command dataset build."""

from __future__ import annotations

from typing import Any

import typer

from carsdepo_assets.commands.options import (
    AsJson,
    Home,
    explained,
    lake_that_stands,
    out,
    print_json,
    read_settings,
    say,
)
from carsdepo_assets.commands.terminal import log_of, quietly

dataset = typer.Typer(
    no_args_is_help=True, help="Versions of the dataset, which trainings learn from and exports write."
)


@dataset.command()
def build(as_json: AsJson = False, home: Home = None) -> None:
    """Build the dataset from the labels of now, without a training; the same labels give the same version again."""
    from carsdepo_assets.commands.pipeline import Pipeline, PipelineError

    settings = read_settings(home)
    with explained():
        lake_that_stands(settings)
        with quietly(log_of(settings, "dataset"), out), Pipeline.open(settings, "INFO") as pipeline:
            if not as_json:
                say("dataset")
            result = pipeline.run("build_dataset")
        events = result.asset_materializations_for_node("dataset")
        if not events:
            raise PipelineError(f"build_dataset: dataset left no materialization (run {result.run_id}).")
        facts: dict[str, Any] = {k: getattr(v, "value", v) for k, v in events[-1].metadata.items()}
    summary: dict[str, Any] = facts["summary"]
    told = {"version": facts["version"], "photographs": facts["dagster/row_count"], "notes": summary["notes"]}
    told["licences"] = summary.get("licences", [])
    if as_json:
        print_json(told)
        return
    for one in told["licences"]:
        who = f", claimed by {one['claimed_by']}" if one["claimed_by"] else ""
        line = f"licence of {one['of']}: {one['licence']}{who} ({one['photographs']} photographs)"
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    for note in told["notes"]:
        out.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    line = f"dataset: version {told['version']}, {told['photographs']} photographs"
    out.print(line, highlight=False, markup=False, soft_wrap=True)
