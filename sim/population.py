"""Users, streamers and products: latent attributes, and the noisy profile that a platform sees.

Attributes are pure functions of (seed, id): who arrives later changes nobody who is there.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from sim.bounds import refusal
from sim.change import TurnoverConfig
from sim.columns import Columns
from sim.gamma_law import gamma_quantiles
from sim.ids import STREAMERS, USERS, ids_of
from sim.parameters import PopulationConfig
from sim.rng import Purpose, uniforms
from sim.schema import SCENARIOS, UNBORN, Catalogue
from sim.shelves import Shelves
from sim.tenure import born, ever, joined_days, tenure

Array32 = NDArray[np.float32]

INTERESTS = ("attention", "social", "commerce")
"""Groups of targets that care about the same direction of interest."""


class _Table(Columns):
    """A record whose rows are ids, of which some are not yet given out."""

    def room_for(self, n: int) -> Self:
        """Return the record with rows for ids 0 .. n - 1, none of them born."""

        def blank(column: NDArray[np.generic]) -> NDArray[np.generic]:
            shape, kind = (n, *column.shape[1:]), column.dtype.kind
            empty = np.nan if kind == "f" else (UNBORN if kind == "i" else False)
            return np.full(shape, empty, column.dtype)

        return replace(self, **{f.name: blank(getattr(self, f.name)) for f in fields(self)})  # type: ignore[type-var,arg-type]

    def put(self, ids: NDArray[np.int64], rows: Self) -> None:
        """Write the attributes `rows` [N] of the bearers of `ids` [N], who are born."""
        for f in fields(self):  # type: ignore[arg-type]
            getattr(self, f.name)[ids] = getattr(rows, f.name)


@dataclass(frozen=True)
class Users(_Table):
    """Latent users, arrays [U] or [U, K]; logit-scale traits are standard normal."""

    attention: Array32
    """Unit interest vector behind clicks and stays [U, K]."""
    social: Array32
    """Unit interest vector behind likes, comments and follows [U, K]."""
    commerce: Array32
    """Unit interest vector behind bag clicks, carts and purchases [U, K]."""
    bait_sensitivity: Array32
    """Non-negative, mean 1."""
    sociability: Array32
    intent: Array32
    price_sensitivity: Array32
    """Non-negative, mean 1."""
    patience: Array32
    activity: Array32
    """Positive, mean 1; multiplies sessions a day."""
    hour_shift: Array32
    """Personal shift of the hour-of-day profile, hours."""
    joined_day: NDArray[np.int32]
    left_day: NDArray[np.int32]
    in_scenario: NDArray[np.bool_]
    """[U, M]: whether the user ever comes to each scenario."""
    age_band: NDArray[np.int8]
    gender: NDArray[np.int8]
    city_tier: NDArray[np.int8]
    spend_tier: NDArray[np.int8]


@dataclass(frozen=True)
class Streamers(_Table):
    """Latent streamers, arrays [S] or [S, K]."""

    content: Array32
    """Unit vector of the streamer's own content [S, K]."""
    quality: Array32
    bait: Array32
    """How much more the title promises than the room holds; standard normal."""
    charm: Array32
    popularity: Array32
    """Positive, heavy-tailed."""
    fame: Array32
    """Standard normal score of popularity."""
    start_hour: Array32
    joined_day: NDArray[np.int32]
    left_day: NDArray[np.int32]
    stamina: NDArray[np.float64]
    """Hazard of leaving that the streamer lives through before it leaves."""
    in_scenario: NDArray[np.bool_]
    """[S, M]: whether each scenario may show the streamer."""
    category: NDArray[np.int8]
    price_tier: NDArray[np.int8]
    follower_band: NDArray[np.int8]


@dataclass(frozen=True)
class Products(_Table):
    """Products, arrays [P] or [P, K]."""

    content: Array32
    log_price: Array32
    """Log price relative to the median of all products."""
    appeal: Array32
    sale_depth: Array32
    """Discount in a sale relative to the mean one, in [0, 2]."""
    streamer_id: NDArray[np.int32]
    """Who sells it."""
    joined_day: NDArray[np.int32]
    category: NDArray[np.int8]
    price_cny: Array32


