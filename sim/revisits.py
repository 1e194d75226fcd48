"""What users do between a stay and a purchase: they come back to the product's page or the cart.

Of a stay with a bag click, u operational seconds after its end, visits are a Poisson process:

    hazard(u) = rate exp(-u / fade) lift(u),   lift(u) = pending_lift ** informative while pending
                                                         1 otherwise,          u <= horizon

Pending is a purchase that was decided until it is made or prevented. So visits tell who will still
buy, and their end tells nothing more than that: the material of methods that learn from what comes
after the click (GDFM, TRACE). At informative = 0 they come to all alike. They cause nothing: no
bond, no interest and no purchase depends on them.

Waiting for the next visit takes one uniform: the integral of the hazard grows by a standard
exponential (Daley & Vere-Jones, vol. I, section 7.4). Scalars are compiled; `law` is
`sim.kernel.numbers` of a `RevisitNumbers`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.delay_parameters import DelayConfig
from sim.events import CART_PAGE, PRODUCT_PAGE
from sim.kernel import Block, allocating, kernel
from sim.operational_time import Hours, clock_s, operational_s
from sim.rng import Purpose, four_uniforms
from sim.schema import DAY_S

_OUTCOME = int(Purpose.OUTCOME)

MOST_REVISITS = 4096
"""Of one stay."""

EPISODE = np.dtype(
    [
        ("user_id", np.int64),
        ("streamer_id", np.int64),
        ("moment", np.int64),
        ("start_s", np.float64),
        ("pending_s", np.float64),
        ("cart", np.bool_),
    ],
    align=True,
)
"""A stay with a bag click: its end, and for how many seconds of the clock from there a purchase is
pending, 0 where none is decided."""


@dataclass(frozen=True)
class RevisitNumbers:
    """Parameters as compiled code takes them."""

    rate: float
    """Per operational second."""
    fade_s: float
    lift: float
    cart_share: float
    horizon_s: float

    @classmethod
    def of(cls, config: DelayConfig) -> RevisitNumbers:
        """Return the numbers of a world's delays."""
        own = config.revisit
        return cls(
            own.rate_per_day / DAY_S, own.fade_days * DAY_S, own.pending_lift**own.informative,
            own.cart_share, config.horizon_days * DAY_S,
        )  # fmt: skip


@kernel
def visits_by(law: RevisitNumbers, pending_s: float, passed_s: float) -> float:
    """Return the expected visits by `passed_s` if a purchase is pending for `pending_s`.

    Both in operational seconds from the end of the stay.
    """
    t = min(max(passed_s, 0.0), law.horizon_s)
    early = min(t, pending_s)
    while_pending = -math.expm1(-early / law.fade_s)
    later = math.exp(-early / law.fade_s) - math.exp(-t / law.fade_s)
    return law.rate * law.fade_s * (law.lift * while_pending + later)


@kernel
def passed_at(law: RevisitNumbers, pending_s: float, visits: float) -> float:
    """Return the operational seconds by which `visits` are expected, below `visits_by(horizon)`."""
    whole = law.rate * law.fade_s
    pending = whole * law.lift * -math.expm1(-pending_s / law.fade_s)
    if visits <= pending:
        return -law.fade_s * math.log1p(-visits / (whole * law.lift))
    return -law.fade_s * math.log(math.exp(-pending_s / law.fade_s) - (visits - pending) / whole)


@kernel
def draw_revisits(
    law: RevisitNumbers,
    hours: Hours,
    episode: Block,
    seed: int,
    kind: int,
    at: int,
    time_s: NDArray[np.float64],
    page: NDArray[np.int8],
) -> int:
    """Draw the visits that follow one stay; return their number.

    Args:
        law: the parameters.
        hours: of the delays.
        episode: EPISODE, the stay.
        seed: the world's seed.
        kind: of the draws.
        at: row from which `time_s` and `page` are written.
        time_s: receives when they happen; an empty array receives nothing.
        page: receives where they go.
    """
    began = operational_s(hours, episode.start_s)
    pending_s = 0.0
    if law.lift > 1.0:  # else not even the rounding may tell
        pending_s = operational_s(hours, episode.start_s + episode.pending_s) - began
    end, reached, n = visits_by(law, pending_s, law.horizon_s), 0.0, 0
    while n < MOST_REVISITS:
        u = four_uniforms(
            seed, _OUTCOME, episode.user_id, episode.streamer_id, episode.moment, kind + (n << 16)
        )
        reached -= math.log(u[0])
        if reached >= end:
            break
        if len(time_s):
            passed_s = passed_at(law, pending_s, reached)
            # the way through operational time and back rounds
            time_s[at + n] = max(clock_s(hours, began + passed_s), episode.start_s)
            page[at + n] = CART_PAGE if episode.cart and u[1] < law.cart_share else PRODUCT_PAGE
        n += 1
    return n


@allocating
def count_revisits(
    law: RevisitNumbers,
    hours: Hours,
    episodes: Block,
    seed: int,
    kind: int,
    out: NDArray[np.int64],
) -> None:
    """Draw how many visits follow each of the stays EPISODE [N]."""
    none_s, nowhere = np.empty(0), np.empty(0, np.int8)
    for i in range(len(episodes)):
        out[i] = draw_revisits(law, hours, episodes[i], seed, kind, 0, none_s, nowhere)


@kernel
def fill_revisits(
    law: RevisitNumbers,
    hours: Hours,
    episodes: Block,
    seed: int,
    kind: int,
    time_s: NDArray[np.float64],
    page: NDArray[np.int8],
) -> None:
    """Draw the visits that follow the stays EPISODE [N], one stay after the other [M]."""
    at = 0
    for i in range(len(episodes)):
        at += draw_revisits(law, hours, episodes[i], seed, kind, at, time_s, page)


def expected_revisits(
    config: DelayConfig, passed_s: ArrayLike, pending_s: ArrayLike
) -> NDArray[np.float64]:
    """Return the expected visits [N] by `passed_s` of stays with a purchase pending `pending_s`.

    The number is Poisson of this mean; times are its quotient by the value at the horizon.

    Args:
        config: delays of the world.
        passed_s: operational seconds from the end of the stay [N].
        pending_s: operational seconds until a decided purchase is made or prevented, 0 for who
            decides nothing [N].
    """
    own = config.revisit
    fade_s, lift = own.fade_days * DAY_S, own.pending_lift**own.informative
    t = np.clip(passed_s, 0.0, config.horizon_days * DAY_S)
    early = np.minimum(t, pending_s)
    later = np.exp(-early / fade_s) - np.exp(-t / fade_s)
    share = -lift * np.expm1(-early / fade_s) + later
    return np.asarray(own.rate_per_day * own.fade_days * share)
