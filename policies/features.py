"""Features as of a moment: one store of counters and histories for training and for serving.

The store is told what became known (`update`), tick by tick, and turns requests into columns. A
replayed log and a deployed policy feed it the same stream and read it through the same functions,
so features are equal in both, and depend only on events known at the start of the tick.

Columns come in groups, so that a model can read one side alone and a server can compute each side
once: `user`, `refer` and `moment` per request, `streamer` per room and scenario, `pair` per
candidate. Categorical columns are the value plus 1; 0 means unknown. User, refer and streamer ids
are columns of different groups: a streamer as refer and as candidate shares no embedding
(Taobao Live talk, RUI 1.0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.history import FIELDS
from policies.listings import Listings
from policies.memory import AFFINITY, DAY_S, EventMemory, plus_one
from sim.schema import EFFECTIVE_VIEW_S, PAD, TARGETS, Catalogue, Ints, Requests

HOUR_S = 3_600.0
MAX_STEP = 15
"""Steps of a session from here on share one category."""

MOMENT_FIELDS = ("scenario", "entry", "hour", "step")
"""Categories of the moment, in their order. Those of user and streamer begin with the scenario,
too."""

HOUR = MOMENT_FIELDS.index("hour")

USER_DAYS = 2 * len(TARGETS) + 2
"""Dense user column with log(1 + days since joining), 0 for users not known."""

REFER_CROSSES = ("like_refer", "refer_watch")
"""Pair columns that compare a candidate with the refer: same category, and that times log watch."""

PAIR_FIELDS = (*FIELDS, *(f"{name}_affinity" for name in AFFINITY), *REFER_CROSSES)
"""Names of the pair columns, in their order; the refer crosses are the last."""


@dataclass(frozen=True)
class Side:
    """Columns of one group, arrays with N rows."""

    ids: NDArray[np.int32]
    """[N, I] entity ids plus 1, 0 unknown."""
    context: NDArray[np.int32]
    """[N, F] small categories plus 1, 0 unknown."""
    dense: NDArray[np.float32]
    """[N, D] raw numbers, not standardised."""


@dataclass(frozen=True)
class Sequences:
    """Histories of requests: sequences of rows of a table in which each streamer stands once."""

    place: NDArray[np.int32]
    """[B, K, L] rows of `streamers` by `policies.histories.KINDS`, PAD where a sequence ends."""
    streamers: Side
    """The streamers of the sequences, each once, as known now."""


def _columns(*parts: NDArray[np.generic]) -> NDArray[np.float32]:
    """Put [N] and [N, d] arrays beside each other as float32 [N, D]."""
    wide = [part[:, None] if part.ndim == 1 else part for part in parts]
    return np.concatenate(wide, axis=1).astype(np.float32, copy=False)


def _stack(*parts: NDArray[np.integer]) -> NDArray[np.int32]:
    """Put [N] arrays beside each other as int32 [N, F]."""
    return np.stack(parts, axis=1).astype(np.int32, copy=False)


class FeatureStore(EventMemory):
    """What is known as of the last `update`, read as columns; see `EventMemory` for arguments.

    Readers expect `refresh` to have been called with the catalogue of the requests.
    """

    def user(self, requests: Requests) -> Side:
        """Return what is known of each request's user, B rows."""
        catalogue, user, scenario = requests.catalogue, requests.user_id, requests.scenario
        row = self.row(user, self.users)
        tastes = self.tastes_of(user)
        n = len(requests)
        joined = plus_one(catalogue.user_joined_day, user)
        days = np.where(joined > 0, self.now_s / DAY_S - joined + 1.0, 0.0)
        return Side(
            ids=_stack(user + 1),
            context=_stack(
                requests.scenario + 1,
                plus_one(catalogue.user_age_band, user),
                plus_one(catalogue.user_gender, user),
                plus_one(catalogue.user_city_tier, user),
                plus_one(catalogue.user_spend_tier, user),
            ),
            dense=_columns(
                self.users.lifts(row),
                self.users.lifts_in(row, scenario),
                self.users.shown(row),
                self.users.shown_in(row, scenario),
                np.log1p(np.maximum(days, 0.0)),
                tastes.reshape(n, -1),
                self.tastes_in(user, scenario).reshape(n, -1),
            ),
        )

    def refer(self, requests: Requests) -> Side:
        """Return what is known of each request's refer room, B rows.

        Dense column 0 is 1 where there is a refer, else 0.
        """
        catalogue, refer = requests.catalogue, requests.refer_id
        category = plus_one(catalogue.streamer_category, refer)
        met = np.log1p(self.history.lookup(requests.user_id, refer))
        taste = np.take_along_axis(
            self.tastes_of(requests.user_id), self.bucket(category)[:, None, None], axis=1
        )
        return Side(
            ids=_stack(refer + 1),
            context=_stack(
                category,
                plus_one(catalogue.streamer_price_tier, refer),
                plus_one(catalogue.streamer_follower_band, refer),
                requests.entry + 1,
            ),
            dense=_columns(
                refer >= 0,
                np.log1p(requests.refer_watch_s),
                requests.refer_watch_s >= EFFECTIVE_VIEW_S,
                self.streamers.lifts(self.row(refer, self.streamers)),
                taste[:, 0] * (refer >= 0)[:, None],
                met,
            ),
        )

    def sequences(self, requests: Requests) -> Sequences | None:
        """Return the histories of each request's user, None where none are remembered.

        Elements carry the streamer's id, category, price tier and follower band, and its counters.
        """
        if self.histories is None:
            return None
        catalogue = requests.catalogue
        ids = self.histories.of(requests.user_id, catalogue)
        there = ids != PAD
        streamer, row = np.unique(ids[there], return_inverse=True)
        place = np.full(ids.shape, PAD, np.int32)
        place[there] = row
        counted = self.row(streamer, self.streamers)
        side = Side(
            ids=_stack(streamer + 1),
            context=_stack(
                plus_one(catalogue.streamer_category, streamer),
                plus_one(catalogue.streamer_price_tier, streamer),
                plus_one(catalogue.streamer_follower_band, streamer),
            ),
            dense=_columns(self.streamers.lifts(counted), self.streamers.shown(counted)),
        )
        return Sequences(place, side)

    def moment(self, requests: Requests) -> Side:
        """Return where and when each request happens, B rows, its context MOMENT_FIELDS."""
        hour = (requests.time_s % DAY_S // HOUR_S).astype(np.int32)
        none = np.zeros((len(requests), 0))
        return Side(
            ids=none.astype(np.int32),
            context=_stack(
                requests.scenario + 1,
                requests.entry + 1,
                hour + 1,
                np.minimum(requests.step, MAX_STEP) + 1,
            ),
            dense=none.astype(np.float32),
        )

    def streamer(
        self,
        catalogue: Catalogue,
        streamer_id: Ints,
        product_id: Ints,
        room_start_s: NDArray[np.float64],
        scenario: Ints,
    ) -> Side:
        """Return what is known of N rooms in a scenario; all arguments but the first are [N]."""
        row = self.row(streamer_id, self.streamers)
        joined = plus_one(catalogue.streamer_joined_day, streamer_id)
        days = np.where(joined > 0, self.now_s / DAY_S - joined + 1.0, 0.0)
        priced = (product_id >= 0) & (product_id < catalogue.n_products)
        price = np.zeros(len(row), np.float32)
        price[priced] = catalogue.product_price_cny[product_id[priced]]
        return Side(
            ids=_stack(streamer_id + 1),
            context=_stack(
                scenario + 1,
                plus_one(catalogue.streamer_category, streamer_id),
                plus_one(catalogue.streamer_price_tier, streamer_id),
                plus_one(catalogue.streamer_follower_band, streamer_id),
                plus_one(catalogue.product_category, product_id),
            ),
            dense=_columns(
                self.streamers.lifts(row),
                self.streamers.lifts_in(row, scenario),
                self.streamers.shown(row),
                self.streamers.shown_in(row, scenario),
                np.log1p(price),
                np.log1p(np.maximum(self.now_s - room_start_s, 0.0) / HOUR_S),
                np.log1p(np.maximum(days, 0.0)),
            ),
        )

    def pair(
        self,
        requests: Requests,
        cells: NDArray[np.int64],
        category: NDArray[np.int32],
        listings: Listings,
    ) -> NDArray[np.float32]:
        """Return the columns PAIR_FIELDS, float32 [N, P], of N (request, candidate) cells.

        Args:
            requests: B requests.
            cells: [N], ascending positions in the flattened [B, C].
            category: [N] categories of the cells' streamers plus 1.
            listings: candidate lists, as wide as the batch's.
        """
        width = listings.width
        of = cells // max(width, 1)
        bucket = self.bucket(category)
        out = np.zeros((len(cells), len(PAIR_FIELDS)), np.float32)
        n_met, n_taste = len(FIELDS), len(AFFINITY)
        self._met(requests, cells, listings, out[:, :n_met])
        tastes = self.tastes_of(requests.user_id).reshape(-1, n_taste)
        out[:, n_met : n_met + n_taste] = tastes[of * (self.n_categories + 1) + bucket]
        refer = self.bucket(plus_one(requests.catalogue.streamer_category, requests.refer_id))
        like = (bucket == refer[of]) & (bucket > 0)
        out[:, -2] = like
        out[:, -1] = like * np.log1p(requests.refer_watch_s)[of]
        return out

    def _met(
        self,
        requests: Requests,
        cells: NDArray[np.int64],
        listings: Listings,
        out: NDArray[np.float32],
    ) -> None:
        """Write log(1 + sums) of each cell's (user, streamer) pair into `out` [N, F], zeros before.

        Joins from the cheaper side: with long shared lists each user's history is scattered into
        the candidate columns, with short ones each pair is looked up.
        """
        width = listings.width
        n_pairs = max(len(cells), len(requests) * width)
        if len(requests.supply.streamer_id) * len(self.streamers.sums) > 8 * n_pairs:
            user = requests.user_id[cells // max(width, 1)]
            streamer = requests.candidate_id.reshape(-1)[cells]
            out[:] = np.log1p(self.history.lookup(user, streamer))
            return
        owner, known, entry = self.history.entries(requests.user_id)
        table = requests.supply.column_of  # its last column belongs to no streamer
        column = table[requests.row[owner], np.minimum(known, table.shape[1] - 1)]
        here = column >= 0
        cell = owner[here] * width + column[here]
        place = np.full(len(requests) * width, -1, np.int64)
        place[cells] = np.arange(len(cells))
        target = place[cell]
        wanted = target >= 0
        out[target[wanted]] = np.log1p(self.history.sums[entry[here][wanted]])
