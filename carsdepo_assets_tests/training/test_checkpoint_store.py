"""training/checkpoint_store.py: on S3 a checkpoint outlives its machine, and one that stands still is reported."""

from pathlib import Path

import pytest

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.training.checkpoint_store import CheckpointStore
from carsdepo_assets_tests.lake.conftest import s3_endpoint, s3_url

__all__ = ["s3_endpoint", "s3_url"]


@pytest.mark.slow
def test_another_machine_goes_on_from_the_lakes_checkpoint(s3_url: str, tmp_path: Path) -> None:
    lake, lines = Lake.open(s3_url), []
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    store = CheckpointStore(lake, "d-1", here, lines.append)
    assert not store.fetch()
    store.store()  # there is none yet
    for content in (b"epoch 1", b"epoch 2"):
        (here / "checkpoint.pt").write_bytes(content)
        store.store()
    assert (store.stored, lines) == (2, [])
    store.store()
    assert (store.stored, len(lines)) == (2, 1)
    assert "did not advance" in lines[0]

    elsewhere = CheckpointStore(lake, "d-1", there, lines.append)
    assert elsewhere.fetch()
    assert (there / "checkpoint.pt").read_bytes() == b"epoch 2"
    assert not elsewhere.fetch()  # its own goes before the lake's
    elsewhere.delete()
    assert not CheckpointStore(lake, "d-1", tmp_path / "third", lines.append).fetch()


def test_a_lake_in_a_folder_keeps_no_second_copy(tmp_path: Path) -> None:
    lake, lines = Lake.open(tmp_path / "lake"), []
    store = CheckpointStore(lake, "d-1", tmp_path, lines.append)
    (tmp_path / "checkpoint.pt").write_bytes(b"epoch 1")
    store.store()
    assert (store.stored, store.fetch(), list(lake.list("checkpoints"))) == (0, False, [])


def test_a_lake_that_refuses_does_not_end_the_training(tmp_path: Path) -> None:
    class Refusing:
        root = None

        def put(self, key: str, data: bytes) -> None:
            raise OSError("the network is gone")

    lines: list[str] = []
    (tmp_path / "checkpoint.pt").write_bytes(b"epoch 1")
    store = CheckpointStore(Refusing(), "d-1", tmp_path, lines.append)  # type: ignore[arg-type]
    store.store()
    assert store.stored == 0
    assert "the network is gone" in lines[0]
    assert "goes on" in lines[0]
