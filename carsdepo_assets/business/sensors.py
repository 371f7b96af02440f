"""The sensor that starts the business job when business files are new or changed."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import dagster as dg

from carsdepo_assets.business.jobs import BUSINESS_JOB, business_job
from carsdepo_assets.orchestration.attempts import attempts
from carsdepo_assets.orchestration.run_states import under_way
from carsdepo_assets.resources import LakeResource, PolicyResource

FILES_TAG = "carsdepo/business_files"


@dg.sensor(
    job=business_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts the business job when a file in raw/business is new or changed since it was read.",
)
def new_business_files(
    context: dg.SensorEvaluationContext, lake: LakeResource, policy: PolicyResource
) -> dg.RunRequest | dg.SkipReason:
    """Asks for a run of the business job for each new state of the files, until too many runs have failed."""
    from carsdepo_assets.business.contracts import KINDS
    from carsdepo_assets.business.file_states import changed_files, new_files

    opened_lake, thresholds = lake.open(), policy.read()
    files = [entry for kind in KINDS for entry in new_files(opened_lake, kind)]
    if not files:
        return dg.SkipReason(f"Nothing new in {opened_lake.url}/raw/business.")
    if under_way(context.instance, BUSINESS_JOB):
        return dg.SkipReason(f"A run is under way; {len(files)} new files wait for it.")
    ages = [(datetime.now(UTC) - entry.modified_at).total_seconds() for entry in files]
    # A file from the future (a clock that is ahead, `touch`) would never settle: it is read as it is.
    if any(0 <= age < thresholds.business.settle_s for age in ages):
        return dg.SkipReason(
            f"The newest file is under {thresholds.business.settle_s:g} s old: it may be being written."
        )
    files = [entry for kind in KINDS for entry in changed_files(opened_lake, kind, thresholds)]
    if not files:
        return dg.SkipReason(
            f"Nothing new in {opened_lake.url}/raw/business: files have another time, but the same bytes."
        )
    listing = "".join(f"{o.key}\0{o.size}\0{o.modified_at.isoformat()}\0{o.etag}\n" for o in files)
    state = hashlib.sha256(listing.encode()).hexdigest()[:16]
    tried = attempts(context.instance, BUSINESS_JOB, {FILES_TAG: state})
    counted = tried.counted(thresholds.runs.max_interruptions)
    if counted >= thresholds.business.max_attempts:
        return dg.SkipReason(
            f"{counted} runs over these {len(files)} files failed; their logs say why. "
            "A changed file, or a run of the job `business` by hand, starts the next attempt."
        )
    return dg.RunRequest(run_key=f"business:{state}:{tried.next_number}", tags={FILES_TAG: state})
