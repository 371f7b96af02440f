"""compute/target.py: an asset annotates the abstract target, and whichever place is configured runs its worker."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pytest

from carsdepo_assets.compute.choice import ComputeChoice
from carsdepo_assets.compute.local import LocalCompute
from carsdepo_assets.compute.target import ComputeTarget, Hardware, Verb
from carsdepo_assets.definitions import defs
from carsdepo_assets.training.assets import candidate_model
from carsdepo_assets_tests.orchestration.dagster_run import WORKER


class Elsewhere(ComputeTarget):
    """A place that answers at once with what it was asked to do."""

    queue: str

    def run(
        self,
        context: dg.AssetExecutionContext | dg.OpExecutionContext,
        verb: Verb,
        spec: Mapping[str, Any],
        *,
        module: str,
    ) -> dg.MaterializeResult[Any]:
        return dg.MaterializeResult(metadata={"where": self.queue, "module": module, "does": spec["does"]})

    def hardware(self, verb: Verb) -> Hardware:
        return Hardware(place=self.queue, name="ml.g5.xlarge", device="cuda:0", gpus=1)


@dg.asset
def weights(context: dg.AssetExecutionContext, compute: ComputeTarget) -> dg.MaterializeResult:
    return compute.run(context, "train", {"does": "report"}, module=WORKER)


def test_the_target_itself_runs_nothing() -> None:
    with pytest.raises(TypeError, match="abstract"):
        ComputeTarget()


def test_an_asset_runs_where_the_environment_says() -> None:
    result = dg.materialize([weights], resources={"compute": Elsewhere(queue="gpu")})
    [event] = result.asset_materializations_for_node("weights")
    assert {k: v.value for k, v in event.metadata.items()} == {"where": "gpu", "module": WORKER, "does": "report"}


def test_the_same_asset_runs_as_a_subprocess_of_this_machine() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        compute = LocalCompute(grace_s=2, poll_s=0.05)
        result = dg.materialize([weights], resources={"compute": compute}, instance=instance)
    [event] = result.asset_materializations_for_node("weights")
    assert event.metadata["map50"].value == 0.5


def test_the_training_asks_for_any_target() -> None:
    """The graph loads with another place behind the same name."""
    assert "compute" in candidate_model.required_resource_keys
    graph = defs()
    assert isinstance((graph.resources or {})["compute"], ComputeChoice)
    elsewhere = {**(graph.resources or {}), "compute": Elsewhere(queue="gpu")}
    dg.Definitions.validate_loadable(dg.Definitions(assets=[candidate_model], resources=elsewhere))
