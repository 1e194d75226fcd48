"""A ledger of the matrix products and embedding gathers of a job, and their replay without it.

The replay is the floor of a model: the same products of the same sizes, forward and backward, on
operands that lie ready, and the same gathers from tables of the same size. Everything else that
the job does (features, activations, losses, the optimiser) is left out.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch.utils.flop_counter import FlopCounterMode

from evaluation.bench.clock import Timing

Shape = tuple[int, ...]

MOST_RUNS = 4
"""A size that occurs more often is timed this often and counted in proportion."""


@dataclass(frozen=True)
class Product:
    """`batch` products [m, k] x [k, n], float32."""

    batch: int
    m: int
    k: int
    n: int


@dataclass(frozen=True)
class Gather:
    """`n` rows of a table [rows, width], float32; backward adds into them."""

    rows: int
    width: int
    n: int
    backward: bool


@dataclass
class Ledger:
    """How often which product and which gather occurred."""

    products: Counter[Product] = field(default_factory=Counter)
    gathers: Counter[Gather] = field(default_factory=Counter)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note every product and embedding gather that torch does inside."""
        aten = torch.ops.aten
        notes = {
            aten.mm: self._mm,
            aten.addmm: lambda bias, a, b, *rest, out_shape, **options: self._mm(a, b),
            aten.bmm: self._bmm,
            aten.baddbmm: lambda bias, a, b, *rest, out_shape, **options: self._bmm(a, b),
            aten.mv: lambda a, b, *rest, out_shape, **options: self._mm(a, (*b, 1)),
            aten.dot: lambda a, b, *rest, out_shape, **options: self._mm((1, *a), (*b, 1)),
            aten.embedding: self._embedding,
            aten.embedding_dense_backward: self._embedding_backward,
        }
        with FlopCounterMode(display=False, custom_mapping=notes):
            yield

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of all products."""
        return sum(p.batch * p.m * p.k * p.n * count for p, count in self.products.items())

    def replay(self, amount: float, repeats: int) -> Timing:
        """Do all products and gathers again, and nothing else.

        Args:
            amount: what the recorded job did.
            repeats: how often; the fastest counts, since a floor is what is possible.
        """
        longest = max((_operands(p) for p in self.products), default=0)
        table = max((g.rows * g.width + 2 * g.n * g.width for g in self.gathers), default=0)
        room = torch.rand(max(longest, table, 1))
        runs = [self._replay_once(room) for _ in range(repeats)]
        return Timing(amount, min(r[0] for r in runs), min(r[1] for r in runs), repeats)

    def _replay_once(self, room: torch.Tensor) -> tuple[float, float]:
        cpu_s = wall_s = 0.0
        jobs: Iterator[tuple[Callable[[], object], int]] = itertools.chain(
            ((_product(p, room), count) for p, count in self.products.items()),
            ((_gather(g, room), count) for g, count in self.gathers.items()),
        )  # made one at a time: together their results would fill the memory
        with torch.inference_mode():
            for job, count in jobs:
                job()  # the first run meets cold caches
                runs = min(count, MOST_RUNS)
                begun = time.process_time(), time.perf_counter()
                for _ in range(runs):
                    job()
                cpu_s += (time.process_time() - begun[0]) / runs * count
                wall_s += (time.perf_counter() - begun[1]) / runs * count
        return cpu_s, wall_s

    def _mm(self, a: Shape, b: Shape, *rest: object, **options: object) -> int:
        self.products[Product(1, a[0], a[1], b[1])] += 1
        return a[0] * a[1] * b[1]

    def _bmm(self, a: Shape, b: Shape, *rest: object, **options: object) -> int:
        self.products[Product(a[0], a[1], a[2], b[2])] += 1
        return math.prod(a) * b[2]

    def _embedding(self, table: Shape, index: Shape, *rest: object, **options: object) -> int:
        self.gathers[Gather(table[0], table[1], math.prod(index), backward=False)] += 1
        return 0

    def _embedding_backward(
        self, grad: Shape, index: Shape, rows: int, *rest: object, **options: object
    ) -> int:
        self.gathers[Gather(rows, grad[-1], math.prod(index), backward=True)] += 1
        return 0


def _operands(p: Product) -> int:
    return p.batch * (p.m * p.k + p.k * p.n + p.m * p.n)


def _product(p: Product, room: torch.Tensor) -> Callable[[], object]:
    first, second = p.batch * p.m * p.k, p.batch * p.k * p.n
    a = room[:first].view(p.batch, p.m, p.k)
    b = room[first : first + second].view(p.batch, p.k, p.n)
    out = torch.empty(p.batch, p.m, p.n)
    if p.batch == 1:
        left, right, product = a[0], b[0], out[0]
        return lambda: torch.mm(left, right, out=product)
    return lambda: torch.bmm(a, b, out=out)


def _gather(g: Gather, room: torch.Tensor) -> Callable[[], object]:
    cells = g.rows * g.width
    table = room[:cells].view(g.rows, g.width)
    index = torch.arange(g.n) * 7919 % max(g.rows, 1)  # scattered over the table
    if g.backward:
        grad = room[cells : cells + g.n * g.width].view(g.n, g.width)
        total = torch.zeros(g.rows, g.width)
        return lambda: total.index_add_(0, index, grad)
    out = torch.empty(g.n, g.width)
    return lambda: torch.index_select(table, 0, index, out=out)
