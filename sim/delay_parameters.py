"""Parameters of what comes between the decision to buy and the end of a purchase.

A buyer waits in one of four ways, with weights that are a softmax in price, intent and the minutes
left in the live:

    imm         during the live, on the clock; what would fall after its end is drawn from `short`
    short       the same day, in operational time
    tail        days to weeks, in operational time
    promo_wait  until the next sale starts, and a burst from there; only with a sale in sight

Source of the form: delayed-feedback literature (Chapelle, KDD 2014: cured fraction and delay;
Yoshikawa & Imai 2018: several modes; CM-DCM, SIGIR 2026: an atom on the sale day). Every number
stands in `conf/delay/*.yaml` with its own source.
"""

from __future__ import annotations

from dataclasses import dataclass

from sim.bounds import refusal, require, require_int, require_section

DELAY_FAMILIES = ("exponential", "weibull", "lognormal")
"""Laws of a part by name; the position is the code in compiled code."""


@dataclass(frozen=True)
class PartConfig:
    """One way to wait: how often it is chosen, and how long it takes."""

    weight: float
    """Weight of the part for the median buyer and product with an hour or more left in the live;
    relative to the weights of the other parts."""
    price: float
    """Effect of log price (relative to the median) on the log weight."""
    intent: float
    """Effect of a standard deviation of intent on the log weight; intent raises the probability
    too, so this and `intent_stretch` correlate probability and speed."""
    live_left: float
    """Effect of the hours left in the live, counted up to one, on the log weight."""
    law: str
    """exponential, weibull or lognormal."""
    scale_h: float
    """Hours: mean of the exponential, scale of the Weibull, median of the log-normal; 0 is at
    once."""
    shape: float
    """Exponent of the Weibull, standard deviation of the log for the log-normal; 1 for the
    exponential."""
    price_stretch: float
    """Effect of log price on the log scale: dearer goods wait longer."""
    intent_stretch: float
    """Effect of a standard deviation of intent on the log scale."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self, "weight", 0.0, 1e6)
        for name in ("price", "intent", "live_left", "price_stretch", "intent_stretch"):
            require(self, name, -5.0, 5.0)
        _require_law(self)
        require(self, "scale_h", 0.0, 1e4)

    @property
    def family(self) -> int:
        """Code of the law in compiled code."""
        return DELAY_FAMILIES.index(self.law)


def _require_law(section: PartConfig | RepeatConfig) -> None:
    """Check the name and the shape of a law of waiting."""
    if section.law not in DELAY_FAMILIES:
        raise refusal(section, "law", f"one of {', '.join(DELAY_FAMILIES)}")
    require(section, "shape", 0.1, 10.0)
    if section.law == "exponential" and section.shape != 1.0:
        raise refusal(section, "shape", "1 for the exponential law")


@dataclass(frozen=True)
class PromoWaitConfig:
    """Buyers who wait for the next sale."""

    weight: float
    """Weight on the eve of a sale, relative to the weights of the parts."""
    price: float
    """Effect of log price on the log weight."""
    intent: float
    """Effect of a standard deviation of intent on the log weight."""
    nearness: float
    """Loss of log weight per day between the impression and the sale."""
    window_days: float
    """Nobody waits for a sale that is further away."""
    half_life_h: float
    """Of the burst once the sale has begun, hours; exponential."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self, "weight", 0.0, 1e6)
        for name in ("price", "intent"):
            require(self, name, -5.0, 5.0)
        require(self, "nearness", 0.0, 10.0)
        require(self, "window_days", 0.0, 60.0)
        require(self, "half_life_h", 1e-3, 240.0)


@dataclass(frozen=True)
class LossConfig:
    """Competing events: constant hazards, in operational time, that prevent a pending purchase.

    They act on buyers who leave the live undecided (short, tail, promo_wait). Who decides in the
    live has an order that holds the stock.
    """

    sold_out_per_day: float
    unfollow_per_day: float
    """The buyer turns away from the streamer. A state of this purchase alone: the bond of
    `sim.relations` stays."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self, "sold_out_per_day", 0.0, 100.0)
        require(self, "unfollow_per_day", 0.0, 100.0)


@dataclass(frozen=True)
class RefundConfig:
    """Refunds: some purchases are given back, fast or late, always after the purchase."""

    probability: float
    """That a purchase is refunded, for a product of the median price."""
    price: float
    """Effect of log price on its logit."""
    fast_share: float
    """Share of refunds that come fast."""
    fast_mean_h: float
    """Exponential."""
    slow_mean_h: float
    """Exponential."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self, "probability", 0.0, 0.999)
        require(self, "price", -5.0, 5.0)
        require(self, "fast_share", 0.0, 1.0)
        require(self, "fast_mean_h", 1e-3, 1e4)
        require(self, "slow_mean_h", 1e-3, 1e4)


