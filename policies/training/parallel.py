"""Data parallel training: what `torchrun` says in the environment, and sums over its processes.

Every process holds the whole log and the whole network, takes its share of each batch, and adds
its gradients to those of the others, so that all make the same step. Gradients are sums of parts of
one loss over the whole batch, not means of means: the weights are those of one process up to
rounding, whatever the number of processes.
"""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sim.config import ConfigError

_SET = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that `torchrun` sets for every process."""


@dataclass(frozen=True)
class Ranks:
    """The processes that train together, as one of them sees them."""

    rank: int = 0
    """Number of this process, from 0; the first alone writes files."""
    size: int = 1
    local_rank: int = 0
    """Number of this process on its machine."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Ranks:
        """Return what `torchrun` says; one process where it says nothing.

        Raises:
            ConfigError: a variable is not a number, or the rank is not below the size.
        """
        if any(name not in environment for name in _SET):
            return cls()
        numbers = []
        for name, usual in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
            text = environment.get(name, usual)
            if not text.isdecimal():
                raise ConfigError(f"environment {name} = {text!r}; allowed: whole numbers from 0")
            numbers.append(int(text))
        rank, size, local_rank = numbers
        if rank >= size:
            raise ConfigError(f"environment RANK = {rank}; allowed: below WORLD_SIZE = {size}")
        return cls(rank, size, local_rank)

    def join(self, device: torch.device) -> None:
        """Meet the other processes, once in the life of this one; nothing to do for one alone.

        Raises:
            RuntimeError: the others do not come.
        """
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
            atexit.register(dist.destroy_process_group)

    def share(self, rows: Tensor) -> Tensor:
        """Return this process's part of the rows [n]; the parts follow each other."""
        if self.size == 1:
            return rows
        return rows.tensor_split(self.size)[self.rank]

    def summed(self, value: float, device: torch.device) -> float:
        """Return the sum of a number over all processes."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return float(total)

    def agree(self, value: int, device: torch.device) -> bool:
        """Return whether all processes hold the same number."""
        if self.size == 1:
            return True
        ends = torch.tensor([value, -value], device=device)
        dist.all_reduce(ends, op=dist.ReduceOp.MAX)
        return int(ends[0]) == -int(ends[1])

    def same_start(self, network: nn.Module) -> None:
        """Give every process the weights and buffers of the first."""
        if self.size > 1:
            for value in network.state_dict().values():
                dist.broadcast(value, 0)

    def sum_gradients(self, network: nn.Module) -> None:
        """Replace every gradient by its sum over all processes.

        A parameter without a gradient in every process keeps none, so that optimisers leave it
        alone as they do with one process. Sparse gradients stay sparse.
        """
        if self.size == 1:
            return
        parameters = list(network.parameters())
        device = parameters[0].device
        kinds = torch.tensor([_kind(p.grad) for p in parameters], device=device)
        dist.all_reduce(kinds, op=dist.ReduceOp.MAX)
        dense = []
        for parameter, kind in zip(parameters, kinds.tolist(), strict=True):
            if kind == _SPARSE:
                _gather_sparse(parameter, self.size)
            elif kind == _DENSE:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                parameter.grad = parameter.grad.to_dense()  # another process may have had no rows
                dense.append(parameter.grad)
        if dense:
            flat = torch.cat([gradient.flatten() for gradient in dense])
            dist.all_reduce(flat)
            sums = torch.split(flat, [gradient.numel() for gradient in dense])
            for gradient, total in zip(dense, sums, strict=True):
                gradient.copy_(total.view_as(gradient))


_NONE, _SPARSE, _DENSE = 0, 1, 2
"""Kinds of gradients; where processes differ, the larger holds for all."""


def _kind(gradient: Tensor | None) -> int:
    if gradient is None:
        return _NONE
    return _SPARSE if gradient.layout == torch.sparse_coo else _DENSE


def _gather_sparse(table: nn.Parameter, size: int) -> None:
    """Set the gradient to the entries of all processes, in their order."""
    own, width = table.grad, table.shape[1]
    if own is None:
        rows, values = torch.zeros(0, dtype=torch.int64), torch.zeros(0, width)
    else:
        rows, values = own._indices()[0], own._values()
    rows, values = rows.to(table.device), values.to(table.device)
    count = torch.tensor([len(rows)], device=table.device)
    counts = [torch.zeros_like(count) for _ in range(size)]
    dist.all_gather(counts, count)
    lengths = [int(n) for n in counts]
    longest = max(lengths)
    padded_rows = nn.functional.pad(rows, (0, longest - len(rows)))
    padded_values = nn.functional.pad(values, (0, 0, 0, longest - len(rows)))
    all_rows = [torch.empty_like(padded_rows) for _ in range(size)]
    all_values = [torch.empty_like(padded_values) for _ in range(size)]
    dist.all_gather(all_rows, padded_rows)
    dist.all_gather(all_values, padded_values)
    table.grad = torch.sparse_coo_tensor(
        torch.cat([part[:n] for part, n in zip(all_rows, lengths, strict=True)])[None],
        torch.cat([part[:n] for part, n in zip(all_values, lengths, strict=True)]),
        table.shape,
        check_invariants=False,
    )
