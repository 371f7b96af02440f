"""ultralytics' training loop with our checkpoint, report, plan and time budget. Imports ultralytics: import it late."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics.data import base, dataset
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import ModelEMA

from carsdepo_assets.detectors.base import Interrupted, Progress, Report, Watch
from carsdepo_assets.detectors.checkpoints import CHECKPOINT_FORMAT, write_torch
from carsdepo_assets.detectors.pace import CHECKPOINT_EVERY_S, CHECKPOINT_SHARE, TELL_EVERY_S, Every, Pace
from carsdepo_assets.detectors.signals import UNHEARD, Listener, Meter
from carsdepo_assets.detectors.weight_transfer import taken_over
from carsdepo_assets.detectors.yolov8.batch_order import ResumableLoader
from carsdepo_assets.detectors.yolov8.box_validator import BoxValidator
from carsdepo_assets.detectors.yolov8.initial_weights import HEADS, InitialWeights
from carsdepo_assets.detectors.yolov8.varied_dataset import DROPPED

WARMUP_SHARE = 0.2  # of planned steps that warming up may take; without steps ultralytics' own rule, whole epochs


class _NoBar(dataset.TQDM):
    """Progress bars of caching, redrawn 30 times a second, fill a run's log; the epochs are reported by us."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "disable": True})


base.TQDM = dataset.TQDM = _NoBar


class UnfitCheckpoint(Exception):
    """A checkpoint that is whole and not of this network, as of another release of ultralytics."""


