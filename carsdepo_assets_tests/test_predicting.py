"""commands/predicting.py: which model `carsdepo predict` uses, and that every file of a folder is answered or named."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from carsdepo_assets.cli import app
from carsdepo_assets.detectors import catalogue
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.models import ModelCard, read_card
from carsdepo_assets.registry import ledger
from carsdepo_assets.registry.models import register
from carsdepo_assets.registry.tracking import Tracking
from carsdepo_assets_tests.detectors.rectangles import DarkestRectangle, made_up_model
from carsdepo_assets_tests.training.example_evaluation import panel

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def lake(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    (tmp_path / "home").mkdir()
    shutil.copy(empty_store, tmp_path / "home" / "mlflow.db")

    def load_model(lake: Lake, digest: str, device: str = "cpu") -> tuple[DarkestRectangle, ModelCard]:
        return DarkestRectangle(), read_card(lake, digest)

    monkeypatch.setattr(catalogue, "load_model", load_model)
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "one.png").write_bytes(panel(1)[0])
    return Lake.open(tmp_path / "home" / "lake")


def predict(tmp_path: Path, *more: str) -> tuple[int, str]:
    """Exit code, and what was printed."""
    out = tmp_path / "found.json"
    result = CliRunner().invoke(
        app, ["predict", str(tmp_path / "photographs"), "--out", str(out), "--home", str(tmp_path / "home"), *more]
    )
    if result.exit_code == 0:
        assert len(json.loads(out.read_text())) == 1
    return result.exit_code, " ".join(result.output.split())


def test_a_worthless_model_is_used_only_by_name(tmp_path: Path, lake: Lake) -> None:
    tracking = Tracking.at_home(tmp_path / "home")
    digests = {}
    for name, map50 in (("good", 0.4), ("worthless", 0.001)):
        digests[name] = made_up_model(lake, name.encode())
        register(
            tracking,
            digest=digests[name],
            lake_url=lake.url,
            dataset_version="d",
            detector="yolov8n",
            figures={"map50": map50},
            run_id=None,
            alias=None,
        )
    for latest in ((), ("--model", "latest")):
        code, output = predict(tmp_path, *latest)
        assert code == 0
        assert f"by model version 1 ({digests['good']}), production serves no model, and this is the newest" in output
        assert "met the floor: mAP@.5 0.400 of 0.020" in output
    for name in ("2", digests["worthless"], digests["worthless"][:6]):
        assert f"by model version 2 ({digests['worthless']}), as asked" in predict(tmp_path, "--model", name)[1]
    ledger.record(lake, "production", "promote", digest=digests["worthless"], version=2, actor="ann", reason="a demo")
    assert f"by model version 2 ({digests['worthless']}), the model in production" in predict(tmp_path)[1]


def test_where_nothing_met_the_floor_it_says_what_there_is(tmp_path: Path, lake: Lake) -> None:
    worthless = made_up_model(lake, b"worthless")
    register(
        Tracking.at_home(tmp_path / "home"),
        digest=worthless,
        lake_url=lake.url,
        dataset_version="d",
        detector="yolov8n",
        figures={"map50": 0.001},
        run_id=None,
        alias=None,
    )
    code, output = predict(tmp_path)
    assert code == 1
    assert f"none of the registered ones met the floor of 0.020 without being barred: 1 ({worthless}, mAP@.5" in output


@pytest.fixture
def model(lake: Lake, tmp_path: Path) -> str:
    """The digest of a registered candidate."""
    digest = made_up_model(lake, b"good")
    register(
        Tracking.at_home(tmp_path / "home"),
        digest=digest,
        lake_url=lake.url,
        dataset_version="d",
        detector="yolov8n",
        figures={"map50": 0.4},
        run_id=None,
        alias=None,
    )
    return digest


def again(data: bytes, kind: str) -> bytes:
    """A photograph in another format."""
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(out, kind)
    return out.getvalue()


@pytest.mark.usefixtures("model")
def test_every_file_is_answered_or_named(tmp_path: Path) -> None:
    folder, (photograph, *_) = tmp_path / "photographs", panel(1)
    answered = {
        "one.png": photograph,
        "deep/er/two.JPG": again(photograph, "JPEG"),
        "deep/phone.mpo": again(photograph, "JPEG"),
        "deep/page.jfif": again(photograph, "JPEG"),
        "scan.TIFF": again(photograph, "TIFF"),
        "old.bmp": again(photograph, "BMP"),
        "web.webp": again(photograph, "WEBP"),
        "new.avif": again(photograph, "AVIF"),
        "drawn.gif": again(photograph, "GIF"),
        "no suffix": photograph,
    }
    refused = {
        "half.jpg": (again(photograph, "JPEG")[:400], "truncated"),
        "empty.jpg": (b"", "empty"),
        "phone.heic": (b"\0\0\0\x18ftypheic" + b"\0" * 100, "unsupported|truncated"),
        "film.mp4": (b"\0\0\0\x18ftypmp42" + b"\0" * 100, "not_an_image"),
        "[bold]page.pdf": (b"%PDF-1.7", "not_an_image"),
    }
    passed_over = {
        "one.txt": b"0 .5 .5 .1 .1",
        "manifest.csv": b"file,group",
        ".hidden.jpg": photograph,
        "Thumbs.db": b"x",
    }
    for name, data in {**answered, **{n: d for n, (d, _) in refused.items()}, **passed_over}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "deep" / "back").symlink_to(folder)  # must not be followed for ever
    code, output = predict(tmp_path)
    assert code == 1
    for name, (_, reason) in refused.items():
        line = next(part for part in output.split("not answered: ") if part.startswith(str(folder / name)))
        assert any(word in line for word in reason.split("|")), line
    assert f"not answered: {folder / 'gone.jpg'}: unreadable" in output
    assert "passed over, a .txt is no photograph: one.txt" in output
    total = len(answered) + len(refused) + 1 + len(passed_over)
    assert (
        f"Of {total} files {len(answered)} were answered, {len(refused) + 1} were not, 4 are no photographs." in output
    )
    names = {row["file_name"] for row in json.loads((tmp_path / "found.json").read_text())}
    assert names == set(answered)
    code, printed = predict(tmp_path, "--json")
    assert code == 1
    counted = json.loads(printed[printed.index("{") :])
    assert counted["files"] == total
    assert counted["answered"] + len(counted["not_answered"]) + len(counted["passed_over"]) == total
    assert {Path(entry["file"]).name for entry in counted["not_answered"]} == {*refused, "gone.jpg"}


@pytest.mark.usefixtures("model")
def test_a_folder_whose_files_are_all_answered_ends_with_0(tmp_path: Path) -> None:
    (tmp_path / "photographs" / "labels.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    code, output = predict(tmp_path)
    assert code == 0
    assert "Of 2 files 1 were answered, 0 were not, 1 are no photographs." in output
    code, printed = predict(tmp_path, "--json")
    assert code == 0
    assert json.loads(printed[printed.index("{") :])["not_answered"] == []


@pytest.mark.usefixtures("model")
def test_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "photographs") + b"/\xff\xfe.jpg"
    try:
        with open(path, "wb") as file:
            file.write(b"no photograph")
    except OSError:
        pytest.skip("this file system refuses such names")
    code, output = predict(tmp_path)
    assert code == 1
    assert "not_an_image" in output


@pytest.mark.usefixtures("model")
def test_a_registry_that_is_away_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tracking, "absence", lambda own: "the MLflow server does not answer")
    code, output = predict(tmp_path)
    assert code == 1
    assert "The model is sought in MLflow's registry, and the MLflow server does not answer." in output


@pytest.mark.usefixtures("model")
def test_a_folder_without_photographs_is_named(tmp_path: Path) -> None:
    (tmp_path / "photographs" / "one.png").rename(tmp_path / "photographs" / "one.txt")
    code, output = predict(tmp_path)
    assert code == 1
    assert "has no photographs: its 1 files are labels, tables and the like" in output
