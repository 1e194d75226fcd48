"""The one training loop: shuffled batches sliced from columns, early stopping, checkpoints, resume.

Every random draw comes from a generator seeded by (seed, stage, purpose, counter), so a run that
was killed and goes on from its checkpoint ends with the same weights as one that was not.
"""

from __future__ import annotations

import math
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress, TaskID
from torch import Tensor, nn

from policies.contract import FitContext
from policies.training import checkpoint
from sim.config import require, require_int


class Task(Protocol):
    """What is learnt: rows in the order of time and a loss over some of them."""

    def __len__(self) -> int:
        """Number of rows."""

    def loss(self, rows: Tensor, generator: torch.Generator, training: bool) -> Tensor:
        """Return the mean loss over `rows` int64 [n], a scalar; random draws from `generator`."""


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
    """Loss of the kept weights on the held-out end of the log."""
    examples_per_s: float
    """Training rows per second of this process, without evaluation; 0 if nothing was left to do."""


@dataclass(frozen=True)
class Trainer:
    """Adam on shuffled batches with a linearly falling rate, stopped early on a time split."""

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
    """Share of the rows, the last in time, that are held out for early stopping."""
    evals_per_epoch: int
    patience: int
    """Evaluations without a better held-out loss after which training stops."""

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

    def run(
        self, network: nn.Module, task: Task, context: FitContext, stage: str
    ) -> TrainingRecord:
        """Train the network in place and leave it with its best weights, in evaluation mode.

        Args:
            network: what `task` computes its loss with.
            task: rows and loss.
            context: seed; folder for checkpoint and metrics; whether to show progress.
            stage: name of this run, for seeds, files and progress.

        Raises:
            TrainingError: the loss is not finite, or there are no rows.
        """
        return _Run(self, network, task, context, stage).run()


def generator(seed: int, *purpose: int | str) -> torch.Generator:
    """Return a torch generator for (seed, purpose): independent streams for different purposes."""
    words = [zlib.crc32(p.encode()) if isinstance(p, str) else p for p in purpose]
    state = int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)


class _Run:
    """State of one run of `Trainer`."""

    def __init__(
        self, config: Trainer, network: nn.Module, task: Task, context: FitContext, stage: str
    ) -> None:
        if len(task) == 0:
            raise TrainingError(f"{stage}: there are no rows to train on; allowed: at least one")
        self.config, self.network, self.task, self.stage = config, network, task, stage
        self.context = context
        n_valid = int(len(task) * config.valid_share)
        self.n_train = len(task) - n_valid
        self.valid = torch.arange(self.n_train, len(task))
        self.batch_rows = min(config.batch_rows, max(1, self.n_train // config.steps_per_epoch))
        self.per_epoch = math.ceil(self.n_train / self.batch_rows)
        self.n_steps = config.epochs * self.per_epoch
        every = math.ceil(self.per_epoch / config.evals_per_epoch)
        ends = {min(k * every, self.per_epoch) for k in range(1, config.evals_per_epoch + 1)}
        self.eval_at = ends
        self.optimiser = torch.optim.AdamW(
            network.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.step = 0
        self.done = False
        self.best_step, self.best_loss, self.stale = 0, math.inf, 0
        self.best: dict[str, Tensor] = {}
        self.mark = checkpoint.fingerprint(network, f"{stage} {config} rows={len(task)}")
        self.path: Path | None = None
        if context.folder is not None:
            self.path = context.folder / f"{stage}.{checkpoint.CHECKPOINT}"

    def run(self) -> TrainingRecord:
        self._resume()
        metrics_path = None
        if self.context.folder is not None:
            metrics_path = self.context.folder / f"{self.stage}.{checkpoint.METRICS}"
        metrics = checkpoint.MetricsStream(metrics_path, self.step)
        self.network.train()
        rows_done, train_s, train_loss, n_losses = 0, 0.0, 0.0, 0
        console = Console(stderr=True)
        hidden = not (self.context.progress and console.is_terminal)
        with Progress(console=console, disable=hidden, transient=True) as progress:
            bar = progress.add_task(self.stage, total=self.n_steps, completed=self.step)
            order = torch.zeros(0, dtype=torch.int64)
            while self.step < self.n_steps and not self.done:
                epoch, place = divmod(self.step, self.per_epoch)
                if place == 0 or len(order) == 0:
                    draw = generator(self.context.seed, self.stage, "order", epoch)
                    order = torch.randperm(self.n_train, generator=draw)
                start = time.perf_counter()
                rows = order[place * self.batch_rows : (place + 1) * self.batch_rows]
                train_loss += self._update(rows)
                train_s += time.perf_counter() - start
                n_losses, rows_done = n_losses + 1, rows_done + len(rows)
                self.step += 1
                if place + 1 in self.eval_at:
                    valid_loss = self._evaluate(train_loss / n_losses)
                    row: dict[str, float | int | str] = {
                        "stage": self.stage,
                        "step": self.step,
                        "steps": self.n_steps,
                        "train_loss": train_loss / n_losses,
                        "valid_loss": valid_loss,
                        "examples_per_s": rows_done / train_s,
                    }
                    train_loss, n_losses = 0.0, 0
                    metrics.append(row)
                    self._save()
                    self._show(progress, bar, valid_loss)
        self.network.load_state_dict(self.best)
        self.network.eval()
        return TrainingRecord(
            steps=self.step,
            best_step=self.best_step,
            valid_loss=self.best_loss,
            examples_per_s=rows_done / train_s if train_s > 0.0 else 0.0,
        )

    def _update(self, rows: Tensor) -> float:
        rate = self.config.learning_rate * (1.0 - 0.9 * self.step / self.n_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        draw = generator(self.context.seed, self.stage, "batch", self.step)
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.task.loss(rows, draw, True)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"{self.stage}: loss = {value} at step {self.step}; allowed: finite losses; "
                f"a smaller learning_rate than {self.config.learning_rate:g} may help"
            )
        torch.autograd.backward(loss)
        self.optimiser.step()
        return value

    def _evaluate(self, train_loss: float) -> float:
        """Return the held-out loss (the training loss where nothing is held out); note the best."""
        loss = train_loss
        if len(self.valid):
            self.network.eval()
            draw = generator(self.context.seed, self.stage, "valid")
            total = 0.0
            with torch.inference_mode():
                for rows in torch.split(self.valid, 4 * self.config.batch_rows):
                    total += float(self.task.loss(rows, draw, False)) * len(rows)
            loss = total / len(self.valid)
            self.network.train()
        if loss < self.best_loss:
            self.best_loss, self.best_step, self.stale = loss, self.step, 0
            self.best = checkpoint.copied(self.network.state_dict())
        else:
            self.stale += 1
            self.done = self.stale >= self.config.patience
        return loss

    def _resume(self) -> None:
        stored = None if self.path is None else checkpoint.read(self.path)
        if stored is None or stored.get("mark") != self.mark:
            return
        self.network.load_state_dict(stored["network"])
        self.optimiser.load_state_dict(stored["optimiser"])
        self.best = stored["best"]
        self.step, self.best_step = int(stored["step"]), int(stored["best_step"])
        self.best_loss, self.stale = float(stored["best_loss"]), int(stored["stale"])
        self.done = bool(stored["done"])

    def _save(self) -> None:
        if self.path is None:
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
        }
        checkpoint.write(self.path, content)

    def _show(self, progress: Progress, bar: TaskID, valid_loss: float) -> None:
        text = f"{self.stage} (held-out loss {valid_loss:.4f})"
        progress.update(bar, completed=self.step, description=text)
