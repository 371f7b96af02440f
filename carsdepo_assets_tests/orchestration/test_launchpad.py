"""orchestration/launchpad.py: every job opens in the launchpad with run config that Dagster accepts."""

from __future__ import annotations

import dagster as dg
import pytest
import yaml
from dagster._core.snap import JobSnap
from dagster._core.snap.snap_to_yaml import default_values_yaml_from_type_snap

from carsdepo_assets.data.jobs import ExtendGolden
from carsdepo_assets.definitions import defs
from carsdepo_assets.orchestration.launchpad import REASON_EXAMPLE
from carsdepo_assets.release.jobs import DecisionConfig, RollbackConfig


def launchpad(job: dg.JobDefinition) -> dict[str, object]:
    """What the UI fills in: `rootDefaultYaml` of GraphQL, computed by the same function."""
    snapshot = JobSnap.from_job_def(job)
    key = snapshot.mode_def_snaps[0].root_config_key
    assert key is not None
    schema = snapshot.config_schema_snapshot
    return dict(yaml.safe_load(default_values_yaml_from_type_snap(schema, schema.get_config_snap(key))) or {})


JOBS = sorted(job.name for job in defs().resolve_all_job_defs() if not job.name.startswith("__"))


@pytest.mark.parametrize("name", JOBS)
def test_the_launchpad_opens_without_an_error(name: str) -> None:
    job = defs().resolve_job_def(name)
    filled = launchpad(job)
    filled.pop("resources", None)  # shown from the code location's own values
    dg.validate_run_config(job, filled)


@pytest.mark.parametrize("name", ["approve_model", "reject_model", "rollback_production", "extend_golden"])
def test_a_person_finds_an_example_to_change(name: str) -> None:
    assert REASON_EXAMPLE in str(launchpad(defs().resolve_job_def(name)))


@pytest.mark.parametrize("reason", [REASON_EXAMPLE, "", "  "])
def test_the_example_is_no_reason(reason: str) -> None:
    for config in (RollbackConfig, ExtendGolden):
        with pytest.raises(ValueError, match="write why"):
            config(reason=reason)
    with pytest.raises(ValueError, match="write why"):
        DecisionConfig(version="latest", reason=reason)
    assert DecisionConfig(version="latest", reason="seen by eye").reason == "seen by eye"
