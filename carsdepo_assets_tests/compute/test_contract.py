"""compute/local.py, compute/ecs.py, compute/sagemaker.py: one contract, one worker, the same specs."""

from collections.abc import Iterator

import dagster as dg
import pytest

from carsdepo_assets.compute.target import ComputeTarget, Verb
from carsdepo_assets.policy import ComputePolicy, Policy
from carsdepo_assets_tests.compute.contract_targets import LAKE, TARGETS
from carsdepo_assets_tests.compute.contract_worker import ContractSpec
from carsdepo_assets_tests.compute.sagemaker_cases import INSTANCE, Materialized, materialized

pytestmark = pytest.mark.slow
WORKER = "carsdepo_assets_tests.compute.contract_worker"
PRICED = Policy(compute=ComputePolicy(prices_per_hour={INSTANCE: 3600.0, "fargate-vcpu": 1.0, "fargate-gb": 1.0}))


@pytest.fixture(scope="module", params=list(TARGETS))
def named(request: pytest.FixtureRequest) -> Iterator[tuple[str, ComputeTarget]]:
    with TARGETS[request.param]() as target:
        yield request.param, target


@pytest.fixture
def target(named: tuple[str, ComputeTarget]) -> ComputeTarget:
    return named[1]


def run(target: ComputeTarget, does: str, verb: Verb = "train") -> Materialized:
    spec = ContractSpec.model_validate({"lake": LAKE, "does": does, "figure": 0.5, "policy": PRICED})

    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return target.run(context, verb, spec.model_dump(mode="json"), module=WORKER)

    return materialized(model)


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_a_report_becomes_the_one_materialization(verb: Verb, named: tuple[str, ComputeTarget]) -> None:
    name, target = named
    result = run(target, "report", verb)
    assert result.success, result.error
    assert result.count == 1
    assert result.metadata["figure"] == 0.5
    assert result.metadata["lake"] == LAKE
    assert [r.data for r in result.metadata["history"].records] == [
        {"epoch": 1.0, "loss": 2.0},
        {"epoch": 2.0, "loss": 0.5},
    ]
    assert result.data_version == "version-1"
    assert any("figure 0.5" in line for line in result.lines)
    if name != "local":
        assert result.metadata["place"] == name == target.hardware(verb).place
        assert result.metadata["instance"] == target.hardware(verb).name
        assert result.metadata["job"]
        assert result.metadata["seconds"] >= 0
        if verb == "train":
            assert result.metadata["money"] >= 0
            assert result.metadata["currency"] == "USD"


@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("fail", "the worker's own words"),
        ("report nothing", "reported no materialization"),
        ("leave", "did not close its channel"),
    ],
)
def test_anything_less_is_a_failure(does: str, words: str, target: ComputeTarget) -> None:
    result = run(target, does)
    assert not result.success
    assert words in result.error
    assert result.count == 0


def test_a_wrong_spec_is_a_failure_that_names_the_field(target: ComputeTarget) -> None:
    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return target.run(context, "train", {"lake": LAKE, "does": "dance"}, module=WORKER)

    result = materialized(model)
    assert not result.success
    assert "does: Input should be 'report'" in result.error


def test_the_hardware_is_the_places_own(target: ComputeTarget) -> None:
    for verb in ("train", "evaluate", "export", "reference", "process"):
        hardware = target.hardware(verb)  # type: ignore[arg-type]
        assert hardware.name
        assert hardware.place
        assert (hardware.device == "cpu") == (hardware.gpus == 0)
