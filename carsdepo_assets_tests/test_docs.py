"""docs/: the commands of the how-to pages run, generated pages are up to date, and what pages name exists.

Each bash block of docs/how-to/*.md is run as a shell would, in a fresh folder with a small rendered sample; the pages
of one story share a folder. A block is left out only under a comment `<!-- not run: REASON -->`; under
`<!-- stand-in NAME: REASON -->` the test does in Python what the block's long-lived process would do.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from carsdepo_assets.cli import app
from carsdepo_assets.lake.schemas import TABLES
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.end_to_end.dagster_server import free_port

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
HOW_TO = sorted((DOCS / "how-to").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
# Pages whose blocks run one after another in one folder. Those of "settings" take seconds and are in the fast suite.
STORIES = {
    "settings": ("index", "change-a-kpi", "add-a-detector", "troubleshooting"),
    "data": ("import", "drop-files", "move-and-back-up"),
    "models": (
        "explore",
        "train",
        "study",
        "training-findings",
        "export",
        "approve",
        "roll-back",
        "verify-a-model",
        "reproduce",
    ),
}
NOT_RUN = {
    **dict.fromkeys(("index", "train", "approve", "change-a-kpi", "add-a-detector", "verify-a-model"), 1),
    "explore": 1,
    "import": 3,
    "study": 3,
    "reproduce": 2,
    "troubleshooting": 4,
}
STOOD_IN = {"drop-files": ["dev"], "approve": ["release"], "roll-back": ["second release"]}
STEPS = 3  # optimizer steps, whatever a page says
POLICY = """
[data]
batch_max_age_s = 0
[evaluation]
floor_map50 = 0.0
[gate]
resamples = 100
latency_p95_ms = 60000.0
[release]
wait_s = 300
validation_photographs = 2
"""
_BLOCK = re.compile(r"(?:<!-- (?P<note>[^>]*?) -->\n)?```bash\n(?P<text>.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A bash block of a page. not_run: why it is left out; stand_in: what the test does instead."""

    page: str
    text: str
    not_run: str | None
    stand_in: str | None


def blocks(page: Path) -> list[Block]:
    parsed = []
    for match in _BLOCK.finditer(page.read_text()):
        kind, _, reason = (match["note"] or "").partition(": ")
        left_out = reason if kind == "not run" else None
        stand_in = kind.removeprefix("stand-in ") if kind.startswith("stand-in ") else None
        parsed.append(Block(page.stem, match["text"], left_out, stand_in))
    return parsed


class Story:
    """A shell in a fresh folder, and what the pages take as given: the reader's folders and running services."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.running = folder, ExitStack()
        policy = folder / "policy-of-the-test.toml"
        policy.write_text(POLICY)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CARSDEPO_", "DAGSTER_", "MLFLOW_"))}
        ports = {f"CARSDEPO_{name}_PORT": str(free_port()) for name in ("DAGSTER", "MLFLOW", "PRODUCTION", "STAGING")}
        self.environment = (
            clean
            | ports
            | {
                "CARSDEPO_POLICY": str(policy),
                "CARSDEPO_POLICY_FOLDER": str(folder),
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}",
                "PYTHONPATH": str(ROOT),
            }
        )
        self.settings = Settings.read(self.environment, home=folder / ".carsdepo")

    def run(self, text: str) -> str:
        process = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        assert process.returncode == 0, f"{text}\n{process.stdout[-3000:]}\n{process.stderr[-3000:]}"
        return process.stdout

    def tell(self, pages: tuple[str, ...], stand_ins: dict[str, Callable[[Story], None]]) -> dict[str, str]:
        """Runs the pages' blocks in order; what the last block of each page printed."""
        printed: dict[str, str] = {}
        for block in (b for page in pages for b in blocks(DOCS / "how-to" / f"{page}.md")):
            if block.stand_in is not None:
                stand_ins[block.stand_in](self)
            elif block.not_run is None:
                printed[block.page] = self.run(re.sub(r"--steps \d+", f"--steps {STEPS}", block.text))
        return printed


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    fresh = Story(tmp_path)
    with fresh.running:
        yield fresh


