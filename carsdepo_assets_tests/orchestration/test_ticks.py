"""orchestration/ticks.py: a tick that did work by itself says what it did."""

import dagster as dg

from carsdepo_assets.orchestration.ticks import work_was_done


@dg.sensor(job_name="none")
def mends(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    return work_was_done(context, "2 aliases set.")


@dg.sensor(job_name="none")
def counts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    return work_was_done(context, "2 alerts sent.", cursor="7")


def test_a_tick_that_did_work_says_so_and_keeps_its_cursor() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        ticks = [sensor.evaluate_tick(dg.build_sensor_context(instance, cursor="6")) for sensor in (mends, counts)]
    assert [tick.skip_message for tick in ticks] == [
        "Done, without a run: 2 aliases set.",
        "Done, without a run: 2 alerts sent.",
    ]
    assert [tick.run_requests for tick in ticks] == [[], []]
    assert [tick.cursor for tick in ticks] == ["6", "7"]
