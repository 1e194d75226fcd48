"""Sparse bonds against a dictionary."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.relations import Relations, bond_with

EVENTS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 3), st.booleans()), max_size=30
)


@settings(deadline=None)  # the first example compiles
@given(st.lists(EVENTS, min_size=1, max_size=4))
def test_adding_equals_a_dictionary(batches):
    """Views add up, follows stick, whatever the batches."""
    relations, expected = Relations.empty(), {}
    for batch in batches:
        if not batch:
            continue
        user, streamer, views, follows = (np.array(c) for c in zip(*batch, strict=True))
        relations = relations.add(user, streamer, views, follows)
        for u, s, v, f in batch:
            old = expected.get((u, s), (0, False))
            expected[u, s] = (old[0] + v, old[1] or f)
    assert (np.diff(relations.key) > 0).all()
    bonds = relations.bonds(5)
    for user in range(5):
        for streamer in range(7):
            assert bond_with(bonds, user, streamer) == expected.get((user, streamer), (0, False))
