"""Labels beyond `sim.schema.TARGETS`, for models that ask for them: what a big sale is run for.

The talk adds shop visits and amounts to the graph of targets for a promotion. What a log records
of them are `sim.events.Revisits`, visits to the page of a product or to the cart after a stay with
a bag click, and `sim.schema.Purchases.amount_cny`. Both come late: a label holds what was known at
the log's `as_of_s`, so a row whose visit or purchase is still to come counts as one without, as
with the label `purchase`. Source: Taobao Live talk (2021).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.schema import TARGETS, Impressions

if TYPE_CHECKING:
    from sim.log import Log

AUXILIARY = ("shop_visit", "amount")
"""Names beside TARGETS. `shop_visit`: the user came back after the stay to the product's page or
the cart. `amount`: min(CNY bought, AMOUNT_CAP_CNY) / AMOUNT_CAP_CNY in [0, 1], refunds not
deducted, as in a GMV."""

LABELS = (*TARGETS, *AUXILIARY)
"""All labels, in the order of their columns."""

AMOUNT_CAP_CNY = 1000.0
"""Cap of the amount bought through one impression; free: of 9,086 purchases in two small worlds
with a sale the median was 73 CNY, the 99.5 % quantile 582 CNY and the dearest 1,240 CNY."""


class AuxiliaryLabels:
    """Looks auxiliary labels up by impression.

    Args:
        log: whose `as_of_s` says what is known.
    """

    def __init__(self, log: Log) -> None:
        """Read visits and purchases and sum them by impression."""
        visits, bought = log.revisits(), log.purchases()
        self._visits = _Sums(visits.request_id, visits.streamer_id, np.ones(len(visits)))
        self._amounts = _Sums(bought.request_id, bought.streamer_id, bought.amount_cny)

    def of(self, shown: Impressions) -> NDArray[np.float32]:
        """Return the labels of `shown`, float32 [N, A] in [0, 1], in the order of AUXILIARY."""
        visits = self._visits.at(shown.request_id, shown.streamer_id)
        amount_cny = self._amounts.at(shown.request_id, shown.streamer_id)
        share = np.minimum(amount_cny, AMOUNT_CAP_CNY) / AMOUNT_CAP_CNY
        return np.stack([visits > 0.0, share], axis=1).astype(np.float32)


class _Sums:
    """Sums of values by (request, streamer), which together name an impression."""

    def __init__(
        self,
        request_id: NDArray[np.int64],
        streamer_id: NDArray[np.int32],
        value: NDArray[np.floating],
    ) -> None:
        order = np.lexsort((streamer_id, request_id))
        request, streamer = request_id[order], streamer_id[order].astype(np.int64)
        fresh = np.ones(len(order), np.bool_)
        fresh[1:] = (request[1:] != request[:-1]) | (streamer[1:] != streamer[:-1])
        first = np.flatnonzero(fresh)
        self._request, self._streamer = request[first], streamer[first]
        amounts = value[order].astype(np.float64)
        self._sum = np.add.reduceat(amounts, first) if len(first) else np.zeros(0)

    def at(
        self, request_id: NDArray[np.int64], streamer_id: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        """Return the sums of impressions [N], 0 where nothing was added."""
        total = np.zeros(len(request_id))
        low = np.searchsorted(self._request, request_id, side="left")
        count = np.searchsorted(self._request, request_id, side="right") - low
        row = np.repeat(np.arange(len(request_id)), count)
        event = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + low[row]
        same = self._streamer[event] == streamer_id[row]
        total[row[same]] = self._sum[event[same]]
        return total