@dataclass(frozen=True)
class ReportingConfig:
    """Lag between an event (a purchase, a refund) and its arrival on the platform."""

    mean_s: float
    """Of the usual lag, exponential; 0 reports at once."""
    late_share: float
    """Share of events that come with a late batch."""
    late_mean_h: float
    """Of a late batch, exponential; later events may arrive before, so order is lost."""
    lost_share: float
    """Share of the purchases after the end of the session that are never reported, as if the buyer
    came back unrecognised: censoring that tells of the delay. Only the truth knows of them."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self, "mean_s", 0.0, 1e6)
        require(self, "late_share", 0.0, 1.0)
        require(self, "late_mean_h", 0.0, 1e4)
        require(self, "lost_share", 0.0, 1.0)


@dataclass(frozen=True)
class RepeatConfig:
    """Further purchases of the same product, each after the one before."""

    probability: float
    """That a purchase of a user of mean intent is followed by a further one; 0 switches them
    off."""
    intent: float
    """Effect of a standard deviation of intent on its logit."""
    law: str
    """Of the gap, in operational time; one of DELAY_FAMILIES. It is cut at the horizon."""
    scale_h: float
    """Hours: mean of the exponential, scale of the Weibull, median of the log-normal."""
    shape: float
    """Exponent of the Weibull, standard deviation of the log for the log-normal; 1 for the
    exponential."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self, "probability", 0.0, 0.95)
        require(self, "intent", -5.0, 5.0)
        _require_law(self)
        require(self, "scale_h", 1e-3, 1e4)

    @property
    def family(self) -> int:
        """Code of the law in compiled code."""
        return DELAY_FAMILIES.index(self.law)


@dataclass(frozen=True)
class RevisitConfig:
    """Visits to the product's page or the cart after a stay with a bag click.

    A Poisson process in operational time, u seconds after the stay, with hazard
    rate_per_day exp(-u / fade_days), times pending_lift ** informative as long as a purchase is
    decided and neither made nor prevented.
    """

    rate_per_day: float
    """Hazard right after the stay of who decides nothing; 0 switches them off."""
    fade_days: float
    """Operational days after which it has fallen to 1 / e."""
    pending_lift: float
    """Factor of the hazard while a purchase is pending."""
    informative: float
    """Switch in [0, 1]: at 1 the factor acts in full, at 0 visits tell nothing about purchases."""
    cart_share: float
    """Share of the visits that go to the cart, of users who put the product there."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self, "rate_per_day", 0.0, 20.0)
        require(self, "fade_days", 0.01, 30.0)
        require(self, "pending_lift", 1.0, 50.0)
        require(self, "informative", 0.0, 1.0)
        require(self, "cart_share", 0.0, 1.0)


@dataclass(frozen=True)
class ConversionDriftConfig:
    """Three dials that change conversion from day to day, each alone."""

    delay_per_day: float
    """Growth of the log scales of `short` and `tail` a day: F changes; p does not, unless competing
    events catch those who wait longer."""
    conversion_per_day: float
    """Growth of the logit of a purchase given a cart a day: p changes, F does not."""
    volume_per_day: float
    """Growth of log traffic a day: neither changes."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("delay_per_day", "conversion_per_day", "volume_per_day"):
            require(self, name, -2.0, 2.0)


@dataclass(frozen=True)
class DelayConfig:
    """Delay of a purchase that is decided, what may prevent it, its refund and its report."""

    horizon_days: int
    """No purchase comes later; every part is cut here. Whole days, so that the cut is the same on
    the clock and in operational time."""
    time_of_day: float
    """Switch in [0, 1] of operational time: at 1 the `short` and `tail` parts pass as fast as the
    platform is busy at that hour, at 0 they pass on the clock."""
    imm: PartConfig
    short: PartConfig
    tail: PartConfig
    promo_wait: PromoWaitConfig
    loss: LossConfig
    refund: RefundConfig
    repeat: RepeatConfig
    revisit: RevisitConfig
    reporting: ReportingConfig
    drift: ConversionDriftConfig

    def __post_init__(self) -> None:
        """Check the ranges and what spans several parts."""
        require_int(self, "horizon_days", 1, 365)
        require(self, "time_of_day", 0.0, 1.0)
        for name in ("imm", "short", "tail"):
            require_section(self, name, PartConfig)
        sections = (
            ("promo_wait", PromoWaitConfig), ("loss", LossConfig), ("refund", RefundConfig),
            ("repeat", RepeatConfig), ("revisit", RevisitConfig),
            ("reporting", ReportingConfig), ("drift", ConversionDriftConfig),
        )  # fmt: skip
        for name, kind in sections:
            require_section(self, name, kind)
        if self.tail.weight <= 0.0 and self.imm.weight + self.short.weight <= 0.0:
            raise refusal(self.tail, "weight", "above 0 where imm and short have weight 0")
        # a day is left for the burst
        require(self.promo_wait, "window_days", 0.0, max(self.horizon_days - 1.0, 0.0))
