"""Balancing: how the losses of several targets are weighed against each other.

Weights by hand are `Fixed`. `Uncertainty` and `GradNorm` learn them: what they learn stands beside
the network in one module, `Weighed`, so that it is optimised, checkpointed and resumed with it, and
is left behind when the network goes into service.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from policies.target_weights import check_weights
from policies.training.likelihood import Likelihood
from policies.training.task import Task
from sim.config import ConfigError, require, require_text

SPEED = 10.0
"""Factor on learned log-weights. Adam moves a parameter by about the learning rate a step, and
weight decay pulls it back to 0; without the factor weights could not follow losses that differ a
hundredfold within the few hundred steps of a fit."""


class Balance(ABC):
    """A way to weigh targets; a subclass is a frozen dataclass with `weights`."""

    weights: Mapping[str, float]
    """{target: weight}; its names are the targets."""

    @abstractmethod
    def task(self, likelihood: Likelihood) -> tuple[nn.Module, Task]:
        """Return what is trained, the network inside, and what it learns.

        Raises:
            ConfigError: the network does not have what the balance reads.
        """


@dataclass(frozen=True)
class Fixed(Balance):
    """L = sum_k w_k L_k with weights by config."""

    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        """Check the weights."""
        check_weights("weights", self.weights)

    def task(self, likelihood: Likelihood) -> tuple[nn.Module, Task]:
        """Return the network and its likelihood."""
        return likelihood.network, likelihood


@dataclass(frozen=True)
class Uncertainty(Balance):
    """L = sum_k w_k (exp(-s_k) (L_k + f) + s_k / 2), s_k = log of a variance, 0 at the start.

    For a squared error halved this is the likelihood of a normal distribution; for cross-entropy it
    is the authors' approximation, logits divided by the variance and the change of the partition
    function dropped. At its minimum exp(-s_k) = 1 / (2 (L_k + f)): a loss that is scaled by 100
    gets a hundredth of the weight. The floor f is not in the paper, whose form is f = 0: there a
    target that is known by heart, L_k near 0, takes all weight, and its s_k fall without end. With
    f weights settle at 1 / (2 f) or less; it also damps a target whose loss is of the size of f,
    such as one with an event in a thousand rows (L_k about 0.008) at f = 0.01. Held-out losses are
    those of the same formula. Source: Kendall, Gal & Cipolla (CVPR 2018, section 3.2).
    """

    weights: Mapping[str, float]
    """w_k; factors on what the uncertainties say."""
    floor: float
    """f, in the unit of the losses."""

    def __post_init__(self) -> None:
        """Check the fields."""
        check_weights("weights", self.weights)
        require(self, "floor", 0.0, 1000.0)

    def task(self, likelihood: Likelihood) -> tuple[nn.Module, Task]:
        """Return network and log-variances, and their likelihood."""
        module = Weighed(likelihood.network, len(likelihood.targets))
        return module, UncertainLikelihood(module, likelihood, self.floor)


@dataclass(frozen=True)
class GradNorm(Balance):
    """L = sum_k w_k v_k L_k, v learnt so that all targets pull alike at the last shared layer.

    With g_k the norm of the gradient of L_k there and r_k = (L_k / L_k(0)) over its mean, the v_k,
    whose mean is 1, descend on sum_k |v_k g_k - mean(v g) r_k^alpha|, in which the second term is
    a constant: targets that learn slowly are pushed more. w_k multiplies afterwards. The v_k share
    the network's optimiser and are a softmax, where the paper has an own learning rate and divides
    by their sum. Held-out losses are sum_k w_k L_k / L_k(0), which do not change with v. A target
    without rows of its space in a batch takes no part in that step. Batches run whole; under
    torchrun each process balances its share. Source: Chen et al. (ICML 2018, section 3).
    """

    weights: Mapping[str, float]
    """w_k; factors on the balanced losses."""
    layer: str
    """Name of the network's module whose parameters are the last that all targets share."""
    alpha: float
    """Strength with which slow targets are helped; 0 makes all norms equal."""

    def __post_init__(self) -> None:
        """Check the fields."""
        check_weights("weights", self.weights)
        require_text(self, "layer")
        require(self, "alpha", 0.0, 10.0)

    def task(self, likelihood: Likelihood) -> tuple[nn.Module, Task]:
        """Return network and weights, and the task of both."""
        network = likelihood.network
        names = {name: part for name, part in network.named_modules() if name}
        if self.layer not in names or not [*names[self.layer].parameters()]:
            allowed = ", ".join(name for name, part in names.items() if [*part.parameters()])
            raise ConfigError(f"GradNorm.layer = {self.layer!r}; allowed: one of {allowed}")
        module = Weighed(network, len(likelihood.targets))
        return module, NormedLikelihood(module, likelihood, self.layer, self.alpha)


