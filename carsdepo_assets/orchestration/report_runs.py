"""The runs that drift reports ask for in the steps after monitoring: one a report, and another one after a kill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dagster as dg

from carsdepo_assets.orchestration.attempts import next_runs, numbered_key


def runs_of_reports(
    instance: dg.DagsterInstance,
    job: str,
    tag: str,
    *,
    work: str,
    asset: str,
    report_ids: Sequence[str],
    max_interruptions: int,
) -> Iterator[dg.RunRequest]:
    """The runs to request now, as `attempts.next_run` decides for each report.

    Args:
        instance: whose runs are looked at.
        job: the job that is asked for.
        tag: names the report on the job's runs.
        work: begins the run keys.
        asset: the job's asset whose config takes the report_id.
        report_ids: the reports that ask for a run.
        max_interruptions: policy.runs.max_interruptions.
    """
    for report_id, number in next_runs(instance, job, tag, report_ids, max_interruptions):
        yield dg.RunRequest(
            run_key=numbered_key(f"{work}:{report_id}", number),
            run_config={"ops": {asset: {"config": {"report_id": report_id}}}},
            tags={tag: report_id},
        )
