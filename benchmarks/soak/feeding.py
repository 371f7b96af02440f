"""What people and clients do while the soak runs: they drop photographs with labels, send traffic and label queues."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import httpx

from carsdepo_assets.demo.sample.annotator import annotate
from carsdepo_assets.demo.sample.casting import CLEAN_SHARE
from carsdepo_assets.demo.sample.write import write_sample
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.settings import Settings

FIRST, BATCH, TRAFFIC = 40, 6, 30  # labelled photographs before the first model, of each later drop; sent ones
DROP_S, SEND_S = 40.0, 0.7
# A label that no reader accepts: it must end in quarantine, with its reason.
UNREADABLE = "0 0.5 0.5 wide 0.1\n"


class Feeding:
    """Drops labelled photographs and sends others until `stop`; `acknowledged` has the ids of all answers received."""

    def __init__(self, settings: Settings, folder: Path, seed: int) -> None:
        self.settings, self.folder, self.seed = settings, folder, seed
        self.lake = Lake.open(settings.lake)
        self.acknowledged: list[str] = []
        self.answers: Counter[str] = Counter()  # by what came back: acknowledged, refused, no answer
        self.dropped = 0
        self.errors: list[str] = []
        self._truth: list[Path] = []
        self._traffic = folder / "traffic"
        self._labelled: set[str] = set()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(f,), daemon=True) for f in (self._send, self._drop)
        ]

    def drop(self, count: int) -> None:
        """Renders and drops so many labelled photographs of new cars, and one label that cannot be read."""
        number = self.dropped
        sample = self.folder / f"sample-{number:04d}"
        lights = {"day": 0.7, "overcast": 0.3} if number % 2 == 0 else {"day": 0.4, "night": 0.6}
        # Every car of the first ones is damaged: with few photographs the golden set might else hold no box at all, and
        # the gate would rightly come to no verdict on the first model.
        clean_share = 0.0 if number == 0 else CLEAN_SHARE
        write_sample(sample, count, self.seed * 10_000 + number, lights=lights, clean_share=clean_share)
        self._truth.append(sample)
        name = sample.name
        raw = Path(self.settings.lake, "raw")
        first = min((sample / "images").iterdir())
        spoiled = sample / "labels" / f"{first.stem}.txt"
        if number % 3 == 2:
            spoiled.write_text(UNREADABLE)
        # First: a batch may be closed while its photographs are still being copied, and the manifest has their groups.
        (raw / "uploads" / name).mkdir(parents=True)
        shutil.copy(sample / "manifest.csv", raw / "uploads" / name / "manifest.csv")
        shutil.copytree(sample / "images", raw / "uploads" / name, dirs_exist_ok=True)
        (raw / "labels" / name).mkdir(parents=True)
        shutil.copy(sample / "classes.txt", raw / "labels" / name / "classes.txt")  # what the labels' class ids mean
        shutil.copytree(sample / "labels", raw / "labels" / name, dirs_exist_ok=True)
        self.dropped += 1

    def start(self) -> None:
        """Renders the traffic, which no one has labelled (so that drift has something to ask for), and begins."""
        write_sample(self._traffic, TRAFFIC, self.seed * 10_000 + 9_999, lights={"day": 0.4, "night": 0.6})
        self._truth.append(self._traffic)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def label_queues(self) -> None:
        """Labels each queue that was cut and has no labels yet, as the sample's annotator does."""
        for entry in self.lake.list("queues"):
            if not entry.key.endswith("queue.json"):
                continue
            queue = str(json.loads(self.lake.get(entry.key))["queue_id"])
            if queue not in self._labelled:
                annotate(self.lake, queue, self._truth, datetime.now(UTC))
                self._labelled.add(queue)

    def _guarded(self, work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except Exception as error:  # a fault of the harness, or of the lake under it: the soak says so at its end
            self.errors.append(f"{type(error).__name__}: {error}")

    def _drop(self) -> None:
        while not self._stop.wait(DROP_S):
            self.drop(BATCH)
            self.label_queues()

    def _send(self) -> None:
        url = self.settings.service_url("production")
        with httpx.Client(base_url=url, timeout=60.0) as client:
            photographs = sorted((self._traffic / "images").iterdir())
            number = 0
            while not self._stop.wait(SEND_S):
                self._send_one(client, photographs[number % len(photographs)])
                number += 1

    def _send_one(self, client: httpx.Client, file: Path) -> None:
        metadata = {"source": "web", "camera": "soak", "region": "north", "uploader": "soak", "listing": file.stem[:-2]}
        try:
            sent = {"photographs": (file.name, file.read_bytes())}
            answer = client.post("/v1/inspections", files=sent, data=metadata)
            photographs = answer.json()["photographs"] if answer.status_code == 200 else []
            answered = [str(photograph["prediction_id"]) for photograph in photographs]
        except (httpx.HTTPError, ValueError):
            # The service was killed under way: whether it had captured its answer, the client cannot tell.
            self.answers["no answer"] += 1
            return
        self.acknowledged += answered
        self.answers["acknowledged" if answered else f"refused, {answer.status_code}"] += 1