def photographs_of_the_reader(folder: Path) -> None:
    """my-photographs (YOLO), my-coco and their-coco (COCO), and new-photographs with front, side and back."""
    from carsdepo_assets.demo.sample.write import write_sample

    write_sample(folder / "my-photographs", 27, 5, clean_share=0.0)  # so that every figure is defined
    images = sorted((folder / "my-photographs" / "images").iterdir())
    for name, classes, chosen in (
        ("my-coco", ["scratch", "dent"], images[20:22]),
        ("their-coco", ["old-scratch", "old-dent"], images[22:24]),
    ):
        coco: dict[str, list[dict[str, Any]]] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": i, "name": c} for i, c in enumerate(classes, 1)],
        }
        (folder / name).mkdir()
        for number, image in enumerate(chosen, 1):
            image.rename(folder / name / image.name)
            _label_of(image).unlink()
            coco["images"].append({"id": number, "file_name": image.name})
            box = {"id": number, "image_id": number, "category_id": 1, "bbox": [10, 10, 20, 20], "area": 400}
            coco["annotations"].append(box | {"iscrowd": 0})
        (folder / name / "labels.json").write_text(json.dumps(coco))
    fresh = folder / "new-photographs"
    fresh.mkdir()
    for image, name in zip(images[24:27], ("front", "side", "back"), strict=True):
        _label_of(image).rename(fresh / f"{name}.txt")
        image.rename(fresh / f"{name}.jpg")


def _label_of(image: Path) -> Path:
    return image.parents[1] / "labels" / f"{image.stem}.txt"


def dev(story: Story) -> None:
    """What the sensors of `make dev` make of photographs and labels that were dropped: batches that are ingested."""
    from carsdepo_assets.commands.pipeline import Pipeline

    with Pipeline.open(story.settings) as pipeline:
        assert len(pipeline.ingest("uploads", close_all=False)) == 1
        assert len(pipeline.ingest("labels", close_all=False)) == 1


def release(story: Story) -> None:
    """Both services run from here on, and the newest candidate goes through staging and gate."""
    from carsdepo_assets.commands.pipeline import Pipeline
    from carsdepo_assets.commands.services import running

    story.running.enter_context(running(story.settings))
    with Pipeline.open(story.settings) as pipeline:
        assert len(pipeline.tick("release_candidate").runs) == 1


def second_release(story: Story) -> None:
    """Another model is trained, found right at staging and approved, so that production has a model before it."""
    from carsdepo_assets.commands.pipeline import Pipeline

    story.run(f"carsdepo train --steps {STEPS + 1}")
    with Pipeline.open(story.settings) as pipeline:
        assert len(pipeline.tick("release_candidate").runs) == 1
    story.run("carsdepo approve latest --reason 'the story needs a second model'")


STAND_INS: dict[str, Callable[[Story], None]] = {"dev": dev, "release": release, "second release": second_release}


def test_every_page_is_in_a_story_and_blocks_that_are_left_out_are_counted() -> None:
    assert sorted(page for pages in STORIES.values() for page in pages) == [page.stem for page in HOW_TO]
    every = [block for page in HOW_TO for block in blocks(page)]
    assert len(every) == sum(page.read_text().count("```bash") for page in HOW_TO)
    left_out = [b.page for b in every if b.not_run is not None]
    assert {page: left_out.count(page) for page in left_out} == NOT_RUN
    assert {b.page: [o.stand_in for o in every if o.stand_in and o.page == b.page] for b in every if b.stand_in} == (
        STOOD_IN
    )
    print(f"{len(every)} blocks: {len(left_out)} not run, {sum(b.stand_in is not None for b in every)} stood in for")


