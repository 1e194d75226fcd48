"""Any model with other losses for watch time and amounts; see `policies.quantities`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from policies.architecture import Architecture
from policies.auxiliary import LABELS
from policies.columns import RequestTensors, SideTensors, Statistics
from policies.examples import Examples
from policies.factorisation import Factorisation
from policies.neural import EncoderConfig
from policies.quantities import Quantified, Quantity
from policies.serving import TwoSided
from policies.training.batches import Batches
from policies.training.likelihood import Emphasis, logits
from sim.config import ConfigError, refusal, require_section
from sim.schema import WATCH_CAP_S

BLOCK_ROWS = 8192
"""Rows that run through the network at once when predictions are scaled."""


@dataclass(frozen=True)
class WithQuantities(Architecture):
    """A model of which some targets are learnt as quantities."""

    model: Architecture
    """The network, and what the other logits stand for."""
    quantities: Mapping[str, Quantity]
    """{target: quantity}."""

    def __post_init__(self) -> None:
        """Check the fields."""
        require_section(self, "model", Architecture)
        allowed = "{target: section that builds a Quantity for it}, at least one"
        if not isinstance(self.quantities, Mapping) or not self.quantities:
            raise refusal(self, "quantities", allowed)
        for name, quantity in self.quantities.items():
            if not isinstance(quantity, Quantity):
                raise refusal(self, "quantities", allowed)
            if quantity.target != name:
                raise ConfigError(
                    f"{type(self).__name__}.quantities.{name} is a {type(quantity).__name__}; "
                    f"allowed: under {quantity.target}"
                )

    def order(self, targets: Sequence[str]) -> tuple[str, ...]:
        """Return the model's order; see `Architecture`.

        Raises:
            ConfigError: a quantity is no target, lacks what it is given, or is a factor of another
                target's probability.
        """
        order = self.model.order(targets)
        self._placed(order, self.model.factorisation(order))
        return order

    def factorisation(self, targets: Sequence[str]) -> Factorisation:
        """Return the model's, with the quantities in their columns."""
        base = self.model.factorisation(targets)
        return Quantified(base, self._placed(targets, base))

    def build(
        self, statistics: Statistics, encoder: EncoderConfig, targets: Sequence[str]
    ) -> nn.Module:
        """Return the model's network, its heads beginning where the quantities say.

        It can scale its predictions where a quantity needs it.
        """
        starts = {name: q.start(statistics.labels) for name, q in self.quantities.items()}
        network = self.model.build(statistics.beginning(starts), encoder, targets)
        return Smeared(network, len(targets)) if self._smeared() else network

    def batches(self, examples: Examples) -> Batches | None:
        """Return the model's."""
        return self.model.batches(examples)

    def emphasis(self, examples: Examples, targets: Sequence[str]) -> Emphasis | None:
        """Return the model's."""
        return self.model.emphasis(examples, targets)

    def prepare(self, network: nn.Module, examples: Examples, targets: Sequence[str]) -> None:
        """Let the model prepare its network."""
        self.model.prepare(_inner(network), examples, targets)

    def settle(self, network: nn.Module, examples: Examples, targets: Sequence[str]) -> None:
        """Scale the predictions of smeared quantities to the mean of their training labels."""
        self.model.settle(_inner(network), examples, targets)
        if not self._smeared():
            return
        assert isinstance(network, Smeared)
        network.shift.zero_()
        columns = [list(targets).index(name) for name in self._smeared()]
        total = torch.zeros(len(columns), dtype=torch.float64)
        with torch.inference_mode():
            for rows in torch.split(torch.arange(len(examples)), BLOCK_ROWS):
                z = logits(cast("TwoSided", network), examples.batch(rows))
                total += z[:, columns].double().exp().sum(0)
        y = examples.labels[:, [LABELS.index(name) for name in self._smeared()]].double()
        seconds = (1.0 + WATCH_CAP_S * y).sum(0)
        network.shift[columns] = (seconds.log() - total.log()).float()

    def _smeared(self) -> tuple[str, ...]:
        return tuple(name for name, quantity in self.quantities.items() if quantity.smeared)

    def _placed(
        self, targets: Sequence[str], base: Factorisation
    ) -> tuple[tuple[int, Quantity, int | None], ...]:
        """Return columns and quantities in the order of the targets."""
        field = f"{type(self).__name__}.quantities"
        for name, quantity in self.quantities.items():
            for needed in (name, quantity.given):
                if needed is not None and needed not in targets:
                    raise ConfigError(
                        f"{field}.{name} needs the target {needed}; allowed with a weight for it, "
                        f"has {', '.join(targets)}"
                    )
        column = {name: k for k, name in enumerate(targets)}
        for k, of in enumerate(base.ancestors):
            for name in self.quantities:
                if column[name] == k and of != (k,):
                    raise ConfigError(
                        f"{field}.{name}: the model has it as a child of {targets[of[0]]} in a "
                        "product; allowed: targets that need no other there"
                    )
                if column[name] != k and column[name] in of:
                    raise ConfigError(
                        f"{field}.{name}: the model multiplies its probability into "
                        f"{targets[k]}'s; allowed: targets that are nobody's ancestor"
                    )
        return tuple(
            (column[name], quantity, None if quantity.given is None else column[quantity.given])
            for name, quantity in sorted(self.quantities.items(), key=lambda item: column[item[0]])
        )


class Smeared(nn.Module):
    """A two-sided network z + shift; the shift is 0 until training is over.

    Args:
        network: the network.
        n_targets: T.
    """

    shift: Tensor
    """float32 [T], logs of smearing factors."""

    def __init__(self, network: nn.Module, n_targets: int) -> None:
        """Begin without a shift."""
        super().__init__()
        self.network = network
        self.register_buffer("shift", torch.zeros(n_targets))

    def request_side(self, request: RequestTensors) -> Tensor:
        """Return the network's; see `policies.serving.TwoSided`."""
        return cast("TwoSided", self.network).request_side(request)

    def streamer_side(self, streamer: SideTensors) -> Tensor:
        """Return the network's."""
        return cast("TwoSided", self.network).streamer_side(streamer)

    def join(
        self, request: Tensor, streamer: Tensor, pair: Tensor, position: Tensor | None
    ) -> Tensor:
        """Return the network's logits [N, T] plus the shift."""
        z = cast("TwoSided", self.network).join(request, streamer, pair, position)
        return z + self.shift


def _inner(network: nn.Module) -> nn.Module:
    """Return the network of the model inside."""
    inner: nn.Module = network.network if isinstance(network, Smeared) else network
    return inner
