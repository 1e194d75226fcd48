"""The one training loop: shuffled batches sliced from columns, early stopping, checkpoints, resume.

Every random draw comes from a generator seeded by (seed, stage, purpose, counter), so a run that
was killed and goes on from its checkpoint ends with the same weights as one that was not. Under
`torchrun` the processes share every batch; see `policies.training.parallel`.
"""

from __future__ import annotations

import math
import os
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress, TaskID
from torch import Tensor, nn

from policies.contract import FitContext
from policies.training import checkpoint
from policies.training.batches import Batches, Shuffled
from policies.training.device import BFLOAT16, DEVICES, PRECISIONS, Movable, casting, resolve
from policies.training.health import Health
from policies.training.optimisers import ADAM, TABLES, Optimisers
from policies.training.parallel import Ranks
from policies.training.task import Divisible, Measurable, Task
from sim.config import ConfigError, refusal, require, require_int, require_one_of


class TrainingError(RuntimeError):
    """Training went wrong; the message says where."""


@dataclass(frozen=True)
class TrainingRecord:
    """How a training run went."""

    steps: int
    """Optimiser steps, those before a resume included."""
    best_step: int
    """Step whose weights were kept."""
    valid_loss: float
    """Loss of the kept weights on the held-out end of the log; where nothing is held out, the mean
    training loss of the steps since the reading before."""
    examples_per_s: float
    """Training rows per second of this process, without evaluation; 0 if nothing was left to do."""


