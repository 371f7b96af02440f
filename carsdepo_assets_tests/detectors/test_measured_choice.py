"""detectors/export/measured_choice.py: which runtime serves, and what is kept of its speed."""

from __future__ import annotations

from pathlib import Path

import pytest

from carsdepo_assets.detectors.export.measured_choice import Setup, fastest, read_speeds, speeds_key, write_speeds
from carsdepo_assets.imaging.resize import NetworkInput

ONE, TWO = Setup("onnxruntime", 1), Setup("onnxruntime", 2)
OTHER, OTHER_TWO = Setup("openvino", 1), Setup("openvino", 2)
ALL = [ONE, TWO, OTHER, OTHER_TWO]


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ((60, 40, 30, 30), ONE),
        ((60, 58, 30, 30), TWO),  # a lone request is answered sooner, and nothing is lost
        ((60, 56, 30, 30), ONE),
        ((60, 40, 65, 30), ONE),  # 8 % may be chance: the export's choice stays
        ((60, 40, 67, 30), OTHER),
        ((60, 40, 67, 66), OTHER_TWO),
        ((60, 40, 30, 67), OTHER_TWO),
        ((0, 0, 0, 0), TWO),
    ],
)
def test_the_fastest_serves(rates: tuple[float, ...], chosen: Setup) -> None:
    speeds = {str(setup): rate for setup, rate in zip(ALL, rates, strict=True)}
    assert fastest(speeds, ALL, ONE) == chosen


def test_what_was_not_measured_is_not_chosen() -> None:
    assert fastest({"onnxruntime, 1 thread": 60}, ALL, ONE) == ONE
    assert fastest({"openvino, 1 thread": 60}, ALL, ONE) == OTHER
    assert fastest({}, ALL, OTHER) == OTHER  # none could be loaded


def test_speeds_are_kept_by_what_they_depend_on(tmp_path: Path) -> None:
    file = tmp_path / "home" / "speeds.json"
    keys = {
        speeds_key("yolov8n", NetworkInput(320, 32), ALL),
        speeds_key("yolov8n", NetworkInput(320, None), ALL),
        speeds_key("yolov8n", NetworkInput(640, 32), ALL),
        speeds_key("faster_rcnn", NetworkInput(320, 32), ALL),
        speeds_key("yolov8n", NetworkInput(320, 32), ALL[:2]),
    }
    assert len(keys) == 5
    first, second, *_ = keys
    assert read_speeds(file, first, ALL) is None
    write_speeds(file, first, {str(ONE): 1.5, str(TWO): 1.0})
    write_speeds(file, second, {str(OTHER): 2})
    assert read_speeds(file, first, [ONE, TWO]) == {str(ONE): 1.5, str(TWO): 1.0}
    assert read_speeds(file, second, [OTHER]) == {str(OTHER): 2.0}
    assert read_speeds(file, second, ALL) is None  # of other setups


KEPT = '{"k": {"onnxruntime, 1 thread": %s}}'


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", '{"k": 3}', '{"k": {}}', '{"k": {"x": 1}}', "\ud800"]
    + [KEPT % value for value in ('"fast"', "NaN", "Infinity", "0", "-1", "null")],
)
def test_a_damaged_file_is_measured_anew(tmp_path: Path, content: str) -> None:
    file = tmp_path / "speeds.json"
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    assert read_speeds(file, "k", [ONE]) is None
    write_speeds(file, "k", {str(ONE): 1})
    assert read_speeds(file, "k", [ONE]) == {str(ONE): 1.0}


def test_a_home_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    write_speeds(tmp_path / "file" / "speeds.json", "k", {"a": 1})
    assert "cannot be written" in caplog.text
