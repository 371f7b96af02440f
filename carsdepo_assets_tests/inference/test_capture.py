"""inference/capture.py, inference/segments.py: what closes a segment; no kill or outage loses or doubles a line."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.inference import segments
from carsdepo_assets.inference.capture import Capture, CaptureError
from carsdepo_assets.inference.ingest import ingest, waiting
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.policy import InferencePolicy
from carsdepo_assets_tests.inference.records import a_record
from carsdepo_assets_tests.inference.served_models import ROOT

LONG = InferencePolicy(segment_age_s=3600)


class Clock:
    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def names(lake: Lake) -> list[str]:
    return [o.key for o in lake.list("capture") if "photographs" not in o.key]


def ids(lake: Lake) -> Counter[str]:
    ingest(lake, waiting(lake))
    return Counter(lake.read("inferences")["prediction_id"].to_pylist())


def test_segments_close_by_lines_and_by_hour(lake: Lake, tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC))
    capture = Capture(lake, "production", InferencePolicy(segment_lines=2, segment_age_s=3600), tmp_path, clock)
    for number in range(3):
        assert capture.write([a_record(number)]) == clock.at
    clock.at += timedelta(seconds=1)
    capture.write([a_record(3)])
    captured = names(lake)
    assert [key.rpartition("/")[0] for key in captured] == ["capture/production/2026/03/01/23"] * 2 + [
        "capture/production/2026/03/02/00"
    ]
    assert [key.endswith(".open") for key in captured] == [False, False, True]
    assert [s.day.isoformat() for s in waiting(lake)] == ["2026-03-01"] * 2
    capture.close()
    assert ids(lake) == Counter(["p0", "p1", "p2", "p3"])


def test_an_aged_segment_closes_in_the_background(lake: Lake, tmp_path: Path) -> None:
    capture = Capture(lake, "staging", InferencePolicy(segment_age_s=0.1), tmp_path)
    capture.start()
    capture.write([a_record()])
    assert capture.lag_seconds() >= 0
    limit = datetime.now(UTC) + timedelta(seconds=20)
    while not waiting(lake):
        assert datetime.now(UTC) < limit
    capture.close()
    assert capture.lag_seconds() == 0
    assert len(names(lake)) == 1  # no empty segment follows


def test_lag_is_the_age_of_what_ingestion_cannot_see(lake: Lake, tmp_path: Path) -> None:
    clock = Clock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    capture = Capture(lake, "staging", LONG, tmp_path, clock)
    assert capture.lag_seconds() == 0
    capture.write([a_record()])
    clock.at += timedelta(seconds=40)
    capture.write([a_record(1)])
    assert capture.lag_seconds() == 40
    capture.close()
    assert capture.lag_seconds() == 0


@pytest.mark.parametrize("tail", [b"", b'{"captureData": {"endpo', b"x" * 200_000])
def test_an_orphan_is_closed_without_its_torn_line(lake: Lake, tmp_path: Path, tail: bytes) -> None:
    """A torn line may be long: the search for its start goes back over several blocks."""
    killed_after_writing(lake, 3)
    (orphan,) = names(lake)
    with open(f"{lake.url}/{orphan}", "ab") as file:
        file.write(tail)
    capture = Capture(lake, "production", LONG, tmp_path)
    capture.start()
    assert capture.torn_lines == bool(tail)
    assert names(lake) == [orphan.removesuffix(".open")]
    assert ids(lake) == Counter(["p0", "p1", "p2"])
    assert lake.read("quarantine").num_rows == 0
    capture.close()


def test_an_orphan_without_a_whole_line_goes(lake: Lake, tmp_path: Path) -> None:
    lake.put("capture/production/2026/03/01/12/x-1.jsonl.open", b'{"torn')
    assert segments.close_orphans(Path(lake.url), "production") == (1, 1)
    assert names(lake) == []


def test_the_segment_of_a_living_service_is_left_alone(lake: Lake, tmp_path: Path) -> None:
    capture = Capture(lake, "production", LONG, tmp_path)
    capture.write([a_record()])
    assert segments.close_orphans(Path(lake.url), "production") == (0, 0)
    capture.write([a_record(1)])
    capture.close()
    assert ids(lake) == Counter(["p0", "p1"])


def killed_after_writing(lake: Lake, count: int) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from carsdepo_assets.inference.capture import Capture\nfrom carsdepo_assets.lake.lake import Lake\n"
        "from carsdepo_assets.policy import InferencePolicy\n"
        "from carsdepo_assets_tests.inference.records import a_record\n"
        "lake, policy = Lake.open(sys.argv[1]), InferencePolicy(segment_age_s=3600)\n"
        "capture = Capture(lake, 'production', policy, Path(sys.argv[2]))\n"
        f"capture.write([a_record(n) for n in range({count})])\nos.kill(os.getpid(), 9)\n"
    )
    completed = subprocess.run([sys.executable, "-c", code, lake.url, f"{lake.url}/../home"], cwd=ROOT, timeout=60)
    assert completed.returncode == -9


def full_disk(*_: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("partly", [False, True])
def test_a_full_disk_captures_nothing_and_harms_nothing(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partly: bool
) -> None:
    """The write fails, or takes a part, which the next line must not be glued to."""
    real = os.write
    capture = Capture(lake, "production", LONG, tmp_path)
    capture.write([a_record(0)])
    fail: Callable[..., int] = (lambda fd, data: real(fd, data[:50])) if partly else full_disk
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(CaptureError, match="No space left"):
            capture.write([a_record(1), a_record(2)])
    capture.write([a_record(3)])
    capture.close()
    assert ids(lake) == Counter(["p0", "p3"])
    assert lake.read("quarantine").num_rows == 0


def test_a_folder_that_cannot_be_written_is_an_error(lake: Lake, tmp_path: Path) -> None:
    Path(lake.url, "capture").write_text("a file where the folder should be")
    capture = Capture(lake, "production", LONG, tmp_path)
    with pytest.raises(CaptureError):
        capture.write([a_record()])
    with pytest.raises(CaptureError):
        capture.keep("ab" * 32, "jpeg", b"data")


def test_photographs_are_kept_once_where_the_policy_says_so(lake: Lake, tmp_path: Path) -> None:
    keeping = Capture(lake, "production", InferencePolicy(), tmp_path)
    key = keeping.keep("ab" * 32, "jpeg", b"data")
    assert key == f"capture/photographs/ab/{'ab' * 32}.jpg"
    first = next(lake.list("capture")).modified_at
    assert keeping.keep("ab" * 32, "jpeg", b"data") == key
    assert [o.modified_at for o in lake.list("capture")] == [first]
    assert keeping.keep("cd" * 32, "png", b"data") == f"capture/photographs/cd/{'cd' * 32}.png"
    forgetting = Capture(lake, "production", InferencePolicy(keep_photographs=False), tmp_path)
    assert forgetting.keep("ef" * 32, "jpeg", b"data") is None
    assert len(list(lake.list("capture"))) == 2


def test_on_s3_writing_is_tried_until_it_works_again(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photographs go straight to the lake: without it nothing can be answered, though the spool has room."""
    lake = Lake.open(s3_url)
    capture = Capture(lake, "production", LONG, tmp_path)
    writability = capture.writability
    writability.suspect()
    writability.try_again()
    assert writability.problem is None

    def refuse(key: str, data: bytes) -> None:
        raise LakeError(f"{key}: away")

    with monkeypatch.context() as patch:
        patch.setattr(lake, "put", refuse)
        with pytest.raises(CaptureError):
            capture.keep("ab" * 32, "jpeg", b"data")
        assert "cannot be kept" in str(writability.problem)
        writability.try_again()
        assert "away" in str(writability.problem)
    writability.try_again()
    assert writability.problem is None
    assert capture.keep("ab" * 32, "jpeg", b"data") is not None
    assert list((tmp_path / "capture").iterdir()) == []  # no trial is left behind


def test_on_s3_segments_are_spooled_and_shipped_once(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.open(s3_url)
    capture = Capture(lake, "production", InferencePolicy(segment_lines=1, segment_age_s=3600), tmp_path)
    spool = tmp_path / "capture"

    def refuse(key: str, data: bytes) -> None:
        raise LakeError(f"{key}: away")

    with monkeypatch.context() as patch:
        patch.setattr(lake, "put", refuse)
        capture.write([a_record(0)])
        capture.close()  # the outage costs nothing but time
    assert len(list(spool.rglob("*.jsonl"))) == 1
    assert capture.lag_seconds() > 0
    assert waiting(lake) == []
    later = Capture(lake, "production", LONG, tmp_path)
    later.write([a_record(1)])
    kept = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in spool.rglob("*.jsonl")}
    later.close()
    assert not list(spool.rglob("*.jsonl"))
    assert len(waiting(lake)) == 2
    assert ids(lake) == Counter(["p0", "p1"])
    for key, data in kept.items():  # shipped, and killed before the spool's copy was gone: shipped again
        lake.put(key, data)
    assert ids(lake) == Counter(["p0", "p1"])
