"""The platform's training worker against plain `YOLO(...).train` with the same arguments, each in a fresh process.

Both sides are timed by the same two callbacks of ultralytics: from the first `on_train_batch_start` to the last
`on_model_save`, which comes after the last epoch's validation and checkpoint. The platform's time includes its report
to MLflow. Start-up, reading the dataset and what follows the last epoch are outside on both sides.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.temporary_home import temporary_home

PHOTOGRAPHS, SEED, EPOCHS, IMAGE_SIZE, PAIRS = 200, 21, 2, 160, 3
# Names of places, and what YOLO(...).train sets by itself.
NOT_ARGUMENTS = {"model", "task", "mode", "data", "save_dir", "project", "name", "exist_ok", "resume"}


def run() -> list[dict[str, Any]]:
    """One uncounted training, then PAIRS rounds in alternating order."""
    from carsdepo_assets.detectors.yolov8.ultralytics_settings import ultralytics

    with temporary_home() as settings:
        os.environ.update(settings.variables())
        ultralytics()
        from ultralytics.utils import NUM_THREADS

        dataset = _dataset(settings)
        folder = settings.home / "overhead"
        folder.mkdir()
        data = _yolo_folder(settings, dataset, folder)
        same = _spec(settings, dataset, folder, NUM_THREADS)
        own = _spec(settings, dataset, folder, None)
        warm = _measure("platform", folder, same)
        plain = {
            "data": data,
            "folder": str(folder / "plain"),
            "arguments": {k: v for k, v in warm["arguments"].items() if k not in NOT_ARGUMENTS},
        }
        sides = [("plain", plain), ("platform", same), ("own threads", own)]
        taken: dict[str, list[dict[str, Any]]] = {name: [] for name, _ in sides}
        for number in range(PAIRS):
            for name, given in sides if number % 2 == 0 else reversed(sides):
                taken[name].append(_measure("plain" if name == "plain" else "platform", folder, given))
    return _rows(taken)


def _rows(taken: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    def median(name: str) -> float:
        return statistics.median(m["seconds"] for m in taken[name])

    steps = {m["steps"] for side in taken.values() for m in side}
    if len(steps) != 1:
        raise RuntimeError(f"The sides took different numbers of steps: {sorted(steps)}.")
    different = {
        k
        for m in taken["platform"]
        for k, v in taken["plain"][0]["arguments"].items()
        if k not in NOT_ARGUMENTS and m["arguments"].get(k) != v
    }
    if different:
        raise RuntimeError(f"The sides trained with different arguments: {', '.join(sorted(different))}.")
    what = f"{steps.pop()} steps, {EPOCHS} epochs at {IMAGE_SIZE} px, median of {PAIRS} interleaved"
    rows = []
    for side, label in (
        ("platform", "platform training, ultralytics' own number of threads"),
        ("own threads", "platform training, its own number of threads"),
    ):
        rows.append(
            {
                "name": f"{label} ({taken[side][0]['threads']}): {what}",
                "value": median(side),
                "unit": "s",
                "against": f"plain YOLO.train ({taken['plain'][0]['threads']} thread(s)), {median('plain'):.1f} s",
                "ratio": statistics.median(
                    a["seconds"] / b["seconds"] for a, b in zip(taken[side], taken["plain"], strict=True)
                ),
            }
        )
    return rows


def _dataset(settings: Any) -> str:
    """The rendered sample, ingested by the graph's own assets; the dataset's version."""
    from carsdepo_assets.commands import loop_steps
    from carsdepo_assets.commands.import_questions import ImportOptions
    from carsdepo_assets.commands.pipeline import Pipeline
    from carsdepo_assets.data.datasets.dataset import build_dataset
    from carsdepo_assets.demo.sample.write import write_sample
    from carsdepo_assets.lake.lake import Lake

    sample = settings.home / "sample"
    write_sample(sample, PHOTOGRAPHS, SEED)
    with Pipeline.open(settings) as pipeline:
        loop_steps.bring_in(pipeline, loop_steps.Loop(), sample, ImportOptions(), "sample", lambda text: None)
    return str(build_dataset(Lake.open(settings.lake), settings.policy(), datetime.now(UTC)).version)


def _yolo_folder(settings: Any, dataset: str, folder: Path) -> str:
    """What the platform trains on, as files for the plain side."""
    from carsdepo_assets.detectors.training_set import training_set
    from carsdepo_assets.detectors.yolov8.dataset_folder import write_yolo_folder
    from carsdepo_assets.lake.lake import Lake

    names = settings.policy().class_map.names
    return str(write_yolo_folder(training_set(Lake.open(settings.lake), dataset, class_names=names), folder / "yolo"))


def _spec(settings: Any, dataset: str, folder: Path, threads: int | None) -> dict[str, Any]:
    """The TrainingSpec that candidate_model would write."""
    from carsdepo_assets.detectors.catalogue import default_recipe
    from carsdepo_assets.training.worker import MlflowSpec, TrainingSpec, spec_json

    recipe = default_recipe("yolov8n", minutes=1, n_train=PHOTOGRAPHS, device="cpu", real=False)
    recipe = recipe.model_copy(
        update={
            "minutes": None,
            "epochs": EPOCHS,
            "image_size": IMAGE_SIZE,
            "extra": recipe.extra | ({} if threads is None else {"threads": threads}),
        }
    )
    return dict(
        spec_json(
            TrainingSpec(
                lake=settings.lake,
                dataset_version=dataset,
                recipe=recipe,
                mlflow=MlflowSpec(),
            )
        )
    )


def _measure(side: str, folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """One training in a fresh process: seconds, steps, threads and the arguments that ultralytics had in the end."""
    asked, answer = folder / "asked.json", folder / "answer.json"
    asked.write_text(json.dumps(given))
    answer.unlink(missing_ok=True)
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.training_overhead", side, str(asked), str(answer)],
        capture_output=True,
        text=True,
    )
    if process.returncode != 0:
        raise RuntimeError(f"The {side} training failed:\n{process.stdout[-2000:]}\n{process.stderr[-4000:]}")
    return dict(json.loads(answer.read_text()))


def _train(side: str, asked: Path, answer: Path) -> int:
    """In the fresh process. The callbacks are ultralytics' defaults, so both sides get the same."""
    from carsdepo_assets.detectors.yolov8.ultralytics_settings import ultralytics

    module = ultralytics()
    import torch
    from ultralytics.utils import callbacks

    first: list[float] = []
    steps: list[int] = []

    def started(trainer: Any) -> None:
        steps.append(trainer.epoch)
        if not first:
            first.append(time.perf_counter())

    def saved(trainer: Any) -> None:
        seconds = time.perf_counter() - first[0]  # before this file is written; each epoch overwrites it
        arguments = {
            k: v if isinstance(v, int | float | str | list | type(None)) else str(v)
            for k, v in vars(trainer.args).items()
        }
        answer.write_text(
            json.dumps(
                {"seconds": seconds, "steps": len(steps), "threads": torch.get_num_threads(), "arguments": arguments}
            )
        )

    callbacks.default_callbacks["on_train_batch_start"].append(started)
    callbacks.default_callbacks["on_model_save"].append(saved)
    if side == "platform":
        from carsdepo_assets.training.worker import main

        return main(["--spec", str(asked)])
    given = json.loads(asked.read_text())
    module.YOLO("yolov8n.yaml").train(
        **given["arguments"], data=given["data"], project=given["folder"], name="run", exist_ok=True
    )
    return 0


if __name__ == "__main__":
    sys.exit(_train(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
