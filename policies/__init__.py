"""Everything that ranks: the plug-in contract, the shared ranking, baselines and models.

Imports numpy only; modules that define models import torch themselves.
"""

from policies.contract import (
    FitContext,
    Persistent,
    Policy,
    Privileged,
    Probabilistic,
    Retriever,
    Updatable,
    is_privileged,
)
from policies.rank import Exploration, PolicyError, Server, rank

__all__ = [
    "Exploration",
    "FitContext",
    "Persistent",
    "Policy",
    "PolicyError",
    "Privileged",
    "Probabilistic",
    "Retriever",
    "Server",
    "Updatable",
    "is_privileged",
    "rank",
]
