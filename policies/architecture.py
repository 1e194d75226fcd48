"""The config of a model: which network to build over which targets, and what its logits mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from policies.auxiliary import LABELS

if TYPE_CHECKING:
    from torch import nn

    from policies.columns import Statistics
    from policies.examples import Examples
    from policies.factorisation import Factorisation
    from policies.neural import EncoderConfig
    from policies.training.batches import Batches
    from policies.training.likelihood import Emphasis


class Architecture(ABC):
    """A model as a typed config; a subclass is a frozen dataclass beside its network.

    `policies.multitask.MultiTaskPolicy` trains the network, fuses its targets and serves it.
    """

    def order(self, targets: Sequence[str]) -> tuple[str, ...]:
        """Return the targets in the order of the network's logits.

        Args:
            targets: the names that the policy weighs.

        Raises:
            ConfigError: the model cannot be built over these targets.
        """
        return tuple(sorted(targets, key=LABELS.index))

    def factorisation(self, targets: Sequence[str]) -> Factorisation:
        """Return what the logits stand for; `targets` as `order` returns them."""
        from policies.factorisation import Marginal

        return Marginal()

    def batches(self, examples: Examples) -> Batches | None:
        """Return how an epoch is cut into steps; None shuffles all rows."""
        return None

    def emphasis(self, examples: Examples, targets: Sequence[str]) -> Emphasis | None:
        """Return weights of targets by group of rows; None: all rows count alike."""
        return None

    def prepare(self, network: nn.Module, examples: Examples, targets: Sequence[str]) -> None:
        """Set what of the network is known before its weights are learnt; here nothing.

        Args:
            network: as `build` made it.
            examples: the rows that it will be trained on.
            targets: in the order of `order`.
        """
        return None

    def settle(self, network: nn.Module, examples: Examples, targets: Sequence[str]) -> None:
        """Set what of the network is computed once its weights are learnt; here nothing.

        Args:
            network: as `build` made it, trained, in evaluation mode.
            examples: the rows that it was trained on.
            targets: in the order of `order`.
        """
        return None

    @abstractmethod
    def build(
        self, statistics: Statistics, encoder: EncoderConfig, targets: Sequence[str]
    ) -> nn.Module:
        """Return an untrained network (a `policies.serving.TwoSided`); `targets` in its order."""
