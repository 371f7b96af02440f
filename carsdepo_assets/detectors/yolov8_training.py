"""ultralytics' training loop with our checkpoint, report and time budget. Imports ultralytics: import it late."""

from __future__ import annotations

import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics.data import base, dataset
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import ModelEMA

from carsdepo_assets.detectors.base import Report
from carsdepo_assets.detectors.checkpoints import CHECKPOINT_FORMAT, DetectorError, Pace, write_torch


class _NoBar(dataset.TQDM):
    """Progress bars of caching, redrawn 30 times a second, fill a run's log; the epochs are reported by us."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "disable": True})


base.TQDM = dataset.TQDM = _NoBar


class YoloTraining(DetectionTrainer):
    """One training in `out`. Not named "...Trainer": ultralytics hooks its integrations to classes so named."""

    def __init__(
        self,
        arguments: dict[str, Any],
        *,
        out: Path,
        mark: str,
        initial: dict[str, torch.Tensor] | None,
        checkpoint: dict[str, Any] | None,
        pace: Pace,
        report: Report,
        has_val: bool,
        threads: int,
    ) -> None:
        self.out, self.mark, self.initial, self.from_checkpoint = out, mark, initial, checkpoint
        self.pace, self.report, self.has_val, self.n_threads = pace, report, has_val, threads
        self.epochs: int  # what is planned; ultralytics sets it
        self.history: list[dict[str, float]] = list(checkpoint["history"]) if checkpoint else []
        super().__init__(overrides=arguments)

    def finished_before(self) -> bool:
        """Whether the checkpoint is a finished training's, killed before its weights were kept."""
        return self.from_checkpoint is not None and bool(self.from_checkpoint["finished"])

    def image_size(self) -> int:
        """Side of the square that the network saw: the recipe's, rounded up to the stride."""
        return -(-int(self.args.imgsz) // 32) * 32

    def final_state(self) -> dict[str, torch.Tensor]:
        """The averaged weights after the last epoch."""
        if self.ema is None:
            assert self.from_checkpoint is not None
            state: dict[str, torch.Tensor] = self.from_checkpoint["ema"]
            return state
        return dict(self.ema.ema.state_dict())

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = False) -> DetectionModel:
        """YOLOv8n; of the initial weights those whose shapes fit (a head of other classes starts at random)."""
        torch.manual_seed(int(self.args.seed))
        model = DetectionModel(cfg, nc=self.data["nc"], ch=self.data["channels"], verbose=False)
        if self.initial is not None:
            own = model.state_dict()
            fitting = {k: v for k, v in self.initial.items() if k in own and own[k].shape == v.shape}
            if not fitting:
                raise DetectorError("none of the initial weights fits YOLOv8n.")
            model.load_state_dict(fitting, strict=False)
        return model

    def _setup_train(self) -> None:
        super()._setup_train()
        if self.device.type == "cpu":
            torch.set_num_threads(self.n_threads)  # ultralytics leaves one core idle, half of a machine with two

    def resume_training(self, ckpt: Any) -> None:
        """Exactly where the checkpoint was: raw and averaged weights, optimizer, random states, epochs planned."""
        found = self.from_checkpoint
        if found is None:
            return
        self.model.load_state_dict(found["model"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.ema = ModelEMA(self.model)
        self.ema.ema.load_state_dict(found["ema"])
        self.ema.updates = found["updates"]
        self.start_epoch = found["epoch"]
        self._plan(found["planned"])
        torch.set_rng_state(found["torch_random"])
        random.seed(found["seed_next"])
        np.random.seed(found["seed_next"])

    def _plan(self, epochs: int) -> None:
        """The learning rate falls over this many epochs."""
        if epochs != self.epochs:
            self.epochs = self.args.epochs = epochs
            self._setup_scheduler()

    def validate(self) -> tuple[dict[str, float] | None, float | None]:
        """Nothing is measured where the set has no val; ultralytics would still validate after the last epoch."""
        if not self.has_val:
            return dict(self.metrics), 0.0
        metrics, fitness = super().validate()
        return metrics, fitness

    def save_model(self) -> bool:
        """Ends an epoch: plans the remaining ones, reports, then writes the checkpoint."""
        done = self.epoch + 1
        self._plan(self.pace.planned(done))
        self.scheduler.last_epoch = self.epoch
        self.stop = done >= self.epochs
        losses = {f"loss_{k.removesuffix('_loss')}": float(v) for k, v in self.tloss.items()}
        row = {
            "epoch": float(done),
            "seconds": self.pace.spent(),
            "loss": sum(losses.values()),
            **losses,
            "lr": float(self.optimizer.param_groups[0]["lr"]),
            "epochs_planned": float(self.epochs),
        }
        if self.has_val:
            named = {
                "val_map50": "mAP50(B)",
                "val_map50_95": "mAP50-95(B)",
                "val_precision": "precision(B)",
                "val_recall": "recall(B)",
            }
            row |= {ours: float(self.metrics[f"metrics/{theirs}"]) for ours, theirs in named.items()}
        self.report(row)
        self.history.append(row)
        seed = int(torch.randint(2**31, (1,)))
        random.seed(seed)
        np.random.seed(seed)
        write_torch(
            self.out / "checkpoint.pt",
            {
                "format": CHECKPOINT_FORMAT,
                "fingerprint": self.mark,
                "epoch": done,
                "planned": self.epochs,
                "seconds": self.pace.spent(),
                "history": self.history,
                "finished": self.stop,
                "seed_next": seed,
                "model": self.model.state_dict(),
                "ema": self.ema.ema.state_dict(),
                "updates": self.ema.updates,
                "optimizer": deepcopy(self.optimizer.state_dict()),
                "torch_random": torch.get_rng_state(),
            },
        )
        return True

    def final_eval(self) -> None:
        """The last epoch's figures stand; ultralytics would read its own best.pt here, which is never written."""
