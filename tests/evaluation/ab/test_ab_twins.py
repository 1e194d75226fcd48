"""Twins of one world: what two deployments say, by user and by any other unit."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.ab.effect import twin_effect
from evaluation.ab.twin_run import TwinRun


def test_twins_say_what_comparing_deployments_says(
    random_twin: TwinRun, recency_twin: TwinRun
) -> None:
    effect = twin_effect(recency_twin.totals(), random_twin.totals(), "watch_s_per_user")
    gap = (
        recency_twin.totals().estimate("watch_s_per_user").value
        - random_twin.totals().estimate("watch_s_per_user").value
    )
    assert effect.estimate == pytest.approx(gap)
    assert effect.low < gap < effect.high
    assert 0.0 < effect.p_value <= 1.0
    assert effect.rejects == (not effect.low <= 0.0 <= effect.high)
    tie = twin_effect(random_twin.totals(), random_twin.totals(), "page_ctr")
    assert tie.estimate == 0.0
    assert np.isnan(tie.p_value)


def test_units_of_any_kind_add_up_to_the_whole(random_twin: TwinRun) -> None:
    unit = (random_twin.shown.session_id % 7).astype(np.int64)
    by_unit = random_twin.totals_by(unit, 7, ultimate=True)
    whole = random_twin.totals(ultimate=True)
    np.testing.assert_allclose(by_unit.sums[3:].sum(axis=2), whole.sums[3:].sum(axis=2), rtol=1e-9)
    left_out = random_twin.totals_by(np.where(unit == 0, -1, unit), 7, ultimate=True)
    np.testing.assert_allclose(left_out.sums[:, :, 1:], by_unit.sums[:, :, 1:])
    assert not left_out.sums[:, :, 0].any()