class Weighed(nn.Module):
    """A network beside the log-weights of T targets; what training optimises and checkpoints.

    Args:
        network: the network.
        n_targets: T.
    """

    start: Tensor
    """float32 [T], mean losses of the first batch in which a target has rows; 0 before."""

    def __init__(self, network: nn.Module, n_targets: int) -> None:
        """Begin with equal weights."""
        super().__init__()
        self.network = network
        self.raw = nn.Parameter(torch.zeros(n_targets))
        self.register_buffer("start", torch.zeros(n_targets))

    @property
    def log_weight(self) -> Tensor:
        """Log-weights [T], or log-variances."""
        return SPEED * self.raw


@dataclass
class UncertainLikelihood:
    """The task of `Uncertainty`; parts of a batch sum to the whole."""

    module: Weighed
    likelihood: Likelihood
    floor: float

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.likelihood)

    def to(self, device: torch.device) -> Self:
        """Return the task with its columns on `device`."""
        return replace(self, likelihood=self.likelihood.to(device))

    def loss(self, rows: Tensor, generator: torch.Generator, training: bool) -> Tensor:
        """Return the loss over `rows`; see `policies.training.task.Task`."""
        return self.part(rows, rows, generator, training)

    def part(
        self, rows: Tensor, whole: Tensor, generator: torch.Generator, training: bool
    ) -> Tensor:
        """Return what `rows` add to the loss over `whole`; see `task.Divisible`."""
        mean = self.likelihood.means(rows, whole, generator, training)
        s = self.module.log_weight
        # nothing is known of the variance of a target without rows
        share = self.likelihood.present(whole) * (len(rows) / len(whole))
        return (
            torch.exp(-s) * (mean + self.floor * share) + 0.5 * s * share
        ) @ self.likelihood.weight


@dataclass
class NormedLikelihood:
    """The task of `GradNorm`."""

    module: Weighed
    likelihood: Likelihood
    layer: str
    alpha: float

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.likelihood)

    def to(self, device: torch.device) -> Self:
        """Return the task with its columns on `device`."""
        return replace(self, likelihood=self.likelihood.to(device))

    def loss(self, rows: Tensor, generator: torch.Generator, training: bool) -> Tensor:
        """Return the loss over `rows`; in training its gradient is that of network and weights.

        Raises:
            ConfigError: a target does not depend on the layer.
        """
        if not training:
            return self.held_out(rows, rows, generator)
        mean = self.likelihood.means(rows, rows, generator, training)
        weight, start = self.likelihood.weight, self.module.start
        here = self.likelihood.present(rows) * (weight > 0.0)
        fresh = (start == 0.0) & (here > 0.0)
        start.copy_(torch.where(fresh, mean.detach(), start))
        relative = self._relative(mean.detach())
        v = torch.softmax(self.module.log_weight, dim=0) * len(mean)
        total = (v.detach() * mean) @ weight
        if int(here.sum()) < 2:
            return total
        pull = v * self._norms(mean, here)
        average = (pull.detach() * here).sum() / here.sum()
        rate = relative / ((relative * here).sum() / here.sum()).clamp(min=1e-12)
        off = (pull - average * rate**self.alpha).abs() / average.clamp(min=1e-12)
        return total + off @ here

    def held_out(self, rows: Tensor, whole: Tensor, generator: torch.Generator) -> Tensor:
        """Return what `rows` add to the loss over `whole`; see `task.Measurable`."""
        mean = self.likelihood.means(rows, whole, generator, False)
        return self._relative(mean) @ self.likelihood.weight

    def _relative(self, mean: Tensor) -> Tensor:
        """Return mean losses [T] over those at the start."""
        start = self.module.start
        return mean / torch.where(start == 0.0, 1.0, start).clamp(min=1e-12)

    def _norms(self, mean: Tensor, here: Tensor) -> Tensor:
        """Return the norms [T] of the gradients of the mean losses, 0 where `here` is."""
        parameters = [*self.likelihood.network.get_submodule(self.layer).parameters()]
        norms = []
        for k, taken in enumerate(here.tolist()):
            if not taken:
                norms.append(mean.new_zeros(()))
                continue
            gradients = torch.autograd.grad(
                mean[k], parameters, retain_graph=True, allow_unused=True
            )
            found = [gradient.norm() for gradient in gradients if gradient is not None]
            if not found:
                raise ConfigError(
                    f"GradNorm.layer = {self.layer!r}: {self.likelihood.targets[k]} does not "
                    "depend on it; allowed: a module that all targets share"
                )
            norms.append(torch.stack(found).norm())
        return torch.stack(norms)
