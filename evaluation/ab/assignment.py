"""Who meets which arm: users by a salted hash, or everybody by turns.

The hash is Philox keyed by the salt: arms of two experiments with different salts are independent,
and nothing of the world is drawn from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim.config import ConfigError
from sim.rng import MAX_SEED, philox4x32
from sim.schema import DAY_S

USER_ARM, PAIR_COIN, PICK_COIN, REDRAWN = 0x4142, 0x4143, 0x4144, 0x4145
"""Second words of the key: users, pairs of blocks, picks of a draft, assignments drawn again."""


class Plan(Protocol):
    """Decides who meets which arm."""

    @property
    def n_arms(self) -> int:
        """Number of arms."""

    def arms_of(
        self, user_id: NDArray[np.integer], session_start_s: NDArray[np.floating]
    ) -> NDArray[np.int8]:
        """Return the arm of each session [N], by its user and its start in seconds."""


def hashed(
    ids: NDArray[np.integer], salt: int, purpose: int, number: int = 0
) -> NDArray[np.float64]:
    """Return a uniform in (0, 1) for each id of [0, 2**63), a pure function of it and the salt."""
    wide = ids.astype(np.int64)
    words = philox4x32((wide & 0xFFFFFFFF, wide >> 32, number, 0), (salt, purpose))
    uniform: NDArray[np.float64] = (words[0].astype(np.float64) + 0.5) * 2.0**-32
    return uniform


@dataclass(frozen=True)
class Split:
    """Users are split at random, for good.

    Raises:
        ConfigError: a share or the salt is out of range.
    """

    shares: tuple[float, ...] = (0.5, 0.5)
    """Share of the users in each arm; they sum to 1. Arm 0 is the control."""
    salt: int = 0
    """In [0, MAX_SEED]; another salt, another split."""

    def __post_init__(self) -> None:
        """Check shares and salt."""
        good = all(0.0 < share < 1.0 for share in self.shares)
        if len(self.shares) < 2 or not good or abs(sum(self.shares) - 1.0) > 1e-9:
            raise ConfigError(
                f"shares = {list(self.shares)}; allowed: two or more in (0, 1) that sum to 1"
            )
        _require_salt(self.salt)

    @property
    def n_arms(self) -> int:
        """Number of arms."""
        return len(self.shares)

    def of_users(self, user_id: NDArray[np.integer]) -> NDArray[np.int8]:
        """Return the arm of each user [N]."""
        ends = np.cumsum(self.shares)[:-1]
        return np.searchsorted(ends, hashed(user_id, self.salt, USER_ARM), "right").astype(np.int8)

    def arms_of(
        self, user_id: NDArray[np.integer], session_start_s: NDArray[np.floating]
    ) -> NDArray[np.int8]:
        """Return the arm of each session [N]: that of its user."""
        return self.of_users(user_id)


@dataclass(frozen=True)
class Switchback:
    """All users meet one arm at a time; arms alternate by blocks of time, in randomised pairs.

    Two blocks a `pair_s` apart, such as the same hours of two days, are a pair: a coin decides
    which of them is treated. So both arms meet the same hours, the swing of the day cancels inside
    pairs, and the pairs are the independent units of the inference. A session keeps the arm in
    which it began.

    Carry-over: what a block leaves behind reaches the next through follows, visits to come,
    audiences of the last tick and what rankers have learnt. `washout_s` at the start of each block
    is left out of the analysis, which helps against what is short-lived (audiences) and not against
    what stays. Sources: Bojinov, Simchi-Levi, Zhao, "Design and analysis of switchback
    experiments", Management Science 2023, for carry-over and randomisation by blocks.

    Raises:
        ConfigError: a length does not fit or the salt is out of range.
    """

    start_s: float
    """Where the first block begins, seconds since the world began."""
    block_s: float
    """Length of a block in seconds."""
    pair_s: float = DAY_S
    """Distance of the two blocks of a pair in seconds, a multiple of `block_s`."""
    washout_s: float = 0.0
    """Seconds at the start of each block that are not analysed, below `block_s`."""
    salt: int = 0

    def __post_init__(self) -> None:
        """Check lengths and salt."""
        if not self.block_s > 0.0:
            raise ConfigError(f"block_s = {self.block_s}; allowed: above 0")
        per = self.pair_s / self.block_s
        if per < 1.0 or abs(per - round(per)) > 1e-9:
            raise ConfigError(
                f"pair_s = {self.pair_s}; allowed: a multiple of block_s = {self.block_s}"
            )
        if not 0.0 <= self.washout_s < self.block_s:
            raise ConfigError(
                f"washout_s = {self.washout_s}; allowed: in [0, block_s = {self.block_s})"
            )
        _require_salt(self.salt)

    @property
    def n_arms(self) -> int:
        """Two: control and treated."""
        return 2

    def pairs_of(
        self, session_start_s: NDArray[np.floating]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the pair of each session's block, and whether it is the first or second of it."""
        block = np.floor((session_start_s - self.start_s) / self.block_s).astype(np.int64)
        per = round(self.pair_s / self.block_s)
        period, place = block // per, block % per
        return (period // 2) * per + place, period % 2

    def arms_of(
        self, user_id: NDArray[np.integer], session_start_s: NDArray[np.floating]
    ) -> NDArray[np.int8]:
        """Return the arm of each session [N]: that of its block; 0 before the start."""
        pair, second = self.pairs_of(session_start_s)
        coin = hashed(np.maximum(pair, 0), self.salt, PAIR_COIN) < 0.5
        treated = (pair >= 0) & (coin ^ (second == 1))
        return np.asarray(treated, np.int8)

    def analysed(self, session_start_s: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which sessions [N] began after the washout of their block."""
        since = np.mod(session_start_s - self.start_s, self.block_s)
        kept: NDArray[np.bool_] = (session_start_s >= self.start_s) & (since >= self.washout_s)
        return kept


def redrawn(clusters: int, runs: int, share: float = 0.5, seed: int = 0) -> NDArray[np.bool_]:
    """Return assignments drawn again and again, each cluster treated by a coin of its own.

    Args:
        clusters: U.
        runs: R.
        share: probability of treatment, in (0, 1).
        seed: in [0, MAX_SEED].

    Returns:
        Treated [R, U].
    """
    words = -(-clusters // 4)
    four = philox4x32((np.arange(words)[:, None], np.arange(runs)[None, :], 0, 0), (seed, REDRAWN))
    wide = four.transpose(2, 1, 0).reshape(runs, 4 * words)
    below = np.uint32(min(round(share * 2.0**32), 2**32 - 1))
    return np.asarray(wide[:, :clusters] < below, np.bool_)


def _require_salt(salt: int) -> None:
    if not 0 <= salt <= MAX_SEED:
        raise ConfigError(f"salt = {salt!r}; allowed: an integer in [0, {MAX_SEED}]")
