"""Published figures of live streaming that generated data are compared with, each with its source.

A figure is a *target* where it can be compared, a *stand-in* where no figure of live commerce is
public and one of another trade takes its place, or where the figure depends on the size of the
platform; and otherwise *not comparable*. The note says why.

Two words are used as follows. An *entry* is the first hop of an impression: a click on a card of
a list; in the swipe, where every room plays by itself, a stay of ten seconds, as a room that is
swiped past was shown and not entered. Entries are what is counted. A *stay* is every time somebody
was in a room: a clicked card, or any room of the swipe. What happens inside rooms is measured over
stays, as the published stays hold accidental ones of a second or two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["rate", "share", "mean", "quantile", "exponent", "order"]
Standing = Literal["target", "stand-in", "not comparable"]
Rule = Literal["relative", "absolute", "above"]

KUAILIVE = "KuaiLive, arXiv 2508.05633 (SIGIR 2026)"
GIFTLIVE = "KuaiLive as measured in GiftLive (ViskaWei/GiftLive)"
SHOPS = "shop rooms of KuaiLive, calibration note of LiveLift"
AGENT = "shop rooms of KuaiLive as measured in mzch0210/KuaiLive-Agent"
KUAIRAND = "KuaiRand-Pure, counts in KuaiSim's notebook"
CHAPELLE = "Chapelle, KDD 2014; arXiv 2101.02284"

FILTER = (
    "KuaiLive keeps only users who entered, commented, liked and sent a gift within its 21 days, "
    "so its rates per user and per entry lie above the platform's. This world has no gifts; the "
    "column 'filtered' restricts it to users who entered, commented and liked."
)
SHORT_VIDEO = "Short video, not live: no such figure of live streaming is public."
ENTERTAINMENT = (
    "All rooms, nine tenths of them entertainment; this is a world of shop rooms, whose stays are "
    "the target above."
)


@dataclass(frozen=True)
class Published:
    """A published figure and how far generated data may lie from it."""

    key: str
    """Name of the measured figure, see `evaluation.fidelity`."""
    group: str
    name: str
    """What is measured, in words."""
    unit: str
    """`share` is written in per cent."""
    kind: Kind
    value: float
    source: str
    note: str = ""
    """Caveats of the comparison."""
    standing: Standing = "target"
    rule: Rule = "relative"
    """What holds: a relative or absolute distance up to `tolerance`, or a value above `value`."""
    within: float | None = None
    """Tolerance, None for the usual one: relative, 20 % for quantiles, 10 % for all else."""
    days: int | None = None
    """Length of log for which the figure means something, None for any."""

    @property
    def tolerance(self) -> float:
        """Largest distance that holds, see `rule`."""
        if self.within is not None:
            return self.within
        return 0.2 if self.kind == "quantile" else 0.1

    def deviation(self, measured: float) -> float:
        """Return the distance of `measured` from the figure: relative, or in its unit."""
        gap = measured - self.value
        return gap / self.value if self.rule == "relative" else gap

    def holds(self, measured: float) -> bool:
        """Return whether `measured` lies within the tolerance; NaN does not."""
        if self.rule == "above":
            return measured > self.value
        return abs(self.deviation(measured)) <= self.tolerance


def _stays(prefix: str, words: str, quantiles: dict[int, float], mean: float) -> list[Published]:
    rows = [
        Published(f"{prefix}_p{q}", "Stays", f"{words}, {_quantile(q)}", "s", "quantile", s, SHOPS)
        for q, s in quantiles.items()
    ]
    note = "As heavy a tail makes the mean the least certain of the stays' figures."
    return [*rows, Published(f"{prefix}_mean", "Stays", f"{words}, mean", "s", "mean", mean, SHOPS,
                             note)]  # fmt: skip


def _quantile(q: int) -> str:
    return "median" if q == 50 else f"p{q}"


PUBLISHED: tuple[Published, ...] = (
    Published(
        "entry_rate", "Traffic", "exposed cards that are entered", "share", "rate", 0.279, KUAILIVE,
        "Lists only: a card is exposed and may be clicked. The swipe has no card to click, so its "
        "rooms would count as entered always and the rate would say how much people swipe. "
        + FILTER,
    ),
    Published(
        "exposures_per_user_day", "Traffic", "exposures per user and day", "a day", "rate", 35.3,
        KUAILIVE,
        "Cards and rooms of the swipe alike, over users x days of the window, with days of absence "
        "and users who came late or left, as published; users are those with an entry. " + FILTER,
        days=21,
    ),
    Published(
        "entries_per_user_day", "Traffic", "entries per user and day", "a day", "rate", 9.8,
        KUAILIVE,
        "Clicks, and stays of ten seconds in the swipe: with every room of the swipe as an entry, "
        "both this figure and the one above could only hold if nobody swiped. Users and days as "
        "above. " + FILTER,
        days=21,
    ),
    Published(
        "few_interactions", "Traffic", "users below 50 interactions", "share", "share",
        0.438, KUAILIVE,
        "Entries, comments and likes in 21 days, of users with an entry. " + FILTER,
        days=21,
    ),
    Published(
        "very_active", "Traffic", "very active users", "share", "share", 0.126, KUAILIVE,
        "The notes on the paper do not say from how many interactions a user counts.",
        "not comparable",
    ),
    Published(
        "comments_per_entry", "Feedback", "comments per entry", "share", "rate", 0.040, KUAILIVE,
        "At most one comment a stay is logged; KuaiLive counts events. Per stay. " + FILTER,
    ),
    Published(
        "likes_per_entry", "Feedback", "likes per entry", "share", "rate", 0.0365, KUAILIVE,
        "At most one like a stay is logged; KuaiLive counts events. Per stay. " + FILTER,
    ),
    Published(
        "follows_per_entry", "Feedback", "follows per entry", "share", "rate", 0.0021, KUAIRAND,
        f"{SHORT_VIDEO} Per stay.", "stand-in",
    ),
    Published(
        "gifts_per_entry", "Feedback", "gifts per entry", "share", "rate", 0.0148, KUAILIVE,
        "This world sells goods; it has no gifts, nor a law of their amounts.", "not comparable",
    ),
    *_stays("stay", "stay", {25: 1.8, 50: 5.4, 75: 34.0, 90: 205.0}, 122.0),
    Published(
        "long_stays", "Stays", "stays of more than a minute", "share", "share", 0.19, SHOPS,
    ),
    *_stays(
        "long_stay", "stay over a minute",
        {25: 108.0, 50: 216.0, 75: 624.0, 90: 1746.0}, 597.0,
    ),
    Published(
        "all_rooms_stay_p50", "Stays", "stay in any room, median", "s", "quantile", 4.87, GIFTLIVE,
        ENTERTAINMENT, "not comparable",
    ),
    Published(
        "all_rooms_stay_p90", "Stays", "stay in any room, p90", "s", "quantile", 1026.0, GIFTLIVE,
        ENTERTAINMENT, "not comparable",
    ),
    Published(
        "all_rooms_stay_mean", "Stays", "stay in any room, mean", "s", "mean", 514.0, GIFTLIVE,
        ENTERTAINMENT, "not comparable",
    ),
    *(
        Published(
            f"room_p{q}", "Rooms", f"length of a room, {_quantile(q)}", "min", "quantile", minutes,
            SHOPS, "Of rooms that begin a day or more before the log ends; whole slots of 10 min.",
        )
        for q, minutes in {25: 85.0, 50: 134.0, 75: 202.0, 90: 290.0}.items()
    ),
    Published("room_mean", "Rooms", "length of a room, mean", "min", "mean", 166.0, SHOPS),
    Published(
        "rooms_per_streamer_day", "Rooms", "rooms per streamer and day", "a day", "rate", 1.22,
        KUAILIVE,
        "Rooms that begin in the window over streamers with any x its days, as published: days "
        "before a streamer came and after one left count.",
        days=21,
    ),
    *(
        Published(
            f"on_air_p{q}", "Rooms", f"rooms on air over mean, {_quantile(q)}",
            "x mean", "quantile", rooms / 8269.0, AGENT,
            f"At an entry. Published {rooms:,.0f} of a mean of 8,269; worlds of other sizes are "
            "compared by the ratio.",
        )
        for q, rooms in {10: 5290.0, 50: 8131.0, 90: 12032.0}.items()
    ),
    Published(
        "peak_start", "Clock", "begin of busiest six hours", "h", "order", 18.0,
        KUAILIVE, "Published as: interactions peak between 18 and 24 h. Of entries.",
        rule="absolute", within=1.0,
    ),
    Published(
        "noon_bump", "Clock", "noon bump of entries", "ratio",
        "order", 1.0, KUAILIVE,
        "Published as: a bump at noon. Entries of 12-13 h over the mean of those of 10-11 h and "
        "14-15 h.",
        rule="above", within=0.0,
    ),
    Published(
        "popularity_tail", "Concentration", "tail exponent of popularity",
        "exponent", "exponent", 0.90, KUAILIVE,
        "From two published shares: ln(P(>= 5) / P(> 40)) / ln(8). KuaiLive has 11.8 interactions "
        "a streamer; in worlds of other sizes both thresholds stand in the same ratio to the mean. "
        "Streamers with an interaction only, on both sides; a sample of users, so that the whole "
        "platform's exponent may differ.",
        days=21,
    ),
    Published(
        "cold_streamers", "Concentration", "streamers below 0.42 x mean",
        "share", "share", 0.70, KUAILIVE,
        "Of interactions: entries, comments and likes. Published as: about 70 % have fewer than 5, "
        "the mean is 11.8.",
        days=21,
    ),
    Published(
        "hot_streamers", "Concentration", "streamers above 3.4 x mean",
        "share", "share", 0.046, KUAILIVE, "Published as: 4.6 % have more than 40, the mean is "
        "11.8.", days=21,
    ),
    Published(
        "top_share_p50", "Concentration", "top streamer's share of time, median",
        "share", "quantile", 0.356, GIFTLIVE,
        "Of a user's whole watch time. All rooms, as no figure of shop rooms is public. " + FILTER,
        days=21,
    ),
    Published(
        "top_share_p90", "Concentration", "top streamer's share of time, p90",
        "share", "quantile", 0.812, GIFTLIVE,
        "Of a user's whole watch time. All rooms, as no figure of shop rooms is public. " + FILTER,
        days=21,
    ),
    Published(
        "repeated_pairs", "Concentration", "pairs with repeated entries",
        "share", "share", 0.271, KUAILIVE,
        "Reported as repeat interaction with the same streamer, without saying of what; read as a "
        "share of pairs, the reading that agrees with the figure below.",
        days=21,
    ),
    Published(
        "known_streamers", "Concentration", "entries to known streamers",
        "share", "share", 0.469, AGENT,
        "Over the last third of the window, with all of it before as the past; the published split "
        "is by time too, its shares are not known here. Bound to the size of the platform: "
        "KuaiLive's users have 19 entries to shop rooms in 21 days and 8,269 such rooms on air; a "
        "world of two hundred on air, where all entries of a user fall on them, brings people back "
        "more often by chance alone. Shown, not judged.",
        "stand-in", days=21,
    ),
    Published(
        "top_ten", "Concentration", "share of the top ten streamers",
        "share", "share", 0.015, KUAILIVE,
        "Ten of 452,621 streamers; of a thousand, ten are one in a hundred.", "not comparable",
    ),
    *(
        Published(
            f"gap_{days}", "Return", f"returns after {days} day{'s' if days > 1 else ''}", "share",
            "share", share, KUAIRAND,
            "Between days with an exposure. Gaps longer than what is left of the window are cut "
            "off, there as here. From a short-video app: live streaming has none.",
            days=21,
        )
        for days, share in {1: 0.617, 2: 0.165, 3: 0.079, 4: 0.047, 5: 0.031}.items()
    ),
    Published(
        "gap_mean", "Return", "days until a return, mean", "days", "mean", 2.0, KUAIRAND,
        "As the shares above.", days=21,
    ),
    Published(
        "delay_1h", "Conversion delay", "conversions within an hour", "share",
        "share", 0.35, CHAPELLE,
        "Of conversions within 30 days. Display advertising: no delay of live purchases is public. "
        "From the true delays of all purchases that will come, so nothing is cut off.",
        "stand-in",
    ),
    Published(
        "delay_24h", "Conversion delay", "conversions within a day", "share",
        "share", 0.50, CHAPELLE, "As above.", "stand-in",
    ),
)  # fmt: skip
"""Every figure, in the order of the report."""

KUAILIVE_INTERACTIONS = 11.84
"""Interactions per streamer of KuaiLive: 5,357,998 over 452,621."""
