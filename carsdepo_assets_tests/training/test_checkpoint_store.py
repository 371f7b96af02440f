"""training/checkpoint_store.py: on S3 a checkpoint outlives its machine, and one that stands still is reported."""

from pathlib import Path

import pytest
import torch

from carsdepo_assets.detectors.checkpoints import CHECKPOINT_FORMAT, write_torch
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


def checkpoint(path: Path, steps: int, fingerprint: str = "f") -> bytes:
    path.parent.mkdir(exist_ok=True)
    write_torch(path, {"format": CHECKPOINT_FORMAT, "fingerprint": fingerprint, "steps": steps, "w": torch.zeros(99)})
    return path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ours", "is_fetched"),
    [
        (("f", 4), True),  # SageMaker's copy is older than what the lake has
        (("f", 8), False),
        (("f", 9), False),  # the epoch that the lake did not get any more
        (("another", 4), False),
        ("cut short", True),
        ("empty", True),
    ],
)
def test_the_checkpoint_that_is_further_is_gone_on_from(
    ours: tuple[str, int] | str, is_fetched: bool, s3_url: str, tmp_path: Path
) -> None:
    lake, lines = Lake.open(s3_url), []
    store = CheckpointStore(lake, "d-2", tmp_path / "first", lines.append)
    theirs = checkpoint(tmp_path / "first" / "checkpoint.pt", 8)
    store.store()
    file = tmp_path / "again" / "checkpoint.pt"
    if isinstance(ours, str):
        file.parent.mkdir()
        file.write_bytes({"cut short": theirs[:-200], "empty": b""}[ours])
    else:
        checkpoint(file, ours[1], ours[0])
    before = file.read_bytes()
    assert CheckpointStore(lake, "d-2", tmp_path / "again", lines.append).fetch() is is_fetched
    assert file.read_bytes() == (theirs if is_fetched else before)
    assert lines == [] or "and the lake's has 8" in lines[0]
    store.delete()


@pytest.mark.slow
def test_a_damaged_checkpoint_in_the_lake_does_not_replace_one(s3_url: str, tmp_path: Path) -> None:
    lake, lines = Lake.open(s3_url), []
    store = CheckpointStore(lake, "d-3", tmp_path / "first", lines.append)
    file = tmp_path / "again" / "checkpoint.pt"
    before = checkpoint(file, 4)
    lake.put(store.key, b"garbage")
    assert not CheckpointStore(lake, "d-3", tmp_path / "again", lines.append).fetch()
    assert file.read_bytes() == before
    store.delete()


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
