"""How a worker reports: through Pipes where Dagster started it, on stdout elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from carsdepo_assets.redaction import redact, scrub

if TYPE_CHECKING:
    from dagster_pipes import PipesContext


CHANNEL_VARIABLE = "CARSDEPO_PIPES_CHANNEL"  # S3: the step and its worker talk through a bucket
S3 = "s3"


class Events(Protocol):
    """Where a worker reports to."""

    def log(self, line: str) -> None:
        """One line for people."""
        ...

    def report(self, result: Mapping[str, Any], data_version: str) -> None:
        """The result, once: figures and texts by name; a list of rows becomes a table."""
        ...


class StdoutEvents:
    """One line each; the report is one line of JSON."""

    def log(self, line: str) -> None:
        print(line, flush=True)

    def report(self, result: Mapping[str, Any], data_version: str) -> None:
        print(json.dumps({"data_version": data_version, **result}), flush=True)


class PipesEvents:
    """Lines go to the Dagster run's log; the report becomes the asset's materialization."""

    def __init__(self, context: PipesContext) -> None:
        self._context = context

    def log(self, line: str) -> None:
        line = redact(line)
        print(line, flush=True)  # for whoever watches the process: a terminal, or the run's compute log
        self._context.log.info(line)

    def report(self, result: Mapping[str, Any], data_version: str) -> None:
        metadata = {k: _shown(v) for k, v in result.items() if v is not None}
        self._context.report_asset_materialization(metadata=metadata, data_version=data_version)


def table(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows as the table metadata of Pipes: every row has every column, numbers have four significant digits."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    records = [{c: _cell(row.get(c)) for c in columns} for row in rows]
    texts = {c for row in rows for c, value in row.items() if isinstance(value, str)}
    return {
        "records": records,
        "schema": [{"name": c, "type": "string" if c in texts else "float"} for c in columns],
    }


@contextmanager
def open_events() -> Iterator[Events]:
    """Pipes where Dagster started this process, else stdout; errors that reach Dagster carry no password."""
    from dagster_pipes import PipesEnvVarParamsLoader, open_dagster_pipes

    loader = PipesEnvVarParamsLoader()
    if not loader.is_dagster_pipes_process():
        yield StdoutEvents()
        return
    if os.environ.get(CHANNEL_VARIABLE) == S3:
        import boto3
        from dagster_pipes import PipesS3ContextLoader

        from carsdepo_assets.compute.worker.s3_writer import S3IncarnationWriter

        client = boto3.client("s3")
        pipes = open_dagster_pipes(
            context_loader=PipesS3ContextLoader(client=client), message_writer=S3IncarnationWriter(client)
        )
    else:
        pipes = open_dagster_pipes()
    with pipes as context:
        try:
            yield PipesEvents(context)
        except Exception as error:
            scrub(error)  # the channel reports it; errors of HTTP and database libraries quote whole URLs
            raise


def _shown(value: Any) -> Any:
    if isinstance(value, list):
        return {"type": "table", "raw_value": table(value)}
    return _short(value) if isinstance(value, float) else value


def _cell(value: Any) -> float | str:
    if value is None or isinstance(value, str):
        return value or ""
    return _short(float(value))


def _short(value: float) -> float:
    return float(f"{value:.4g}")
