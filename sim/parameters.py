"""The sections of a world's config: typed parameters with units and allowed ranges."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sim.bounds import refusal, require, require_each, require_int, require_one_of

ID_SCHEMES = ("shuffled", "sequential", "by_category")
EXAMINATIONS = ("position", "cascade")


@dataclass(frozen=True)
class PopulationConfig:
    """Who exists: users, streamers, products and the space that they live in."""

    n_users: int
    n_streamers: int
    products_per_streamer: int
    n_categories: int
    n_dims: int
    """Dimension K of the interest space."""
    taste_concentration: float
    """Dirichlet concentration of a user's category weights; small means few interests."""
    user_noise: float
    """Scale of the noise added to interest vectors, relative to the centroid mix."""
    streamer_noise: float
    product_noise: float
    profile_signal: float
    """In [0, 1]: how much observed profile fields tell about the latents."""
    popularity_tail: float
    """Tail exponent of streamer popularity."""
    price_log_sigma: float
    """Spread of log price within a category."""
    price_median_cny: float
    price_tier_step: float
    """Log price from one price tier of streamers to the next."""
    initial_follows: float
    """Mean number of streamers a user follows when the world begins."""
    product_weight: float
    """Weight of the product on show in the content of a room, relative to the streamer's own."""
    id_scheme: str
    """One of ID_SCHEMES: `shuffled` ids tell nothing; `sequential` ones tell the order of birth,
    `by_category` ones the category."""
    id_days: int
    """Days for which ids are reserved; the world cannot run longer."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_int(self, "n_users", 1, 2**31 - 1)
        require_int(self, "n_streamers", 2, 2**31 - 1)
        require_int(self, "products_per_streamer", 1, 1000)
        require_int(self, "n_categories", 2, 100)
        require_int(self, "n_dims", 2, 256)
        require(self, "taste_concentration", 1e-3, 100)
        for name in ("user_noise", "streamer_noise", "product_noise"):
            require(self, name, 0.0, 10.0)
        require(self, "profile_signal", 0.0, 1.0)
        require(self, "popularity_tail", 0.2, 10.0)
        require(self, "price_log_sigma", 0.0, 5.0)
        require(self, "price_median_cny", 0.01, 1e6)
        require(self, "price_tier_step", 0.0, 5.0)
        require(self, "initial_follows", 0.0, 100.0)
        require(self, "product_weight", 0.0, 10.0)
        require_one_of(self, "id_scheme", ID_SCHEMES)
        require_int(self, "id_days", 2, 3650)


@dataclass(frozen=True)
class ScheduleConfig:
    """When streamers are on air."""

    rooms_per_day: float
    """Mean rooms (lives) per streamer and day, at most 2."""
    length_median_min: float
    length_log_sigma: float
    evening_share: float
    """Share of streamers whose usual start is in the evening; the rest start over the day."""
    evening_hour: float
    """Mean start hour of evening streamers."""
    start_jitter_h: float
    product_min: float
    """Minutes for which a product stays on show."""
    highlight_share: float
    """Share of ten-minute slots of a room that are a highlight, for all of its viewers."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self, "rooms_per_day", 0.01, 2.0)
        require(self, "length_median_min", 10.0, 600.0)
        require(self, "length_log_sigma", 0.0, 2.0)
        require(self, "evening_share", 0.0, 1.0)
        require(self, "evening_hour", 0.0, 24.0)
        require(self, "start_jitter_h", 0.0, 12.0)
        require(self, "product_min", 1.0, 600.0)
        require(self, "highlight_share", 0.0, 1.0)