@dataclass(frozen=True)
class Trainer:
    """Adam on shuffled batches with a linearly falling rate, stopped early on a time split.

    The tables of embeddings may have an optimiser of their own. The fields after `patience` say how
    steps are computed: all but the first two leave what is learnt unchanged up to rounding (of
    bfloat16, for `precision`) and to what is drawn, as parts of a batch drop ids of their own.
    """

    epochs: int
    """Passes over the training rows, at most."""
    batch_rows: int
    """Rows per optimiser step, at most."""
    steps_per_epoch: int
    """Least number of steps per epoch: on a short log the batches shrink."""
    learning_rate: float
    """At the first step; falls linearly to a tenth at the last."""
    weight_decay: float
    """Decoupled (AdamW), per unit of the learning rate."""
    valid_share: float
    """Share of the rows, the last in time, that are held out for early stopping. Where that is no
    row there is nothing to judge by: all epochs are run and the last weights are kept."""
    evals_per_epoch: int
    patience: int
    """Evaluations without a better held-out loss after which training stops."""
    tables: str = ADAM
    """Optimiser of the embeddings' tables, one of `policies.training.optimisers.TABLES`."""
    table_rate: float = 1.0
    """Learning rate of the tables over that of the other weights."""
    micro_rows: int = 2**24
    """Rows that run through the network at once, at most: a larger batch is cut into parts whose
    gradients are summed before the step, where the task is `Divisible`."""
    device: str = "auto"
    """One of `policies.training.device.DEVICES`; serving stays on the processor."""
    precision: str = "float32"
    """One of `policies.training.device.PRECISIONS`; bfloat16 needs a GPU."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_int(self, "epochs", 1, 10_000)
        require_int(self, "batch_rows", 1, 2**24)
        require_int(self, "steps_per_epoch", 1, 2**24)
        require(self, "learning_rate", 1e-8, 10.0)
        require(self, "weight_decay", 0.0, 10.0)
        require(self, "valid_share", 0.0, 0.9)
        require_int(self, "evals_per_epoch", 1, 1000)
        require_int(self, "patience", 1, 10_000)
        require_one_of(self, "tables", TABLES)
        require(self, "table_rate", 1e-6, 1e6)
        require_int(self, "micro_rows", 1, 2**24)
        require_one_of(self, "device", DEVICES)
        require_one_of(self, "precision", PRECISIONS)
        no_gpu = self.device == "cpu" or not torch.cuda.is_available()
        if self.precision == BFLOAT16 and no_gpu:
            raise refusal(self, "precision", "float32 on the processor")
        if self.device == "cuda" and no_gpu:
            raise refusal(self, "device", "auto or cpu, as torch finds no GPU")

    def n_train(self, n_rows: int) -> int:
        """Return how many rows, the first in time, are trained on; the others are held out."""
        return n_rows - int(n_rows * self.valid_share)

    def run(
        self,
        network: nn.Module,
        task: Task,
        context: FitContext,
        stage: str,
        batches: Batches | None = None,
        told: str = "",
        n_train: int | None = None,
    ) -> TrainingRecord:
        """Train the network in place and leave it with the weights kept, in evaluation mode.

        Args:
            network: what `task` computes its loss with.
            task: rows and loss.
            context: seed; folder for checkpoint and metrics; whether to show progress.
            stage: name of this run, for seeds, files and progress.
            batches: how an epoch is cut into steps; None shuffles all rows.
            told: all else that decides what is learnt; a run told otherwise does not resume this
                one.
            n_train: rows that are trained on, the first ones; None: by `valid_share`.

        Raises:
            TrainingError: the loss is not finite, there are no rows, or processes that train
                together read different checkpoints.
            ConfigError: the device is not to be had, or the environment of `torchrun` is broken.
        """
        if n_train is None:
            n_train = self.n_train(len(task))
        cut = batches or Shuffled()
        return _Run(self, network, task, context, stage, cut, told, n_train).run()


def require_same_end(owner: object, first: Trainer, last: Trainer) -> None:
    """Raise `ConfigError` unless two stages hold out the same end of the log.

    Args:
        owner: whose `pretrainer` and `trainer` they are.
        first: of stage 1.
        last: of stage 2.
    """
    if first.valid_share != last.valid_share:
        raise ConfigError(
            f"{type(owner).__name__}.pretrainer.valid_share = {first.valid_share}; allowed: the "
            f"trainer's {last.valid_share}, as both stages hold out the same end of the log"
        )


def generator(seed: int, *purpose: int | str) -> torch.Generator:
    """Return a torch generator for (seed, purpose): independent streams for different purposes."""
    words = [zlib.crc32(p.encode()) if isinstance(p, str) else p for p in purpose]
    state = int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)


class _Run:
    """State of one run of `Trainer`."""

    def __init__(
        self,
        config: Trainer,
        network: nn.Module,
        task: Task,
        context: FitContext,
        stage: str,
        batches: Batches,
        told: str,
        n_train: int,
    ) -> None:
        if n_train == 0:
            raise TrainingError(f"{stage}: there are no rows to train on; allowed: at least one")
        self.config, self.network, self.stage = config, network, stage
        self.context, self.batches = context, batches
        self.ranks = Ranks.from_environment(os.environ)
        self.device = resolve(config.device, self.ranks.local_rank, isinstance(task, Movable))
        self.casting = casting(config.precision, self.device)
        self.ranks.join(self.device)
        self.network.to(self.device)
        self.task = task.to(self.device) if isinstance(task, Movable) else task
        self.n_train = n_train
        self.valid = torch.arange(self.n_train, len(task), device=self.device)
        self.batch_rows = min(config.batch_rows, max(1, self.n_train // config.steps_per_epoch))
        self.per_epoch = batches.count(self.n_train, self.batch_rows)
        self.n_steps = config.epochs * self.per_epoch
        every = math.ceil(self.per_epoch / config.evals_per_epoch)
        ends = {min(k * every, self.per_epoch) for k in range(1, config.evals_per_epoch + 1)}
        self.eval_at = ends
        self.ranks.same_start(network)
        self.optimiser = Optimisers(
            network, config.tables, config.learning_rate, config.table_rate, config.weight_decay
        )
        self.health = Health(network)
        self.step = 0
        self.done = False
        self.best_step, self.best_loss, self.stale = 0, math.inf, 0
        self.best: dict[str, Tensor] = {}
        self.mark = ""
        self.path: Path | None = None
        if context.folder is not None:
            kept = "best" if len(self.valid) else "last"
            self.mark = checkpoint.fingerprint(
                network,
                f"{stage} {config} {batches.text} {told} rows={n_train}/{len(task)} kept={kept}",
            )
            self.path = context.folder / f"{stage}.{checkpoint.CHECKPOINT}"

    def run(self) -> TrainingRecord:
        self._resume()
        metrics_path = None
        if self.context.folder is not None and self.ranks.rank == 0:
            metrics_path = self.context.folder / f"{self.stage}.{checkpoint.METRICS}"
        metrics = checkpoint.MetricsStream(metrics_path, self.step)
        self.network.train()
        rows_done, train_s, train_loss, n_losses = 0, 0.0, 0.0, 0
        console = Console(stderr=True)
        hidden = not (self.context.progress and console.is_terminal) or self.ranks.rank > 0
        with Progress(console=console, disable=hidden, transient=True) as progress:
            bar = progress.add_task(self.stage, total=self.n_steps, completed=self.step)
            steps: list[Tensor] = []
            while self.step < self.n_steps and not self.done:
                epoch, place = divmod(self.step, self.per_epoch)
                if place == 0 or not steps:
                    draw = generator(self.context.seed, self.stage, "order", epoch)
                    steps = self.batches.epoch(self.n_train, self.batch_rows, draw)
                start = time.perf_counter()
                rows = steps[place]
                is_read = place + 1 in self.eval_at
                self.health.watch(is_read)
                train_loss += self._update(rows)
                train_s += time.perf_counter() - start
                n_losses, rows_done = n_losses + 1, rows_done + len(rows)
                self.step += 1
                if is_read:
                    readings = self.health.readings()
                    valid_loss = self._evaluate(train_loss / n_losses)
                    row: dict[str, float | int | str] = {
                        "stage": self.stage,
                        "step": self.step,
                        "steps": self.n_steps,
                        "train_loss": train_loss / n_losses,
                        "valid_loss": valid_loss,
                        "examples_per_s": rows_done / train_s,
                        **readings,
                    }
                    train_loss, n_losses = 0.0, 0
                    metrics.append(row)
                    self._save()
                    self._show(progress, bar, valid_loss)
        if self.best:
            self.network.load_state_dict(self.best)
        self.network.to("cpu").eval()
        return TrainingRecord(
            steps=self.step,
            best_step=self.best_step,
            valid_loss=self.best_loss,
            examples_per_s=rows_done / train_s if train_s > 0.0 else 0.0,
        )

    def _update(self, rows: Tensor) -> float:
        self.optimiser.set_rate(self.config.learning_rate * (1.0 - 0.9 * self.step / self.n_steps))
        self.optimiser.zero_grad()
        value = self.ranks.summed(self._backward(rows.to(self.device)), self.device)
        if not math.isfinite(value):
            raise TrainingError(
                f"{self.stage}: loss = {value} at step {self.step}; allowed: finite losses; "
                f"a smaller learning_rate than {self.config.learning_rate:g} may help"
            )
        self.ranks.sum_gradients(self.network)
        self.optimiser.step()
        return value

    def _backward(self, rows: Tensor) -> float:
        """Add this process's part of the gradient of the loss over `rows`; return that part."""
        task, own = self.task, self.ranks.share(rows)
        draw = self._draws("batch", self.step)
        size = self.config.micro_rows if isinstance(task, Divisible) else len(rows)
        value = 0.0
        for part in torch.split(own, size) if len(own) else ():
            with self.casting():
                if len(part) == len(rows):
                    loss = task.loss(part, draw, True)
                elif isinstance(task, Divisible):
                    loss = task.part(part, rows, draw, True)
                else:
                    loss = task.loss(part, draw, True) * (len(part) / len(rows))
            value += float(loss.detach())
            if math.isfinite(value):
                torch.autograd.backward(loss)
            self.optimiser.put_aside()
        self.optimiser.take_together()
        return value

    def _draws(self, *purpose: int | str) -> torch.Generator:
        """Return the generator of a purpose; processes that train together draw apart."""
        own = (self.ranks.rank,) if self.ranks.rank else ()
        return generator(self.context.seed, self.stage, *purpose, *own)

    def _evaluate(self, train_loss: float) -> float:
        """Return the held-out loss (the training loss where nothing is held out); note the best."""
        if not len(self.valid):
            self.best_loss, self.best_step = train_loss, self.step
            return train_loss
        self.network.eval()
        draw, total = self._draws("valid"), 0.0
        blocks = torch.split(self.valid, 4 * self.config.batch_rows)
        with torch.inference_mode(), self.casting():
            for rows in blocks[self.ranks.rank :: self.ranks.size]:
                total += self._held_out(rows, draw)
        loss = self.ranks.summed(total, self.device)
        self.network.train()
        if not math.isfinite(loss):
            raise TrainingError(
                f"{self.stage}: held-out loss = {loss} at step {self.step}; allowed: finite losses"
            )
        if loss < self.best_loss:
            self.best_loss, self.best_step, self.stale = loss, self.step, 0
            self.best = checkpoint.copied(self.network.state_dict())
        else:
            self.stale += 1
            self.done = self.stale >= self.config.patience
        return loss

    def _held_out(self, rows: Tensor, draw: torch.Generator) -> float:
        """Return what a block of rows adds to the held-out loss."""
        if isinstance(self.task, Divisible):
            return float(self.task.part(rows, self.valid, draw, False))
        if isinstance(self.task, Measurable):
            return float(self.task.held_out(rows, self.valid, draw))
        return float(self.task.loss(rows, draw, False)) * (len(rows) / len(self.valid))

    def _resume(self) -> None:
        stored = None if self.path is None else checkpoint.read(self.path)
        if stored is not None and stored.get("mark") == self.mark:
            self.network.load_state_dict(stored["network"])
            self.optimiser.load_state_dict(stored["optimiser"])
            self.best = stored["best"]
            self.step, self.best_step = int(stored["step"]), int(stored["best_step"])
            self.best_loss, self.stale = float(stored["best_loss"]), int(stored["stale"])
            self.done = bool(stored["done"])
            self.health.covered = set(stored["covered"])
        if not self.ranks.agree(self.step, self.device):
            raise TrainingError(
                f"{self.stage}: processes read different checkpoints, this one that of step "
                f"{self.step}; allowed: a folder that all processes share"
            )

    def _save(self) -> None:
        if self.path is None or self.ranks.rank > 0:
            return
        content: dict[str, Any] = {
            "mark": self.mark,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "best": self.best,
            "step": self.step,
            "best_step": self.best_step,
            "best_loss": self.best_loss,
            "stale": self.stale,
            "done": self.done,
            "covered": sorted(self.health.covered),
        }
        checkpoint.write(self.path, content)

    def _show(self, progress: Progress, bar: TaskID, valid_loss: float) -> None:
        kind = "held-out" if len(self.valid) else "training"
        text = f"{self.stage} ({kind} loss {valid_loss:.4f})"
        progress.update(bar, completed=self.step, description=text)