class YoloTraining(DetectionTrainer):
    """One training in `out`. Not named "...Trainer": ultralytics hooks its integrations to classes so named."""

    def __init__(
        self,
        arguments: dict[str, Any],
        *,
        out: Path,
        mark: str,
        initial: InitialWeights | None,
        checkpoint: dict[str, Any] | None,
        pace: Pace,
        report: Report,
        watch: Watch,
        has_val: bool,
        threads: int,
        signals: Listener = UNHEARD,
        vary: Callable[[Any], Any] | None = None,
    ) -> None:
        """vary: makes the dataset that is trained on from ultralytics' own; None: it varies images by itself."""
        self.vary = vary
        self.dropped = checkpoint.get("dropped", 0) if checkpoint else 0  # boxes, in the epoch under way
        self.out, self.mark, self.initial, self.from_checkpoint = out, mark, initial, checkpoint
        self.pace, self.report, self.watch, self.has_val, self.n_threads = pace, report, watch, has_val, threads
        self.epochs: int  # what is planned; ultralytics sets it
        self.history: list[dict[str, float]] = list(checkpoint["history"]) if checkpoint else []
        # Of the epoch under way: its number from 0, batches behind, and what an earlier attempt had of it.
        self.epoch = checkpoint["epoch"] if checkpoint else 0
        self.batches = checkpoint["batches"] if checkpoint else 0
        self.earlier: tuple[int, dict[str, float]] = (self.batches, checkpoint["losses"] if checkpoint else {})
        self.telling = Every(TELL_EVERY_S, at_once=True)
        self.saving = Every(CHECKPOINT_EVERY_S, CHECKPOINT_SHARE)
        self.meter = Meter(signals, loss_may_rise=True)
        super().__init__(overrides=arguments)
        self.add_callback("on_train_epoch_start", lambda training: training.meter.waiting())
        self.add_callback("on_train_batch_start", YoloTraining._set_rates)
        self.add_callback("on_train_batch_end", YoloTraining._batch_ended)

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
        """YOLOv8; of the initial weights those that fit, and of the heads the classes that they know."""
        torch.manual_seed(int(self.args.seed))
        model = DetectionModel(cfg, nc=self.data["nc"], ch=self.data["channels"], verbose=False)
        if self.initial is not None:
            given = self.initial
            model.load_state_dict(taken_over(model.state_dict(), given.state, HEADS, given.n_known, given.where))
        # A CPU convolves faster where a pixel's channels lie together (`python -m benchmarks training_overhead`).
        return model.to(memory_format=torch.channels_last) if self.device.type == "cpu" else model

    def steps(self) -> tuple[int, int]:
        """(optimizer steps taken, planned)."""
        if self.finished_before():
            assert self.from_checkpoint is not None
            return self.from_checkpoint["steps"], self.from_checkpoint["planned_steps"]
        return self.pace.taken, self._planned_steps()

    def build_optimizer(self, *args: Any, **options: Any) -> torch.optim.Optimizer:
        """ultralytics' optimizer, with Adam's fused kernel on a CPU too.

        ultralytics leaves a Python loop over the parameters there, which makes the same update more slowly
        (`python -m benchmarks training_overhead`).
        """
        optimizer: torch.optim.Optimizer = super().build_optimizer(*args, **options)
        if isinstance(optimizer, torch.optim.Adam):  # AdamW is one
            for group in optimizer.param_groups:
                group.update(fused=True, foreach=None)
        return optimizer

    def _setup_train(self) -> None:
        super()._setup_train()
        if self.device.type == "cpu":
            torch.set_num_threads(self.n_threads)  # ultralytics leaves one core idle, half of a machine with two

    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        """As ultralytics', training images in the order of the seed, from the checkpoint's batch on."""
        loader = super().get_dataloader(dataset_path, batch_size, rank, mode)
        if mode != "train":
            return loader
        if getattr(self, "_oom_retries", 0):  # a smaller batch after too little GPU memory: the epoch begins again
            self.batches, self.earlier, self.dropped = 0, (0, {}), 0
        return ResumableLoader(loader, int(self.args.seed), self.epoch, self.batches, self.vary is not None)

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
        """ultralytics' dataset; of the split `train` varied as the recipe declares."""
        dataset = super().build_dataset(img_path, mode, batch)
        return dataset if mode != "train" or self.vary is None else self.vary(dataset)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """As ultralytics'; boxes that augmentation dropped are counted."""
        self.dropped += sum(batch.pop(DROPPED, ()))
        return dict(super().preprocess_batch(batch))

    def resume_training(self, ckpt: Any) -> None:
        """Exactly where the checkpoint was: raw and averaged weights, optimizer, random states, what is planned."""
        self.warmup = self._warmup_steps()
        if self.pace.steps is not None:
            self._plan(-(-self.pace.steps // self._steps_per_epoch()))
        if self.from_checkpoint is None:
            return
        try:
            self._restore(self.from_checkpoint)
        except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:  # torch's of other tensors
            raise UnfitCheckpoint(f"{type(error).__name__}: {error}") from error

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        self.model.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.ema = ModelEMA(self.model)
        self.ema.ema.load_state_dict(checkpoint["ema"])
        self.ema.updates = checkpoint["updates"]
        self.start_epoch, self.pace.taken = checkpoint["epoch"], checkpoint["steps"]
        self._plan(checkpoint["planned"])
        torch.set_rng_state(checkpoint["torch_random"])
        version, state, gauss = checkpoint["random"]
        random.setstate((version, tuple(state), gauss))
        kind, keys, *rest = checkpoint["numpy_random"]
        np.random.set_state((kind, np.array(keys, np.uint32), *rest))

    def _plan(self, epochs: int) -> None:
        """The learning rate falls over this many epochs."""
        if epochs != self.epochs:
            self.epochs = self.args.epochs = epochs
            self._setup_scheduler()

    def _steps_per_epoch(self) -> int:
        return max(1, len(self.train_loader) // self.accumulate)

    def _planned_steps(self) -> int:
        return self.pace.planned_steps(self.epochs, self._steps_per_epoch())

    def _get_warmup_iterations(self, num_batches: int) -> int:
        return 0  # ultralytics' warm-up counts batches of this process; _set_rates counts steps of the whole training

    def _warmup_steps(self) -> int:
        wanted = round(self.args.warmup_epochs * self._steps_per_epoch())
        if self.pace.steps is not None:
            return min(wanted, round(WARMUP_SHARE * self.pace.steps))
        return int(min(wanted, (self.epochs - 1) * self._steps_per_epoch()))

    def _set_rates(self) -> None:
        """The learning rate of the next step: ultralytics' curve over all planned steps, its warm-up before it."""
        self.meter.computing()
        share = self.lf(self.epochs * min(1.0, self.pace.taken / self._planned_steps()))
        warm = min(1.0, self.pace.taken / self.warmup) if self.warmup else 1.0
        for group in self.optimizer.param_groups:
            start = self.args.warmup_bias_lr if group.get("param_group") == "bias" else 0.0
            group["lr"] = start + (group["initial_lr"] * share - start) * warm
            if "momentum" in group:
                group["momentum"] = self.args.warmup_momentum + (self.args.momentum - self.args.warmup_momentum) * warm

    def optimizer_step(self) -> None:
        """Counts it and looks at the clock: the last step ends the epoch where it is."""
        self.meter.gradients(self.model.parameters(), float(self.scaler.get_scale()))
        super().optimizer_step()
        self.stop = self.pace.step()

    def _batch_ended(self) -> None:
        rates = [g["lr"] for g in self.optimizer.param_groups if g.get("param_group") != "bias"]
        self.meter.stepped(self.pace.taken, sum(float(v) for v in self.loss_items.values()), max(rates))
        self.batches += 1
        inside = not self.stop and self.batches < len(self.train_loader)  # the epoch's end writes its own checkpoint
        if self.telling.due():
            try:
                self._tell()
            except Interrupted:
                if inside:
                    self._checkpoint(self.epoch, self.batches, finished=False)
                    raise
        if inside and self.saving.due():
            with self.saving.timed():
                self._checkpoint(self.epoch, self.batches, finished=False)
        self.meter.waiting()

    def _tell(self, validating: bool = False) -> None:
        steps, planned = self.steps()
        loss = sum(self._losses().values()) if self.tloss else None
        left = self.pace.seconds_left(planned)
        expected = self.pace.expected_steps(planned)
        self.watch(Progress(self.epoch + 1, steps, expected, self.pace.spent(), left, loss, validating))

    def _losses(self) -> dict[str, float]:
        """Means over the epoch's batches, those of an earlier attempt among them."""
        before, means = self.earlier
        share = before / self.batches
        return {k: share * means.get(k, 0.0) + (1 - share) * float(v) for k, v in self.tloss.items()}

    def get_validator(self) -> BoxValidator:
        """ultralytics' validation of detectors, which keeps the boxes for the signals."""
        self.loss_names = ("box_loss", "cls_loss", "dfl_loss")
        return BoxValidator(self.test_loader, save_dir=self.save_dir, args=copy(self.args), _callbacks=self.callbacks)

    def validate(self) -> tuple[dict[str, float] | None, float | None]:
        """Nothing is measured where the set has no val; ultralytics would still validate after the last epoch."""
        if not self.has_val:
            return dict(self.metrics), 0.0
        self._tell(validating=True)
        with self.pace.validating():
            metrics, fitness = super().validate()
        return metrics, fitness

    def save_model(self) -> bool:
        """Ends an epoch, or what time left of it: plans the remaining ones, reports, then writes the checkpoint."""
        finished = self.epoch + 1
        ended = self.batches >= len(self.train_loader)  # by itself, not by the clock
        if ended:
            self._plan(self.pace.planned(finished))
        self.scheduler.last_epoch = self.epoch
        by_plan = self.pace.complete() if self.pace.steps is not None else ended and finished >= self.epochs
        self.stop = by_plan or self.pace.over()
        losses = {f"loss_{k.removesuffix('_loss')}": v for k, v in self._losses().items()}
        row = {
            "epoch": float(finished),
            "steps": float(self.pace.taken),
            "planned_steps": float(self._planned_steps()),
            "seconds": self.pace.spent(),
            "loss": sum(losses.values()),
            **losses,
            "lr": float(self.optimizer.param_groups[0]["lr"]),
            "epochs_planned": float(self.epochs),
        }
        if self.vary is not None:
            row["boxes_dropped"] = float(self.dropped)
        if self.has_val:
            named = {
                "val_map50": "mAP50(B)",
                "val_map50_95": "mAP50-95(B)",
                "val_precision": "precision(B)",
                "val_recall": "recall(B)",
            }
            row |= {ours: float(self.metrics[f"metrics/{theirs}"]) for ours, theirs in named.items()}
            row["val_loss"] = sum(float(v) for k, v in self.metrics.items() if k.startswith("val/"))
            self.meter.validated(row, self.validator.boxes.signals())
        self.report(row)
        self.history.append(row)
        self.batches, self.earlier, self.dropped = 0, (0, {}), 0
        with self.saving.timed():
            self._checkpoint(finished, 0, finished=self.stop)
        return True

    def _checkpoint(self, epoch: int, batches: int, finished: bool) -> None:
        """epoch, batches: where the next attempt begins."""
        version, state, gauss = random.getstate()
        kind, keys, *rest = np.random.get_state(legacy=True)
        write_torch(
            self.out / "checkpoint.pt",
            {
                "format": CHECKPOINT_FORMAT,
                "fingerprint": self.mark,
                "epoch": epoch,
                "batches": batches,
                "losses": self._losses() if batches else {},
                "steps": self.pace.taken,
                "dropped": self.dropped,
                "planned_steps": self._planned_steps(),
                "planned": self.epochs,
                "seconds": self.pace.spent(),
                "clock": self.pace.clock.state(),
                "history": self.history,
                "finished": finished,
                "model": self.model.state_dict(),
                "ema": self.ema.ema.state_dict(),
                "updates": self.ema.updates,
                "optimizer": self.optimizer.state_dict(),
                "torch_random": torch.get_rng_state(),
                "random": [version, list(state), gauss],
                "numpy_random": [kind, np.asarray(keys).tolist(), *rest],
            },
        )

    def final_eval(self) -> None:
        """The last epoch's figures stand; ultralytics would read its own best.pt here, which is never written."""