@dataclass(frozen=True)
class ScenarioConfig:
    """One entrance of the platform."""

    traffic_share: float
    """Share of sessions that begin here."""
    supply_share: float
    """Share of streamers that this scenario may show."""
    users_share: float
    """Share of users who come here at all; which ones is drawn for each scenario apart."""
    opens_day: int
    """First day on which the scenario exists; until then its traffic goes to the others."""
    slate_size: int
    scenario_shift: float
    """Angle in radians by which interests are rotated here."""
    base_click: float | None
    """Lists: click rate of an examined card, averaged over random pairs (the world solves for the
    intercept). None in the swipe, which has no click."""
    base_engaged_stay: float
    """Share of stays, once entered, that are engaged (over a minute) rather than bounces; averaged
    over random pairs."""
    patience: float
    """Intercept of the logit to go on after a page or swipe."""
    max_requests: int
    """Pages or swipes of a session, at most."""
    examination: str
    """One of EXAMINATIONS. `position`: the card at position k is examined with probability
    decay ** k. `cascade`: cards are read from the top; after one, the user reads on with
    probability decay, after a click with decay x `after_click`."""
    examination_decay: float
    after_click: float
    quality_weight: float
    """Effect of quality here, as a multiple of the common one."""
    bait_weight: float
    follow_weight: float
    social_shift: float
    """Shift of likes, comments and follows here, logits."""
    commerce_shift: float
    """Shift of bag clicks, carts and purchases here, logits."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self, "traffic_share", 0.0, 1.0)
        require(self, "supply_share", 0.01, 1.0)
        require_int(self, "slate_size", 1, 100)
        require(self, "scenario_shift", 0.0, math.pi)
        if self.base_click is not None:
            require(self, "base_click", 0.001, 0.95)
        require(self, "base_engaged_stay", 0.001, 0.95)
        require(self, "patience", -5.0, 10.0)
        require_int(self, "max_requests", 1, 200)
        require_one_of(self, "examination", EXAMINATIONS)
        require(self, "examination_decay", 0.1, 1.0)
        require(self, "after_click", 0.0, 1.0)
        require(self, "users_share", 0.01, 1.0)
        require_int(self, "opens_day", 0, 3650)
        for name in ("quality_weight", "bait_weight", "follow_weight"):
            require(self, name, 0.0, 10.0)
        for name in ("social_shift", "commerce_shift"):
            require(self, name, -5.0, 5.0)


@dataclass(frozen=True)
class SessionConfig:
    """How a session runs."""

    entry_shares: tuple[float, float, float]
    """Shares of swipe sessions entered by interest, misleading title, task reward; sum 1. The last
    two together are the dial `uninterested_entry`."""
    task_stay_s: float
    """Seconds that a task entry makes the user stay in the entry room."""
    refer_pull: float
    """Dial lambda in [0, 1]: how far the refer can pull momentary interest."""
    refer_gain: float
    """Slope of the pull in the affinity to the refer."""
    refer_threshold: float
    """Affinity to the refer at which half of the pull acts."""
    satiation: float
    """Penalty per unit of similarity to what was viewed in this session."""
    satiation_memory: float
    """Share of satiation kept from step to step."""
    mood_sigma: float
    """Spread of the session's mood, in logits."""
    patience_sigma: float
    patience_gain: float
    """Effect of satisfaction in [-1, 1] on the logit to go on."""
    patience_decay: float
    """Loss of the logit per step."""
    max_session_s: float
    glance_s: float
    """Seconds spent per card of a page, and between two swipes."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require_each(self, "entry_shares", 0.0, 1.0, 3)
        if abs(sum(self.entry_shares) - 1.0) > 1e-6:
            raise refusal(self, "entry_shares", "shares with sum 1")
        require(self, "task_stay_s", 0.0, 3600.0)
        require(self, "refer_pull", 0.0, 1.0)
        require(self, "refer_gain", 0.0, 100.0)
        require(self, "refer_threshold", -1.0, 1.0)
        require(self, "satiation", 0.0, 10.0)
        require(self, "satiation_memory", 0.0, 1.0)
        require(self, "mood_sigma", 0.0, 5.0)
        require(self, "patience_sigma", 0.0, 5.0)
        require(self, "patience_gain", 0.0, 10.0)
        require(self, "patience_decay", 0.0, 5.0)
        require(self, "max_session_s", 60.0, 14400.0)
        require(self, "glance_s", 0.0, 60.0)


@dataclass(frozen=True)
class ResponseConfig:
    """What moves clicks and stays; effects are in logits."""

    affinity: float
    """Effect of momentary affinity (a cosine) on clicks and stays."""
    quality: float
    """Effect of a standard deviation of room quality on stays; half of it acts on clicks."""
    bait: float
    """Mean bait sensitivity: how much a misleading title raises clicks."""
    bait_disappointment: float
    """How much bait lowers engaged stays."""
    popularity: float
    follow: float
    intensity_weight: float
    """Effect of log(1 + past effective views of the streamer)."""
    task_conflict: float
    """In [0, 1]: how far the interests behind attention, social and commerce targets differ."""
    target_coupling: float
    """How much later targets depend on how long the user stayed."""
    highlight: float
    """Effect of a highlight of the room on clicks and stays, shared by all who meet it."""
    audience: float
    """Effect of the log of a room's audience, relative to the mean one, on clicks."""
    crowding: float
    """How much the same lowers social and commerce targets: the host's attention is shared."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("affinity", "quality", "bait", "bait_disappointment", "popularity", "follow"):
            require(self, name, 0.0, 20.0)
        require(self, "intensity_weight", 0.0, 5.0)
        require(self, "task_conflict", 0.0, 1.0)
        require(self, "target_coupling", 0.0, 5.0)
        for name in ("highlight", "audience", "crowding"):
            require(self, name, 0.0, 5.0)


@dataclass(frozen=True)
class WatchConfig:
    """Watch time: a bounce or an engaged stay, both log-normal."""

    bounce_median_s: float
    bounce_log_sigma: float
    bounce_cap_s: float
    """Bounces end before this, engaged stays last at least this long."""
    engaged_median_s: float
    engaged_log_sigma: float
    satisfaction_gain: float
    """Effect of content satisfaction on log watch time."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self, "bounce_median_s", 0.1, 3600.0)
        require(self, "bounce_log_sigma", 0.01, 5.0)
        require(self, "bounce_cap_s", 10.0, 3600.0)
        require(self, "engaged_median_s", 0.1, 36000.0)
        require(self, "engaged_log_sigma", 0.01, 5.0)
        require(self, "satisfaction_gain", 0.0, 5.0)


@dataclass(frozen=True)
class FeedbackConfig:
    """Base rates of the targets after watching, averaged over random stays."""

    like: float
    comment: float
    follow: float
    bag_click: float
    cart: float
    """Given a bag click."""
    purchase: float
    """Probability, given a cart, that the user decides to buy, however late; the rest is the cured
    fraction. What competing events prevent (`delay.loss`) comes off."""
    social_affinity: float
    commerce_affinity: float
    propensity_sigma: float
    """Spread between users of the propensity to act, in logits."""
    charm: float
    """Effect of the streamer's charm on social targets, in logits."""
    appeal: float
    """Effect of the product's appeal on commerce targets, in logits."""
    price: float
    """Mean effect of log price on commerce targets, in logits."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("like", "comment", "follow", "bag_click", "cart", "purchase"):
            require(self, name, 1e-5, 0.95)
        for name in ("social_affinity", "commerce_affinity", "propensity_sigma"):
            require(self, name, 0.0, 20.0)
        for name in ("charm", "appeal", "price"):
            require(self, name, 0.0, 20.0)
