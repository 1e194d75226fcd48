"""Agreement of orders: the exact p-value, with and without ties, against counting by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.stats import kendalltau

from evaluation import wording
from evaluation.agreement import EXACT, agreement, sampled_pairs


def test_without_ties_it_is_the_exact_distribution_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for n in (3, 5, 7, EXACT, EXACT + 2):
        first, second = rng.normal(size=n), rng.normal(size=n)
        expected = kendalltau(first, second)
        assert agreement(first, second) == pytest.approx(
            (expected.statistic, expected.pvalue), abs=1e-12
        )


def test_with_ties_every_order_is_counted() -> None:
    first, second = np.array([1.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0, 3.0])
    tau, p = agreement(first, second)
    all_taus = [kendalltau(first, np.array(order)).statistic for order in permutations(second)]
    assert tau == pytest.approx(kendalltau(first, second).statistic)
    assert p == pytest.approx(np.mean(np.abs(all_taus) >= abs(tau) - 1e-12))
    assert p == pytest.approx(4 / 24)  # the two tied policies may change places, and all may turn


def test_equal_values_have_no_order() -> None:
    assert np.isnan(agreement(np.ones(4), np.arange(4.0))).all()


def test_corrected_metrics_are_paired_with_the_full_one_and_named() -> None:
    names = ["hr@10", "hr@10/s20", "hr@10/s20_bv0.1", "mrr", "mrr/s5_cls", "ap/s5"]
    assert sampled_pairs(names) == [
        ("hr@10", "hr@10/s20"), ("hr@10", "hr@10/s20_bv0.1"), ("mrr", "mrr/s5_cls")
    ]  # fmt: skip
    assert wording.meaning("hr@10/s20") == "hit rate among 20 sampled rooms"
    assert wording.meaning("hr@10/s20_bv0.1").endswith("corrected by bias and variance at γ = 0.1")
    assert wording.meaning("mrr/s5_cls").endswith("corrected by monotone least squares")
    assert wording.is_common("hr@10/s20_cls")
