"""compute/channel.py: the same worker reports the same through files and S3 (dagster-aws, against moto)."""

from collections.abc import Iterator

import boto3  # type: ignore[import-untyped]
import dagster as dg
import pytest
from moto.server import ThreadedMotoServer

from carsdepo_assets.compute.local import LocalCompute

BUCKET = "pipes-tests"
WORKER = "carsdepo_assets_tests.compute.events_worker"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    yield BUCKET
    server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["files", "s3"])
def test_a_report_comes_through(kind: str, request: pytest.FixtureRequest) -> None:
    name = request.getfixturevalue("bucket") if kind == "s3" else None

    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return LocalCompute(grace_s=2, poll_s=0.05, s3_bucket=name).run(context, "train", {}, module=WORKER)

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([model], instance=instance)
        [event] = result.asset_materializations_for_node("model")
        assert event.metadata["digest"].value == "abc"
        assert event.metadata["val_map50"].value == 0.5
        assert any("half way" in e.user_message for e in instance.all_logs(result.run_id))
    if name is not None:
        kept = boto3.client("s3").list_objects_v2(Bucket=name)
        assert kept["KeyCount"] > 0  # the talk went through the bucket
