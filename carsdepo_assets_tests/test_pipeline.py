"""What the shell's runner of jobs and sensors makes of their failures."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from carsdepo_assets.commands.pipeline import Pipeline, PipelineError
from carsdepo_assets.resources import NoService
from carsdepo_assets.settings import Settings


def test_a_sensor_that_misses_a_service_names_it(tmp_path: Path) -> None:
    @dg.sensor(job_name="none")
    def asks(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        raise NoService("No staging service answers: start it")

    with dg.DagsterInstance.ephemeral() as instance:
        pipeline = Pipeline(Settings.read({}, home=tmp_path), instance)
        pipeline.definitions = dg.Definitions(sensors=[asks], jobs=[dg.GraphDefinition(name="none").to_job()])
        with pytest.raises(PipelineError, match="asks: No staging service answers"):
            pipeline.tick("asks")
