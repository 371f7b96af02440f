"""New business files start the business job; the KPIs are also made anew every morning."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import dagster as dg

from carsdepo_assets.business.jobs import BUSINESS_JOB, business_job
from carsdepo_assets.orchestration.run_states import attempts, under_way
from carsdepo_assets.resources import LakeResource, PolicyResource

FILES_TAG = "carsdepo/business_files"


@dg.sensor(
    job=business_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Compares the files in raw/business with those that are in the tables: state, not events.",
)
def new_business_files(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource
) -> dg.RunRequest | dg.SkipReason:
    from carsdepo_assets.business.contracts import KINDS
    from carsdepo_assets.business.ingest import changed_files, new_files

    opened, rules = lake.open(), policy.read()
    files = [entry for kind in KINDS for entry in new_files(opened, kind)]
    if not files:
        return dg.SkipReason(f"Nothing new in {opened.url}/raw/business.")
    if under_way(context.instance, BUSINESS_JOB):
        return dg.SkipReason(f"A run is under way; {len(files)} new files wait for it.")
    ages = [(datetime.now(UTC) - entry.modified_at).total_seconds() for entry in files]
    # A file from the future (a clock that is ahead, `touch`) would never settle: it is read as it is.
    if any(0 <= age < rules.business.settle_s for age in ages):
        return dg.SkipReason(f"The newest file is under {rules.business.settle_s:g} s old: it may be being written.")
    files = [entry for kind in KINDS for entry in changed_files(opened, kind, rules)]
    if not files:
        return dg.SkipReason(f"Nothing new in {opened.url}/raw/business: files have another time, but the same bytes.")
    said = "".join(f"{o.key}\0{o.size}\0{o.modified_at.isoformat()}\n" for o in files)
    state = hashlib.sha256(said.encode()).hexdigest()[:16]
    tried = attempts(context.instance, BUSINESS_JOB, {FILES_TAG: state})
    counted = tried.counted(rules.runs.max_interruptions)
    if counted >= rules.business.max_attempts:
        return dg.SkipReason(
            f"{counted} runs over these {len(files)} files did not finish: see them; "
            "a new file or a manual run of `business` starts the next."
        )
    return dg.RunRequest(run_key=f"business:{state}:{tried.runs + 1}", tags={FILES_TAG: state})
