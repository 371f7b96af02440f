"""training/worker.py on an emulated ECS: a spot interruption, and the training goes on from the lake's checkpoint."""

import json
import sys
from pathlib import Path

import dagster as dg
import pytest

from carsdepo_assets.compute.ecs import EcsCompute
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import folder
from carsdepo_assets.training.worker import TrainingSpec, spec_json
from carsdepo_assets_tests.compute.contract_targets import LAKE, VARIABLES
from carsdepo_assets_tests.compute.ecs_tests import BUCKET, ENTRYPOINT, account, define, meanwhile
from carsdepo_assets_tests.compute.sagemaker_cases import materialized
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset

EPOCHS = 8


@pytest.mark.slow
@pytest.mark.long
def test_an_interrupted_training_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with account(tmp_path) as aws:
        for name, value in aws.ecs.variables.items():
            monkeypatch.setenv(name, value)
        aws.ecs.runner.images["worker:1"] = [sys.executable, ENTRYPOINT]
        define(aws.ecs.client("ecs"), stopTimeout=120)  # a checkpoint takes its time on a busy machine
        lake = Lake.open(LAKE)
        recipe = Recipe(detector="yolov8n", image_size=64, epochs=EPOCHS, batch=4, seed=1)
        spec = TrainingSpec(lake=LAKE, dataset_version=tiny_dataset(lake), recipe=recipe)
        checkpoint = f"lake/checkpoints/{spec.key()}/checkpoint.pt"
        target = EcsCompute(
            cluster="c", task_definitions={"others": "train"}, bucket=BUCKET, variables=VARIABLES, check_first=False,
            poll_s=0.2, poll_max_s=0.4,
        )  # fmt: skip
        pending = [True]

        @dg.asset
        def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            return target.run(context, "train", spec_json(spec), module="carsdepo_assets.training.worker")

        def interrupt_when_there_is_a_checkpoint() -> None:
            s3 = aws.ecs.client("s3")
            while pending:
                if s3.list_objects_v2(Bucket=BUCKET, Prefix=checkpoint)["KeyCount"]:
                    aws.ecs.interrupt(aws.ecs.tasks()[0])
                    pending.clear()
                aws.pause()

        watcher = meanwhile(interrupt_when_there_is_a_checkpoint)
        result = materialized(model)
        pending.clear()
        watcher.join()
        assert result.success, (result.error, [aws.ecs.runner.output(t) for t in aws.ecs.tasks()])
        first, second = aws.ecs.tasks()
        assert (first.exit_code, first.stop_code) == (143, "SpotInterruption")
        assert (first.provider, second.provider) == ("FARGATE_SPOT", "FARGATE")
        assert result.metadata["interruptions"] == 1
        assert result.metadata["epochs"] == EPOCHS
        assert any("Going on from the checkpoint that the lake has" in line for line in result.lines), result.lines
        lineage = json.loads(lake.get(f"{folder(result.metadata['digest'])}/lineage.json"))
        assert lineage["environment"]["place"] == "ecs"
        assert list(lake.list("checkpoints")) == []  # of a training that is complete
