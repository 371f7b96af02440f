"""commands/quarantine_cli.py, commands/status.py: the commands over a small lake, as a shell sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from carsdepo_assets.cli import app
from carsdepo_assets.data.batches.batches import plan_batches
from carsdepo_assets.data.labels.label_revisions import ingest_labels
from carsdepo_assets.data.photographs.ingest import build_images, ingest_uploads
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import DataPolicy, Policy
from carsdepo_assets_tests.data.photograph_files import NOW, photograph

RULES = Policy(data=DataPolicy(min_side_px=4000))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose lake has refused a photograph for its size, one that is none, and a label without photograph."""
    home = tmp_path_factory.mktemp("home")
    lake = Lake.open(home / "lake")
    lake.put("raw/uploads/cars/small.jpg", photograph(1))
    lake.put("raw/uploads/text.jpg", b"no photograph")
    lake.put("raw/labels/cars/lonely.txt", b"0 .5 .5 .1 .1\n")
    for batch in plan_batches(lake, "uploads", RULES, NOW, close_all=True):
        ingest_uploads(lake, batch.batch_id, RULES)
        build_images(lake, batch.batch_id, RULES)
    for batch in plan_batches(lake, "labels", RULES, NOW, close_all=True):
        ingest_labels(lake, batch.batch_id, RULES, NOW)
    return home


