"""Predicted probabilities on a made-up log: against shown rows, by position, window and truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluation.offline import comparison_rows, estimates, judge, level_rows
from evaluation.predictions import Measure, reference_rows
from evaluation.ranking.ranks import MetricError
from evaluation.results import Subject
from policies.heuristics import Random
from sim.schema import DAY_S, Impressions, Requests
from sim.simulate import simulate
from sim.truth_log import logged_truth
from tests.evaluation.made_up_log import (
    PROTOCOL,
    SUBJECT,
    TABLE,
    MadeUpLog,
    PlacePredictor,
    TablePolicy,
    TablePredictor,
    judged,
)
from tests.sim.worlds import config, server


def test_probabilities_are_judged_on_shown_rows() -> None:
    found = judged(TablePredictor())
    assert found.predictions is not None
    assert found.predictions.targets == ("engage", "purchase")  # order of TARGETS
    shown = Impressions.concat(MadeUpLog().parts)
    p = 1 / (1 + np.exp(-TABLE[shown.user_id, shown.streamer_id]))
    np.testing.assert_allclose(found.predictions.probability[0], p, rtol=1e-6)
    np.testing.assert_array_equal(found.predictions.label[0], shown.target("engage"))


def test_classification_rows_come_with_every_target() -> None:
    found = judged(TablePredictor())
    rows = level_rows(SUBJECT, found, PROTOCOL)
    by_key = {(r.metric, r.scenario, r.slice): r for r in rows}
    assert by_key["auc/engage", "all", "top"].estimate > 0.6
    assert by_key["pcoc/engage", "all", "top"].estimate == pytest.approx(1, abs=0.2)
    assert np.isnan(by_key["pcoc/engage", "all", "top"].low)  # nine users: too few for an interval
    # nobody bought: no AUC, not 0
    assert np.isnan(by_key["auc/purchase", "all", "top, 1h"].estimate)
    assert by_key["logloss/purchase", "all", "top, 1h"].estimate == pytest.approx(np.log(2))
    assert not {r.slice for r in rows if "purchase" in r.metric} - {"top, 1h"}

    class Unsure(TablePredictor):
        def predict(self, batch: Requests) -> dict[str, NDArray[np.floating]]:
            return {"engage": np.full(batch.mask.shape, np.nan)}

    broken = judged(Unsure())
    with pytest.raises(MetricError, match="probability lie outside"):
        level_rows(SUBJECT, broken, PROTOCOL)


def test_without_positions_only_the_top_is_judged_with_them_everything_shown() -> None:
    shown = Impressions.concat(MadeUpLog().parts)
    top = shown.position == 0
    clicks = shown.target("engage")
    plain = estimates(judged(TablePredictor()), PROTOCOL)
    p = 1 / (1 + np.exp(-TABLE[shown.user_id, shown.streamer_id]))
    expected = p[top].sum() / clicks[top].sum()
    assert plain[Measure("pcoc/engage", "all", "top")].value == pytest.approx(expected, rel=1e-6)
    assert Measure("pcoc/engage", "all") not in plain
    placed = estimates(judged(PlacePredictor()), PROTOCOL)
    assert placed[Measure("pcoc/engage", "all", "top")].value == pytest.approx(expected, rel=1e-6)
    found = judged(PlacePredictor()).predictions
    assert found is not None
    at = p * 0.5**shown.position
    np.testing.assert_allclose(found.probability[0], at, rtol=1e-6)


def test_true_probabilities_are_calibrated_where_they_were_shown(tmp_path: Path) -> None:
    log = simulate(config(), 3, server("popularity", 0.5), 2, tmp_path / "log", ranker_name="p")
    rows = reference_rows(Subject("quick", 3, ""), log, log.catalogue().n_users)
    by_key = {(r.metric, r.scenario, r.slice): r for r in rows}
    whole = by_key["pcoc/engage", "channel", "all"]
    assert whole.low - 0.02 < 1 < whole.high + 0.02
    # at the top the same rooms are likelier: judged against all rows this would pass for a fault
    truth, shown = logged_truth(log), log.impressions()
    channel = shown.scenario == 0
    at_top = truth.p_engage[channel] / 0.85 ** shown.position[channel]
    assert at_top.mean() / shown.engage[channel].mean() > 1.3
    bought = by_key["pcoc/purchase", "all", "ultimate"]
    assert bought.low < 1 < bought.high
    assert all(r.kind == "truth" for r in rows)
    assert {r.slice for r in rows} == {"all", "top", "ultimate", "top, ultimate"}


def test_calibration_is_by_decile_and_never_compared_by_it() -> None:
    found = judged(PlacePredictor())
    assert found.predictions is not None
    got = estimates(found, PROTOCOL)
    p, y = found.predictions.probability[0].astype(float), found.predictions.label[0]
    tenth = np.searchsorted(np.quantile(p, np.arange(1, 10) / 10), p, side="right")
    for decile in range(10):
        own = tenth == decile
        number = got[Measure("pcoc/engage", "all", f"decile {decile + 1}")]
        assert number.n == own.sum()
        expected = p[own].sum() / y[own].sum() if y[own].any() else np.nan
        assert number.value == pytest.approx(expected, nan_ok=True)
    gaps = [abs((p - y)[tenth == decile].sum()) for decile in range(10)]
    assert got[Measure("ece/engage", "all")].value == pytest.approx(sum(gaps) / len(p))
    assert not any(m.kind == "truth" for m in got), "the truth was not given"
    rows = comparison_rows(SUBJECT, found, "itself", found, PROTOCOL)
    assert not [r for r in rows if "decile" in r.slice]
    assert [r for r in rows if r.metric == "ece/engage"]


def test_purchases_have_a_window_and_an_end(tmp_path: Path) -> None:
    class Half(Random):
        def predict_at(
            self, batch: Requests, position: NDArray[np.int32]
        ) -> dict[str, NDArray[np.floating]]:
            return {"purchase": np.full(batch.mask.shape, 0.5)}

        def predict(self, batch: Requests) -> dict[str, NDArray[np.floating]]:
            return {"purchase": np.full(batch.mask.shape, 0.5)}

    log = simulate(config(), 3, server("random"), 2, tmp_path / "log", ranker_name="r")
    day = log.between(DAY_S, 2 * DAY_S)
    truth, shown = logged_truth(day), day.impressions()
    protocol = replace(PROTOCOL, max_queries_per_tick=5)
    found = judge(Half(), day, protocol, fitted_until_s=DAY_S, truth=truth)
    assert found is not None
    got = estimates(found, protocol)
    over = 2 * DAY_S - shown.known_s >= 3600
    soon = over & (shown.purchase_s - shown.known_s <= 3600)
    window = got[Measure("pcoc/purchase", "all", "1h")]
    assert (window.n, window.value) == (over.sum(), pytest.approx(0.5 * over.sum() / soon.sum()))
    ever = got[Measure("pcoc/purchase", "all", "ultimate", "truth")]
    assert ever.value == pytest.approx(0.5 * len(shown) / truth.will_purchase.sum())
    assert truth.will_purchase.sum() > soon.sum() > 0
    against = got[Measure("pcoc_true/purchase", "all", "all", "truth")]
    assert against.value == pytest.approx(0.5 * len(shown) / truth.p_purchase.sum(dtype=float))
    error = got[Measure("ece_true/purchase", "all", "all", "truth")]
    assert error.value == pytest.approx(0.5 - truth.p_purchase.mean(dtype=float), abs=1e-6)
    # a constant prediction has one decile; labels of purchases are too few for deciles
    assert [m for m in got if "decile" in m.slice] == [
        Measure("pcoc_true/purchase", "all", "decile 1", "truth")
    ]
    sliced = {m.slice: e for m, e in got.items() if m.metric == "mrr" and m.scenario == "all"}
    whole = sliced.pop("all")
    for group in ("entry ", ("new user", "settled user"), ("new streamer", "settled streamer"),
                  "followers "):  # fmt: skip
        parts = [e for name, e in sliced.items() if name.startswith(group)]
        assert sum(e.n for e in parts) == whole.n
        assert sum(e.n * e.value for e in parts) == pytest.approx(whole.n * whole.value)
    assert len([name for name in sliced if name.startswith("entry ")]) > 1
    with pytest.raises(MetricError, match="another log"):
        judge(Half(), day, protocol, fitted_until_s=DAY_S, truth=truth.take(slice(1, None)))


def test_predictions_of_unknown_targets_are_refused() -> None:
    class Odd(TablePolicy):
        def predict(self, batch: Requests) -> dict[str, NDArray[np.floating]]:
            return {"joy": self.score(batch)}

    class Flat(TablePolicy):
        def predict(self, batch: Requests) -> dict[str, NDArray[np.floating]]:
            return {"engage": np.zeros(len(batch))}

    with pytest.raises(MetricError, match="target 'joy' is unknown"):
        judged(Odd())
    with pytest.raises(MetricError, match=r"'engage' have shape \(10,\)"):
        judged(Flat())


def test_inversions_are_counted_where_a_target_needs_another() -> None:
    class Inverted(TablePredictor):
        def predict(self, batch: Requests) -> dict[str, NDArray[np.floating]]:
            even = batch.candidate_id % 2 == 0
            return {
                "bag_click": np.full(batch.mask.shape, 0.5),
                "cart": np.where(even, 0.6, 0.5),  # equal is not above
                "purchase": np.full(batch.mask.shape, 0.1),
            }

    found = judged(Inverted())
    assert found.predictions is not None
    rows = {m.metric: e for m, e in estimates(found, PROTOCOL).items() if m.scenario == "all"}
    shown = Impressions.concat(MadeUpLog().parts)
    even = (shown.streamer_id % 2 == 0)[shown.position == 0].mean()
    assert 0.0 < even < 1.0
    assert rows["inversion/cart"].value == pytest.approx(even)
    assert rows["inversion/purchase"].value == 0.0
    assert not any(
        m.metric.startswith("inversion") for m in estimates(judged(TablePredictor()), PROTOCOL)
    )
