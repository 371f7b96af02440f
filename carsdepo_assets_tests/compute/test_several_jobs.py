"""compute/sagemaker.py, compute/ecs.py: a run has several jobs at once, as a study with slots for its trials has."""

from pathlib import Path

import dagster as dg
import pytest

from carsdepo_assets.experiments.study.parallel import interruptible_threads
from carsdepo_assets.policy import ComputePolicy, Policy
from carsdepo_assets_tests.compute.contract_targets import LAKE, TARGETS
from carsdepo_assets_tests.compute.contract_worker import ContractSpec
from carsdepo_assets_tests.compute.sagemaker_cases import INSTANCE, materialized

pytestmark = pytest.mark.slow
WORKER = "carsdepo_assets_tests.compute.contract_worker"
PRICED = Policy(compute=ComputePolicy(prices_per_hour={INSTANCE: 3600.0, "fargate-vcpu": 1.0, "fargate-gb": 1.0}))


@pytest.mark.parametrize("name", ["ecs", "sagemaker"])  # this machine has one slot
def test_a_run_has_several_jobs_at_once(name: str, tmp_path: Path) -> None:
    """As a study with slots for its trials: each job has its own report, and is known by its own name."""
    figures = (0.25, 0.75)
    with TARGETS[name]() as target:

        @dg.asset
        def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            def job(figure: float) -> dg.MaterializeResult:
                spec = ContractSpec.model_validate({"lake": LAKE, "does": "report", "figure": figure, "policy": PRICED})
                return target.run(context, "train", spec.model_dump(mode="json"), module=WORKER)

            with interruptible_threads(len(figures)) as submit:
                results = [future.result() for future in [submit(job, figure) for figure in figures]]
            told = [{k: getattr(v, "value", v) for k, v in (r.metadata or {}).items()} for r in results]
            return dg.MaterializeResult(metadata={k: [t[k] for t in told] for k in ("figure", "job", "place")})

        result = materialized(model, tmp_path)
    assert result.success, result.error
    assert result.metadata["figure"] == list(figures)
    assert result.metadata["place"] == [name, name]
    assert len(set(result.metadata["job"])) == 2
