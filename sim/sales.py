"""What comes of decisions to buy: purchases, further ones of the same, refunds, and their reports.

Each draw is addressed by (user, streamer, moment, kind, number of the purchase), so that the first
purchase is the same whatever follows it. A report may never arrive: a purchase after the end of the
session is lost with probability `lost_share`, and `known_s` is then infinite. The platform's tables
leave such purchases out, and their refunds with them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sim.after_purchase import draw_lag_s, draw_refund_s, p_refund
from sim.kernel import Block, kernel
from sim.repeat_purchase import MOST_FURTHER, next_purchase_s, p_repeat
from sim.response import Laws
from sim.rng import Purpose, four_uniforms
from sim.schema import Impressions, Purchases, Refunds
from sim.session import REPEATING, SETTLING

_OUTCOME = int(Purpose.OUTCOME)

SALE = np.dtype(
    [
        ("row", np.int64),
        ("ordinal", np.int8),
        ("event_s", np.float64),
        ("known_s", np.float64),
        ("refund_s", np.float64),
        ("refund_known_s", np.float64),
    ],
    align=True,
)
"""A purchase: `row` of what it came of, `refund_s` NaN where nothing is given back."""

DEAL = np.dtype(
    [
        ("user_id", np.int64),
        ("streamer_id", np.int64),
        ("moment", np.int64),
        ("intent", np.float64),
        ("log_price", np.float64),
        ("event_s", np.float64),
        ("lag_s", np.float64),
        ("refund_s", np.float64),
        ("refund_lag_s", np.float64),
        ("session_end_s", np.float64),
    ],
    align=True,
)
"""A first purchase with what was drawn for it: who, when, seconds to its report, from there to its
refund (NaN for none) and to the report of that, and the end of the session that led to it."""


def draw_sales(laws: Laws, deals: Block, seed: int) -> Block:
    """Return the purchases [M] that first purchases DEAL [N] come to, in their order.

    Args:
        laws: `sim.kernel.numbers` of the laws.
        deals: the first purchases.
        seed: the world's seed.
    """
    n = np.ones(len(deals), np.int64)
    if laws.further.odds > 0.0:
        _count(laws, deals, seed, n)
    sales = np.empty(int(n.sum()), SALE)
    _fill(laws, deals, n, seed, sales)
    return sales


def sale_records(
    sales: Block, of: Impressions, amount_cny: NDArray[np.float32]
) -> tuple[Purchases, Refunds]:
    """Return purchases, also those that nobody learns of, and refunds that somebody does.

    Args:
        sales: SALE [M].
        of: impressions of which they came [N].
        amount_cny: what is paid for each [N].
    """
    at = sales["row"]
    of = of.take(at)
    shared: Mapping[str, NDArray[np.generic]] = {
        "request_id": of.request_id,
        "user_id": of.user_id,
        "streamer_id": of.streamer_id,
        "product_id": of.product_id,
        "scenario": of.scenario,
        "ordinal": sales["ordinal"].copy(),
        "amount_cny": amount_cny[at],
    }
    event_s = sales["event_s"].copy()
    purchases = Purchases(
        event_s=event_s,
        known_s=sales["known_s"].copy(),
        impression_s=of.time_s,
        **shared,  # type: ignore[arg-type]
    )
    refunds = Refunds(
        event_s=sales["refund_s"].copy(),
        known_s=sales["refund_known_s"].copy(),
        purchase_s=event_s,
        **shared,  # type: ignore[arg-type]
    )
    return purchases, refunds.take(np.isfinite(refunds.event_s) & np.isfinite(refunds.known_s))


@kernel
def _count(laws: Laws, deals: Block, seed: int, out: NDArray[np.int64]) -> None:
    """Draw how many purchases come of each deal, the first one included."""
    for i in range(len(deals)):
        deal = deals[i]
        p, n = p_repeat(laws.further, deal.intent), 1
        while n <= MOST_FURTHER:
            u = four_uniforms(
                seed, _OUTCOME, deal.user_id, deal.streamer_id, deal.moment, REPEATING + (n << 16)
            )
            if u[0] >= p:
                break
            n += 1
        out[i] = n


@kernel
def _fill(laws: Laws, deals: Block, n: NDArray[np.int64], seed: int, sales: Block) -> None:
    at, lost_share = 0, laws.reporting.lost_share
    for i in range(len(deals)):
        deal = deals[i]
        event_s, lag_s = deal.event_s, deal.lag_s
        refund_after_s, refund_lag_s = deal.refund_s, deal.refund_lag_s
        for number in range(n[i]):
            if number > 0:
                u = four_uniforms(
                    seed, _OUTCOME, deal.user_id, deal.streamer_id, deal.moment,
                    REPEATING + (number << 16),
                )  # fmt: skip
                event_s = next_purchase_s(laws.further, laws.delay.hours, event_s, u[1])
                refunded = u[2] < p_refund(laws.refund, deal.log_price)
                refund_after_s = draw_refund_s(laws.refund, u[3]) if refunded else np.nan
            v = four_uniforms(
                seed, _OUTCOME, deal.user_id, deal.streamer_id, deal.moment,
                SETTLING + (number << 16),
            )  # fmt: skip
            if number > 0:
                lag_s = draw_lag_s(laws.reporting, v[0])
                refund_lag_s = draw_lag_s(laws.reporting, v[1])
            lost = event_s > deal.session_end_s and v[2] < lost_share
            known_s = np.inf if lost else event_s + lag_s
            refund_s = event_s + refund_after_s
            sale = sales[at]
            sale.row, sale.ordinal = i, number
            sale.event_s, sale.known_s, sale.refund_s = event_s, known_s, refund_s
            # a refund is reported on a purchase that the platform knows
            sale.refund_known_s = max(refund_s + refund_lag_s, known_s)
            at += 1
