"""training/worker.py on an emulated SageMaker: a spot interruption, and the training goes on from its checkpoint."""

import json
import time
from threading import Thread

import dagster as dg
import pytest

from carsdepo_assets.compute.sagemaker import SageMakerCompute
from carsdepo_assets.detectors.base import Recipe
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.model_files import folder
from carsdepo_assets.training.worker import TrainingSpec, spec_json
from carsdepo_assets_tests.compute.contract_targets import LAKE, VARIABLES
from carsdepo_assets_tests.compute.sagemaker_cases import BUCKET, IMAGE, ROLE, emulated_aws, materialized
from carsdepo_assets_tests.training.tiny_dataset import tiny_dataset

EPOCHS = 8


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("syncs", [True, False], ids=["from SageMaker's copy", "from the lake's copy"])
@pytest.mark.timeout(900)
def test_an_interrupted_training_goes_on_from_its_checkpoint(syncs: bool) -> None:
    with emulated_aws() as aws:
        aws.settings.syncs = syncs
        lake = Lake.open(LAKE)
        recipe = Recipe(detector="yolov8n", image_size=64, epochs=EPOCHS, batch=4, seed=1)
        spec = TrainingSpec(lake=LAKE, dataset_version=tiny_dataset(lake), recipe=recipe)
        checkpoint = f"lake/checkpoints/{spec.key()}/checkpoint.pt"
        pending = [True]

        @dg.asset
        def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            target = SageMakerCompute(
                image=IMAGE, role=ROLE, bucket=BUCKET, region="us-east-1", variables=VARIABLES, check_first=False,
                poll_s=0.1, poll_max_s=0.2,
            )  # fmt: skip
            return target.run(context, "train", spec_json(spec), module="carsdepo_assets.training.worker")

        def interrupt_when_there_is_a_checkpoint() -> None:
            s3 = aws.client("s3")
            while pending:
                if s3.list_objects_v2(Bucket=BUCKET, Prefix=checkpoint)["KeyCount"]:
                    next(iter(aws.jobs.values())).interrupt()
                    pending.clear()
                time.sleep(0.05)

        watcher = Thread(target=interrupt_when_there_is_a_checkpoint, daemon=True)
        watcher.start()
        result = materialized(model)
        pending.clear()
        watcher.join()
        [job] = aws.jobs.values()
        assert result.success, (result.error, job.log)
        assert job.containers == 2
        assert result.metadata["interruptions"] == 1
        assert result.metadata["epochs"] == EPOCHS
        origin = "Going on from the checkpoint in" if syncs else "Going on from the checkpoint that the lake has"
        assert any(origin in line for line in result.lines), result.lines
        lineage = json.loads(lake.get(f"{folder(result.metadata['digest'])}/lineage.json"))
        assert lineage["environment"]["place"] == "sagemaker"
        assert list(lake.list("checkpoints")) == []  # of a training that is complete
