"""The random layer: published vectors, addressing, uniformity, independence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, kstest, norm

from sim import session
from sim.rng import NOBODY, Purpose, philox4x32, uniforms
from sim.world import World
from tests.sim.worlds import config, run

WORD = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_known_answers_of_random123(counter, key, expected):
    """The three vectors that Random123 publishes for philox4x32 with 10 rounds."""
    words = philox4x32(counter, key)
    assert " ".join(f"{int(w):08x}" for w in words) == expected


@given(WORD, WORD, WORD, WORD, st.integers(0, 2**32 - 1))
def test_a_draw_depends_on_its_address_alone(a, b, c, d, seed):
    """A draw is the same alone, inside a batch, and in any order."""
    alone = uniforms(seed, Purpose.OUTCOME, a, b, c, d)
    batch = uniforms(seed, Purpose.OUTCOME, np.array([1, a, 5]), b, np.array([2, c, 9]), d)
    np.testing.assert_array_equal(alone, batch[:, 1])
    assert np.all((alone > 0) & (alone < 1))


def test_uniform():
    """Draws follow the uniform law along every word of the address."""
    n = np.arange(20_000)
    for address in ((n, 0, 0, 0), (0, n, 0, 0), (0, 0, n, 0), (0, 0, 0, n), (n, NOBODY, 7, 3)):
        for lane in uniforms(3, Purpose.SESSION, *address):
            assert kstest(lane, "uniform").pvalue > 1e-4


SPAN = 20_000
N = np.arange(SPAN)
ADDRESS = {"user": 0, "streamer": 1, "moment": 2, "kind": 3}
"""Words of the address of an outcome."""


def draws(seed=0, purpose=Purpose.OUTCOME, **shift):
    """Return the four lanes [4, N] of outcomes of many users, shifted along some words."""
    words = [N, np.full(SPAN, 7), np.full(SPAN, 1234), np.full(SPAN, 1)]
    for name, by in shift.items():
        words[ADDRESS[name]] = words[ADDRESS[name]] + by
    return uniforms(seed, purpose, *words)


NEIGHBOURS = {
    **{f"{name} {by:+}": draws(**{name: by}) for name in ADDRESS for by in (1, 2, 16)},
    "user half a table away": draws(user=SPAN // 2),
    "moment of the next day": draws(moment=144),
    "seed + 1": draws(seed=1),
    "seed with one high bit": draws(seed=1 << 31),
    **{
        f"purpose {other.name.lower()}": draws(purpose=other)
        for other in Purpose
        if other != Purpose.OUTCOME
    },
}
"""What lies next to an address: another user, streamer, moment, kind, seed, purpose."""


def looks_independent(a, b, cells=16):
    """Return the p-values of the correlation and of a 2-d chi-square of two samples."""
    r = np.corrcoef(a, b)[0, 1] * np.sqrt(len(a))
    table = np.histogram2d(a, b, bins=cells, range=[[0, 1], [0, 1]])[0]
    expected = len(a) / cells**2
    statistic = ((table - expected) ** 2 / expected).sum()
    return 2 * norm.sf(abs(r)), chi2.sf(statistic, cells**2 - 1)


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_neighbours_are_independent(name):
    """No correlation, and pairs fill the square evenly, in each pair of lanes."""
    base, other = draws(), NEIGHBOURS[name]
    # a shift along the users makes the same table again, later: pairs must not be the same draw
    for i in range(4):
        for j in range(4):
            correlation, square = looks_independent(base[i], other[j])
            assert correlation > 1e-6
            assert square > 1e-6


def test_lanes_are_independent():
    """The four uniforms of one address."""
    base = draws()
    for i in range(4):
        for j in range(i):
            assert min(looks_independent(base[i], base[j])) > 1e-6


def test_p_values_are_uniform_themselves():
    """Over hundreds of small tables: too good would be as wrong as too bad."""
    found = []
    for seed in range(300):
        a = uniforms(seed, Purpose.SESSION, N[:2000], 3, 5, 0)
        found.append(kstest(a[seed % 4], "uniform").pvalue)
    assert kstest(found, "uniform").pvalue > 1e-4


def test_runs_and_gaps():
    """Low draws come independently of the last one, along users and along moments."""
    for words in ((N, 3, 5, 1), (3, 5, N, 1)):
        low = uniforms(4, Purpose.OUTCOME, *words)[0] < 0.1
        gaps = np.diff(np.flatnonzero(low))
        counts = np.bincount(np.minimum(gaps, 40), minlength=41)[1:]
        p = 0.1 * 0.9 ** np.arange(40)
        p[-1] = 0.9**39
        expected = len(gaps) * p
        assert chi2.sf(((counts - expected) ** 2 / expected).sum(), 39) > 1e-5


def test_low_bits_are_as_random_as_high_ones():
    """Each of the 32 bits of each word is a fair coin, and so are pairs of bits."""
    words = philox4x32((N, 1, 2, 3), (5, 8))
    bits = (words[:, :, None] >> np.arange(32, dtype=np.uint32)) & 1
    error = 0.5 / np.sqrt(SPAN)
    assert np.abs(bits.mean(axis=1) - 0.5).max() < 5 * error
    sign = 2.0 * bits.reshape(4, SPAN, 32) - 1
    flat = np.concatenate(list(sign), axis=1)  # [N, 128]
    pairs = flat.T @ flat / SPAN
    np.fill_diagonal(pairs, 0.0)
    assert np.abs(pairs).max() < 6 / np.sqrt(SPAN)


def test_a_flipped_bit_flips_half_of_the_output():
    """Avalanche: each bit of counter and key changes each output bit half of the time."""
    base = list(philox4x32((N[:600], 4, 3, 2), (1, 2)).astype(np.int64))
    plain = philox4x32(tuple(base), (11, 12))
    for word in range(6):
        for bit in range(0, 32, 5):
            counter, key = list(base), [11, 12]
            if word < 4:
                counter[word] = counter[word] ^ (1 << bit)
            else:
                key[word - 4] ^= 1 << bit
            changed = philox4x32(tuple(counter), tuple(key)) ^ plain
            share = np.mean([(changed >> np.uint32(b)) & 1 for b in range(32)])
            assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(600 * 128)


def test_addresses_of_a_box_give_different_words():
    """A counter is enciphered, so that different counters cannot give the same block."""
    a, b, c, d = np.meshgrid(np.arange(24), np.arange(24), np.arange(24), np.arange(4))
    words = philox4x32((a, b, c, d), (1, 8)).reshape(4, -1).astype(np.uint64)
    joined = (words[0] << np.uint64(32)) | words[1]
    assert len(np.unique(joined)) == joined.size


class Addresses:
    """Notes every address that a world draws at, by seed and purpose."""

    def __init__(self):
        self.seen = {}

    def note(self, where, seed, purpose, *words):
        shape = np.broadcast_shapes(*(np.shape(word) for word in words))
        rows = np.stack([np.broadcast_to(w, shape).reshape(-1) for w in words], axis=-1)
        key = self.seen.setdefault(int(purpose), {})
        key.setdefault(where, []).append(rows.astype(np.int64))


def test_a_world_never_draws_twice_at_one_address(monkeypatch):
    """Every call of `uniforms` is noted with the line that makes it; no two lines share addresses.

    The draws of compiled code have purposes of their own (SESSION, OUTCOME), whose kinds are
    checked below.
    """
    import sys

    noted = Addresses()

    def noting(seed, purpose, a, b=0, c=0, d=0):
        frame = sys._getframe(1)
        if "_uniforms" in frame.f_code.co_name or frame.f_code.co_name == "_normals":
            frame = frame.f_back  # the population's own shorthands
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        noted.note(where, seed, purpose, a, b, c, d)
        return uniforms(seed, purpose, a, b, c, d)

    for name, module in list(sys.modules.items()):
        if name.startswith("sim.") and getattr(module, "uniforms", None) is uniforms:
            monkeypatch.setattr(module, "uniforms", noting)
    tiny = config(
        drift__preference="gradual", drift__watch_pull=0.1, visits__return_gain=0.5,
        turnover__starvation=0.5,
    )  # fmt: skip
    run(World(tiny, 3), "random", 2)
    assert set(noted.seen) >= {p for p in Purpose if p not in COMPILED}
    for purpose, places in noted.seen.items():
        own = {where: np.unique(np.concatenate(rows), axis=0) for where, rows in places.items()}
        total = sum(map(len, own.values()))
        together = np.unique(np.concatenate(list(own.values())), axis=0)
        assert len(together) == total, f"{Purpose(purpose).name}: {sorted(own)} share addresses"


OUTCOME_KINDS = ("STAY", "SOCIAL", "PAYING", "ENTRY_STAY", "LOSING", "SETTLING")
COMPILED = {Purpose.SESSION, Purpose.OUTCOME, Purpose.RANKING}


def test_kinds_of_compiled_draws_do_not_meet():
    """Kinds of outcomes differ, and numbers within a kind of session draw fit into 16 bits."""
    pairs = {name: getattr(session, name) for name in OUTCOME_KINDS}
    assert len(set(pairs.values())) == len(pairs)
    own = {name: getattr(session, name) for name in ("LEAVE", "RANK", "ENTER", "OFFER")}
    assert len(set(own.values())) == len(own)
    slate, requests = 100, 200  # the most that a scenario may have
    assert requests * ((slate + 3) // 4) < 1 << 16