def unit(vectors: Array32) -> Array32:
    """Scale vectors [..., K] to length one."""
    length = np.sqrt(np.einsum("...k,...k->...", vectors, vectors))
    return np.asarray(vectors / length[..., None], np.float32)


class Population:
    """Everyone who exists up to some day; grows by whole days.

    Arrays are indexed by id and as long as there are ids; the row of somebody not yet born is
    filled with UNBORN days.

    Args:
        config: sizes and spreads.
        turnover: arrivals and departures.
        supply_shares: share of streamers in each scenario's supply, by SCENARIOS.
        users_shares: share of users who come to each scenario, by SCENARIOS.
        evening: (share, hour) of streamers who start in the evening.
        activity_log_sigma: spread of users' activity.
        task_conflict: in [0, 1], distance between the interest directions of target groups.
        seed: the world's seed.
    """

    def __init__(
        self,
        config: PopulationConfig,
        turnover: TurnoverConfig,
        supply_shares: tuple[float, ...],
        users_shares: tuple[float, ...],
        evening: tuple[float, float],
        activity_log_sigma: float,
        task_conflict: float,
        seed: int,
    ) -> None:
        self.config = config
        self.turnover = turnover
        self.supply_shares = supply_shares
        self.users_shares = users_shares
        self.evening = evening
        self.activity_log_sigma = activity_log_sigma
        self.task_conflict = task_conflict
        self.seed = seed
        k, g = config.n_dims, config.n_categories
        self.centroids = unit(self._normals(Purpose.GEOMETRY, np.arange(g), 0, k))
        self.conflict_maps = {
            name: orthogonal(self._normals(Purpose.GEOMETRY, np.arange(k), 1 + i, k))
            for i, name in enumerate(INTERESTS)
        }
        self.profile_axes = unit(self._normals(Purpose.GEOMETRY, np.arange(2), 9, k))
        self.n_users = ever(config.n_users, turnover.users_per_day, config.id_days)
        self.n_streamers = ever(config.n_streamers, turnover.streamers_per_day, config.id_days)
        births = np.arange(self.n_streamers)
        u = uniforms(seed, Purpose.STREAMER, births, 0, 0, 9)[0]
        self.category_of_birth = pick(1.0 / np.arange(1, g + 1) ** 0.5, u)
        scheme = config.id_scheme
        self.user_ids = ids_of(scheme, USERS, self.n_users, seed)
        self.streamer_ids = ids_of(
            scheme, STREAMERS, self.n_streamers, seed, self.category_of_birth
        )
        joined = joined_days(config.n_streamers, turnover.streamers_per_day, births)
        self.shelves = Shelves.of(
            config, turnover, self.streamer_ids, self.category_of_birth, joined, seed
        )
        self.day = -1
        self.users = self._users(np.zeros(0, np.int64)).room_for(self.n_users)
        self.streamers = self._streamers(np.zeros(0, np.int64)).room_for(self.n_streamers)
        self.products = self._products(np.zeros(0, np.int64)).room_for(self.shelves.n_products)

    def grow(self, day: int) -> None:
        """Make everyone who joins up to and including `day` exist.

        Raises:
            ConfigError: ids are not reserved for so many days.
        """
        if day <= self.day:
            return
        if day > self.config.id_days:
            raise refusal(self.config, "id_days", f"at least {day}, the days to be simulated")
        before = self.day
        births = born(self.config.n_users, self.turnover.users_per_day, before, day)
        self.users.put(self.user_ids[births], self._users(births))
        births = born(self.config.n_streamers, self.turnover.streamers_per_day, before, day)
        self.streamers.put(self.streamer_ids[births], self._streamers(births))
        fresh = self.shelves.put_out(before, day)
        self.products.put(fresh, self._products(fresh))
        self.day = day

    def catalogue(self) -> Catalogue:
        """Return what the platform knows of everyone who exists, whoever is born later."""
        users, streamers, products = self.users, self.streamers, self.products
        return Catalogue(
            user_age_band=users.age_band.copy(),
            user_gender=users.gender.copy(),
            user_city_tier=users.city_tier.copy(),
            user_spend_tier=users.spend_tier.copy(),
            user_joined_day=users.joined_day.copy(),
            streamer_category=streamers.category.copy(),
            streamer_price_tier=streamers.price_tier.copy(),
            streamer_follower_band=streamers.follower_band.copy(),
            streamer_joined_day=streamers.joined_day.copy(),
            product_streamer_id=products.streamer_id.copy(),
            product_category=products.category.copy(),
            product_price_cny=products.price_cny.copy(),
            product_joined_day=products.joined_day.copy(),
        )

    def _uniforms(
        self, purpose: Purpose, ids: NDArray[np.integer], kind: int
    ) -> NDArray[np.float64]:
        return uniforms(self.seed, purpose, ids, 0, 0, kind)

    def _normals(
        self, purpose: Purpose, ids: NDArray[np.integer], kind: int, width: int
    ) -> Array32:
        blocks = np.arange((width + 3) // 4)
        u = uniforms(self.seed, purpose, ids[:, None], 1, blocks[None, :], kind)
        flat = np.moveaxis(u, 0, -1).reshape(len(ids), 4 * len(blocks))[:, :width]
        return ndtri(flat).astype(np.float32)

    def _users(self, births: NDArray[np.int64]) -> Users:
        c, ids = self.config, self.user_ids[births]
        purpose = Purpose.USER
        u = np.concatenate([self._uniforms(purpose, ids, kind) for kind in range(4)])
        normal = ndtri(u).astype(np.float32)
        blocks = np.arange((c.n_categories + 3) // 4)
        raw = uniforms(self.seed, purpose, ids[:, None], 2, blocks[None, :], 0)
        raw = np.moveaxis(raw, 0, -1).reshape(len(ids), 4 * len(blocks))[:, : c.n_categories]
        gamma = gamma_quantiles(c.taste_concentration, raw) + 1e-12
        taste = (gamma / gamma.sum(axis=1, keepdims=True)).astype(np.float32)
        noise = self._normals(purpose, ids, 3, c.n_dims) * np.float32(
            c.user_noise / np.sqrt(c.n_dims)
        )
        attention = unit(np.einsum("ug,gk->uk", taste, self.centroids) + noise)
        social, commerce = (self._diverted(attention, name) for name in ("social", "commerce"))
        price_sensitivity = np.exp(0.5 * normal[3] - 0.125)
        intent = normal[2]
        signal = np.float32(c.profile_signal)
        hidden = np.sqrt(1 - signal**2)
        axes = np.einsum("uk,ak->au", attention, self.profile_axes) * np.sqrt(c.n_dims)
        spread = np.float32(self.activity_log_sigma)
        comes = [uniforms(self.seed, purpose, ids, 4, m, 0)[0] for m in range(len(SCENARIOS))]
        joined, left = tenure(c.n_users, self.turnover.users_per_day, births, u[12])
        return Users(
            attention=attention,
            social=social,
            commerce=commerce,
            bait_sensitivity=np.exp(0.6 * normal[0] - 0.18),
            sociability=normal[1],
            intent=intent,
            price_sensitivity=price_sensitivity,
            patience=normal[4],
            activity=np.exp(spread * normal[5] - spread**2 / 2),
            hour_shift=1.5 * normal[6],
            joined_day=joined,
            left_day=left,
            in_scenario=np.stack(comes, axis=1) < np.array(self.users_shares),
            age_band=band(signal * axes[0] + hidden * normal[7], 6),
            gender=band(signal * axes[1] + hidden * normal[8], 2),
            city_tier=band(signal * normal[3] + hidden * normal[9], 4),
            spend_tier=band(signal * intent + hidden * normal[10], 4),
        )

    def _diverted(self, attention: Array32, name: str) -> Array32:
        turned = np.einsum("uk,kl->ul", attention, self.conflict_maps[name])
        share = np.float32(self.task_conflict)
        return unit((1 - share) * attention + share * turned)

    def _streamers(self, births: NDArray[np.int64]) -> Streamers:
        c, ids = self.config, self.streamer_ids[births]
        purpose = Purpose.STREAMER
        u = np.concatenate([self._uniforms(purpose, ids, kind) for kind in range(4)])
        normal = ndtri(u).astype(np.float32)
        category = self.category_of_birth[births]
        noise = self._normals(purpose, ids, 4, c.n_dims)
        content = unit(self.centroids[category] + noise * c.streamer_noise / np.sqrt(c.n_dims))
        quality = normal[1]
        fame = 0.5 * quality + np.float32(np.sqrt(0.75)) * normal[2]
        popularity = (1 - ndtr(fame.astype(np.float64))) ** (-1 / c.popularity_tail)
        joined, left = tenure(c.n_streamers, self.turnover.streamers_per_day, births, u[8])
        share, hour = self.evening
        spread = np.where(u[9] < share, hour + 1.5 * normal[10], 7 + 17 * u[10])
        supply = [uniforms(self.seed, purpose, ids, 2, m, 0)[0] for m in range(len(SCENARIOS))]
        return Streamers(
            content=content.astype(np.float32),
            quality=quality,
            bait=-0.3 * quality + np.float32(np.sqrt(0.91)) * normal[3],
            charm=normal[4],
            popularity=popularity.astype(np.float32),
            fame=fame,
            start_hour=np.mod(spread, 24).astype(np.float32),
            joined_day=joined,
            left_day=left,
            stamina=-np.log(u[8]),
            in_scenario=np.stack(supply, axis=1) < np.array(self.supply_shares),
            category=category.astype(np.int8),
            price_tier=band(normal[5], 4),
            follower_band=np.minimum(np.log2(popularity), 9).astype(np.int8),
        )

    def _products(self, ids: NDArray[np.int64]) -> Products:
        c, purpose = self.config, Purpose.PRODUCT
        owner = self.shelves.owner[ids]
        u = self._uniforms(purpose, ids, 0)
        normal = ndtri(u).astype(np.float32)
        noise = self._normals(purpose, ids, 1, c.n_dims) * c.product_noise / np.sqrt(c.n_dims)
        tier = (self.streamers.price_tier[owner] - 1.5).astype(np.float32) * c.price_tier_step
        log_price = tier + c.price_log_sigma * normal[0]
        return Products(
            content=unit(self.streamers.content[owner] + noise).astype(np.float32),
            log_price=log_price.astype(np.float32),
            appeal=normal[1],
            sale_depth=(2 * u[2]).astype(np.float32),
            streamer_id=owner,
            joined_day=self.shelves.joined_day[ids],
            category=self.streamers.category[owner],
            price_cny=(c.price_median_cny * np.exp(log_price)).round(2).astype(np.float32),
        )


def band(score: NDArray[np.floating], n: int) -> NDArray[np.int8]:
    """Cut standard normal scores [N] into n equally likely bands 0 .. n - 1."""
    return np.minimum(ndtr(score.astype(np.float64)) * n, n - 1).astype(np.int8)


def pick(weights: NDArray[np.floating], u: NDArray[np.float64]) -> NDArray[np.int64]:
    """Draw indices [N] with probability proportional to `weights` [G] by inverse cdf."""
    cdf = np.cumsum(weights, dtype=np.float64)
    index = np.searchsorted(cdf, u * cdf[-1], side="right")
    return np.minimum(np.asarray(index, np.int64), len(weights) - 1)


def orthogonal(matrix: Array32) -> Array32:
    """Return the orthogonal factor of a square matrix [K, K], signs fixed."""
    q, r = np.linalg.qr(matrix.astype(np.float64))
    return (q * np.sign(np.diag(r))).astype(np.float32)


def rotation(axes: Array32, angle: float) -> Array32:
    """Return the matrix [K, K] that turns each plane of consecutive `axes` columns by `angle`."""
    k = len(axes)
    turn = np.eye(k)
    if angle == 0.0:
        return turn.astype(np.float32)
    for i in range(0, k - 1, 2):
        c, s = np.cos(angle), np.sin(angle)
        turn[i : i + 2, i : i + 2] = [[c, -s], [s, c]]
    q = axes.astype(np.float64)
    return (q @ turn @ q.T).astype(np.float32)