@pytest.mark.slow
def test_pages_about_settings(story: Story) -> None:
    printed = story.tell(STORIES["settings"], STAND_INS)
    assert "business.goals.recall = 0.7" in printed["change-a-kpi"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_pages_about_data(story: Story) -> None:
    from carsdepo_assets.lake.lake import Lake

    photographs_of_the_reader(story.folder)
    seen: dict[str, int] = {}

    def dev_and_count(story: Story) -> None:
        dev(story)
        lake = Lake.open(story.settings.lake)
        seen.update({name: lake.read(name).num_rows for name in ("images", "annotations", "quarantine")})
        groups = lake.read("images", columns=["key", "group_hint"]).to_pylist()
        seen["of car-17"] = sum(r["group_hint"] == "car-17" for r in groups)

    story.tell(STORIES["data"], STAND_INS | {"dev": dev_and_count})
    # The 20 of my-photographs are labelled once more, by Ann.
    assert seen == {"images": 27, "annotations": 27 + 20, "quarantine": 0, "of car-17": 3}
    assert not (story.folder / "moved-home").exists()  # its page ends with removing it


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(2400)
def test_pages_about_models(story: Story) -> None:
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.registry import ledger

    photographs_of_the_reader(story.folder)
    story.run("carsdepo import my-photographs")
    story.tell(STORIES["models"], STAND_INS)
    history = ledger.events(Lake.open(story.settings.lake), "production")
    decisions = [(e.action, e.version) for e in history if e.action != "hold"]
    assert decisions == [
        ("approve", 1),
        ("promote", 1),
        ("approve", 2),
        ("promote", 2),
        ("rollback", 1),
        ("approve", 2),
        ("promote", 2),
    ]
    assert json.loads((story.folder / "predictions.json").read_text()) is not None


def _commands() -> list[tuple[str, str]]:
    """(page, line) of every `carsdepo …` line in a code block of the pages."""
    lines = []
    for page in PAGES:
        for block in re.findall(r"```(?:bash)?\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"\|\||&&", line):
                    words = part.split("#")[0].strip().removeprefix(".venv/bin/")
                    if words.startswith("carsdepo "):
                        lines.append((page.name, words))
    return lines


@pytest.mark.parametrize(("page", "line"), _commands())
def test_every_command_on_a_page_exists_with_its_options(page: str, line: str) -> None:
    command: Any = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    # A group may be a command by itself, as `carsdepo study --plan` is.
    while hasattr(command, "commands") and not (
        command.invoke_without_command and (not words or words[0].startswith("--"))
    ):
        name = words.pop(0)
        assert name in command.commands, f"{page}: {line}"
        command = command.commands[name]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, f"{page}: {line}"


def test_generated_files_are_up_to_date() -> None:
    generated: dict[str, Callable[[], str]] = runpy.run_path(str(DOCS / "generate.py"))["GENERATED"]
    stale = [file for file, content in generated.items() if (ROOT / file).read_text() != content()]
    assert stale == [], "run: python docs/generate.py"


def test_every_file_that_a_page_names_exists() -> None:
    missing = []
    package, tests = list((ROOT / "carsdepo_assets").rglob("*.*")), list(Path(__file__).parent.rglob("*.py"))
    for page in (page for page in PAGES if page.name != "import-cases.md"):  # that one is about readers' files
        for name in set(re.findall(r"`([\w./-]+\.(?:py|html|toml|yaml|lock)|[\w-]+(?:/[\w-]+)*/)`", page.read_text())):
            places = (ROOT / name, ROOT / "carsdepo_assets" / name, page.parent / name, DOCS / name)
            anywhere = "/" not in name and any(p.name == name for p in (*package, *tests))
            if not any(place.exists() for place in places) and not anywhere and not _of_an_installation(name):
                missing.append(f"{page.relative_to(ROOT)}: {name}")
    assert missing == []


def _of_an_installation(name: str) -> bool:
    """A file or folder of a home, a lake or the reader, which no repository holds."""
    first = name.partition("/")[0]
    homes = (".carsdepo", "dagster", "dist", "keys", "lake", "mlartifacts")
    lakes = ("batches", "capture", "checkpoints", "datasets", "golden", "models", "objects", "profiles", "raw")
    lakes += ("reports", "tables", "weights")
    readers = ("carsdepo.toml", "cardamage", "data.yaml", "dataset.yaml", "images", "labels", "build", "docs")
    of_a_server = ("deploy/policy/compute.toml", "deploy/secrets/override.yaml")
    return first in (*homes, *lakes, *readers) or name in of_a_server


def test_every_table_has_its_place_among_the_truths() -> None:
    text = (DOCS / "architecture.md").read_text()
    assert [name for name in TABLES if f"`{name}`" not in text] == []


def test_every_key_of_a_photograph_is_in_the_glossary() -> None:
    text = (DOCS / "glossary.md").read_text()
    keys = ("key", "sha256", "image_id", "object_key", "photograph_key", "upload_key")
    assert [key for key in keys if f"| {key} |" not in text] == []


def test_every_room_has_its_page_of_code() -> None:
    rooms = {p.parent.relative_to(ROOT / "carsdepo_assets").parts[0] for p in (ROOT / "carsdepo_assets").glob("*/*.py")}
    assert {page.stem for page in (DOCS / "reference").glob("*.md")} == rooms | {"index", "top-level"}
