"""The sensor that publishes the loop's figures to CloudWatch."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from carsdepo_assets.alerts.resources import FiguresResource
from carsdepo_assets.alerts.sensors import waiting_now
from carsdepo_assets.orchestration.ticks import work_was_done
from carsdepo_assets.resources import LakeResource


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Publishes the loop's figures to CloudWatch each minute (drift, quality, what waits, ages of models) "
    "as lines on the code server's stdout, where CARSDEPO_METRICS_NAMESPACE or an AWS account says so.",
)
def publish_figures(
    context: dg.SensorEvaluationContext, lake: LakeResource, figures: FiguresResource
) -> dg.SensorResult | dg.SkipReason:
    """Publishes all figures, and a 0 of failed runs, which the sensor failed_runs counts one by one."""
    if figures.namespace is None:
        return dg.SkipReason("No namespace of CloudWatch is set (CARSDEPO_METRICS_NAMESPACE): nothing is published.")

    from carsdepo_assets.alerts.loop_figures import LOOP, loop_figures
    from carsdepo_assets.cloudwatch.catalogue import RUNS_FAILED
    from carsdepo_assets.cloudwatch.emf import figure

    now = datetime.now(UTC)
    of_loop = loop_figures(lake.open(), list(waiting_now(context.instance)), now)
    figures.publish([*of_loop, figure(RUNS_FAILED, LOOP, 0)], now)
    return work_was_done(context, f"{len(of_loop) + 1} figures published in {figures.namespace}.")