def call(home: Path, *words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["quarantine", *words, "--home", str(home)], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result


def test_list_counts_first_and_names_files(home: Path) -> None:
    text = call(home, "list").output
    assert text.index("not_an_image") < text.index("raw/uploads/text.jpg")
    assert "carsdepo quarantine show" in text
    only_labels = json.loads(call(home, "list", "--kind", "label", "--json").output)
    assert only_labels["counts"] == [{"kind": "label", "reason": "no_photograph", "files": 1}]
    assert [file["key"] for file in only_labels["files"]] == ["raw/labels/cars/lonely.txt"]
    limited = call(home, "list", "--import", "cars", "--limit", "1").output
    assert "1 more: raise --limit." in limited
    assert "text.jpg" not in limited
    assert "Nothing is in quarantine of what is asked for" in call(home, "list", "--reason", "animated").output
    assert "is none of photograph" in call(home, "list", "--kind", "photo", code=2).output


def test_show_says_what_to_do(home: Path) -> None:
    text = call(home, "show", "small.jpg").output
    assert "raw/uploads/cars/small.jpg: a photograph, in quarantine." in text
    assert "carsdepo quarantine readmit" in text
    described = json.loads(call(home, "show", "lonely.txt", "--json").output)
    assert (described["state"], described["reasons"]) == ("open", ["no_photograph"])
    assert described["still_counts"] is None
    assert set(described["refusals"][0]) == {"reason", "line", "detail", "batch_id", "at"}
    missing = call(home, "show", "none.jpg", code=1)
    assert "'none.jpg' is not in quarantine" in missing.stderr


def test_readmit_asks_and_status_counts_what_is_open(home: Path, tmp_path: Path) -> None:
    assert "name files" in call(home, "readmit", code=2).output
    assert "2 photographs and" not in call(home, "readmit", "--reason", "animated").output
    asked = json.loads(call(home, "readmit", "--kind", "photograph", "--json").output)
    assert asked == {"asked": ["raw/uploads/cars/small.jpg", "raw/uploads/text.jpg"], "left": []}
    assert "asked for again" in call(home, "list").output
    lake = Lake.open(home / "lake")
    (batch,) = plan_batches(lake, "uploads", Policy(), NOW)
    ingest_uploads(lake, batch.batch_id, Policy())
    build_images(lake, batch.batch_id, Policy())
    state = json.loads(call(home, "list", "--resolved", "--json").output)
    assert (state["open"], state["resolved"], len(state["files"])) == (2, 1, 3)
    assert "1 were refused once and accepted since" in call(home, "list").output
    text = call(home, "readmit", "small.jpg", "lonely.txt")
    assert "left as it is: raw/uploads/cars/small.jpg: it was accepted since" in text.stderr
    assert "To be looked at again: 1 label file." in text.stdout
    from carsdepo_assets.commands.status import read_status
    from carsdepo_assets.settings import Settings

    assert read_status(Settings.read({}, home=home))["quarantine"] == {"no_photograph": 1, "not_an_image": 1}


@pytest.mark.parametrize("words", [["list"], ["readmit", "--reason", "truncated"]])
def test_a_home_that_is_not_there_is_named_and_not_made(tmp_path: Path, words: list[str]) -> None:
    assert f"there is no lake at {tmp_path / 'home' / 'lake'}" in call(tmp_path / "home", *words, code=1).stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("words", [["list"], ["readmit"]])
def test_a_reason_or_an_import_that_is_none_is_named(home: Path, words: list[str]) -> None:
    unknown = call(home, *words, "--reason", "too_smal", code=2).output
    assert "'too_smal' is no reason; in quarantine there are no_photograph, not_an_image, too_small" in unknown
    assert "'dirt' is no import of" in call(home, *words, "--import", "dirt", code=2).output
    assert "there are cars" in " ".join(call(home, *words, "--import", "dirt", code=2).output.split())


@pytest.mark.parametrize("name", ["small", "cars/small", "small.jpeg"])
def test_a_name_without_its_suffix_leads_to_the_file(home: Path, name: str) -> None:
    assert "Is it raw/uploads/cars/small.jpg?" in call(home, "show", name, code=1).stderr
    assert "Is it" not in call(home, "show", "mall", code=1).stderr


@pytest.mark.slow
def test_now_ingests_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "carsdepo.toml"
    policy.write_text("[data]\nmin_side_px = 4000\nmax_quarantined_share = 1\n")
    monkeypatch.setenv("CARSDEPO_POLICY", str(policy))
    folder = tmp_path / "cars"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(photograph(1))
    (folder / "b.jpg").write_bytes(b"none")
    (folder / "c.jpg").write_bytes(b"none of these either")
    result = CliRunner().invoke(app, ["import", str(folder), "--home", str(tmp_path / "home")])
    assert result.exit_code == 0, result.output
    policy.write_text("")
    # Two thirds are refused again, more than the share at which a batch of new photographs stops.
    text = call(tmp_path / "home", "readmit", "--import", "cars", "--now").output
    assert "Looked at again: 3 photographs: accepted 1, still refused 2; " in text
    left = json.loads(call(tmp_path / "home", "list", "--json").output)
    assert [file["key"] for file in left["files"]] == ["raw/uploads/cars/b.jpg", "raw/uploads/cars/c.jpg"]
    assert Lake.open(tmp_path / "home" / "lake").read("processed").num_rows == 1


def test_what_still_counts_of_a_file_that_was_correct_before_is_said(tmp_path: Path) -> None:
    lake, rules = Lake.open(tmp_path / "lake"), Policy()
    lake.put("raw/labels/classes.txt", b"scratch\ndent\n")

    def read(files: dict[str, bytes]) -> str:
        for key, data in files.items():
            lake.put(f"raw/{key}", data)
        ids = []
        for batch in plan_batches(lake, "uploads", rules, NOW, close_all=True):
            ingest_uploads(lake, batch.batch_id, rules)
            build_images(lake, batch.batch_id, rules)
            ids.append(batch.batch_id)
        for batch in plan_batches(lake, "labels", rules, NOW, close_all=True):
            ingest_labels(lake, batch.batch_id, rules, NOW)
            ids.append(batch.batch_id)
        return ids[-1]

    day = f"{NOW:%Y-%m-%d}"
    of_photographs = read({"uploads/x/a.jpg": photograph(1), "uploads/x/b.jpg": photograph(2)})
    of_labels = read({"labels/x/a.txt": b"0 .5 .5 .1 .1\n"})
    read({"labels/x/a.txt": b"0 .5 .5\n", "labels/x/b.txt": b"0 .5 .5\n", "uploads/x/b.jpg": photograph(2)[:300]})
    labels = f"the labels of {day} (batch {of_labels}) that this file would have replaced still count"
    older = f"the photograph of {day} (batch {of_photographs}) that this file would have replaced still counts"
    files = {file["key"]: file["still_counts"] for file in json.loads(call(tmp_path, "list", "--json").output)["files"]}
    assert files == {"raw/labels/x/a.txt": labels, "raw/labels/x/b.txt": None, "raw/uploads/x/b.jpg": older}
    assert f"T{labels[1:]}." in call(tmp_path, "show", "a.txt").output
    assert "still counts" in " ".join(call(tmp_path, "list", "--kind", "photograph").output.split())
    read({"labels/x/a.txt": b"1 .5 .5 .1 .1\n"})
    assert "still count" not in call(tmp_path, "show", "a.txt").output
