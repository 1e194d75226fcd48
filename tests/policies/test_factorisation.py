"""What logits mean: joints by brute force, products in extreme places, chains, sample spaces."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from policies.factorisation import (
    Marginal,
    chains,
    conditional,
    entire_space,
    product_log_odds,
)
from policies.target_graph import TargetGraphError
from policies.training.trainer import generator

Needs = Mapping[str, Sequence[str]]

CHAIN = ("engage", "bag_click", "cart", "purchase")
GRAPHS = [
    pytest.param({"engage": []}, id="roots"),
    pytest.param({"cart": ["bag_click"], "purchase": ["cart"]}, id="chain"),
    pytest.param({"like": ["engage"], "bag_click": ["engage"], "cart": ["bag_click"]}, id="tree"),
    pytest.param(
        {"like": ["engage"], "bag_click": ["engage"], "purchase": ["like", "bag_click"]},
        id="diamond",
    ),
]
TARGETS = ("engage", "like", "bag_click", "cart", "purchase")


def draw(*shape: int, scale: float = 1.5) -> Tensor:
    return scale * torch.randn(*shape, generator=generator(0, *shape), dtype=torch.float64)


def patterns(n: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)


def possible(needs: Needs, pattern: Tensor) -> bool:
    """Whether nothing happened without what it needs."""
    happened = dict(zip(TARGETS, pattern.tolist(), strict=True))
    return all(happened[p] for child, of in needs.items() if happened[child] for p in of)


def joint(needs: Needs, z: Tensor, pattern: Tensor) -> float:
    """Return P(pattern | x) target by target, for logits z [T] of the conditionals."""
    happened = dict(zip(TARGETS, pattern.tolist(), strict=True))
    p = 1.0
    for name, logit in zip(TARGETS, z.tolist(), strict=True):
        may = all(happened[parent] for parent in needs.get(name, ()))
        share = 1.0 / (1.0 + math.exp(-logit)) if may else 0.0
        p *= share if happened[name] else 1.0 - share
    return p


@pytest.mark.parametrize("needs", GRAPHS)
def test_a_joint_is_the_product_of_its_conditionals(needs: Needs) -> None:
    """Over all 2^T patterns of labels it sums to one, and the loss of each is its logarithm."""
    meaning, z = conditional(needs, TARGETS), draw(3, len(TARGETS))
    for row in z:
        total = 0.0
        for pattern in patterns(len(TARGETS)):
            p = joint(needs, row, pattern)
            total += p
            assert (p > 0.0) == possible(needs, pattern)
            if p > 0.0:
                terms, space = meaning.terms(row[None], pattern[None])
                assert space is not None
                assert float((terms * space).sum()) == pytest.approx(-math.log(p), rel=1e-9)
        assert total == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("needs", GRAPHS)
@pytest.mark.parametrize("build", [conditional, entire_space])
def test_probabilities_are_the_marginals_of_the_joint(build, needs: Needs) -> None:  # type: ignore[no-untyped-def]
    z = draw(3, len(TARGETS))
    p = build(needs, TARGETS).log_odds(z).sigmoid()
    for row, own in zip(z, p, strict=True):
        by_hand = sum(pattern * joint(needs, row, pattern) for pattern in patterns(len(TARGETS)))
        np.testing.assert_allclose(own.numpy(), np.asarray(by_hand), rtol=1e-9)


def test_conditionals_learn_where_the_parents_happened() -> None:
    meaning = conditional({"cart": ["bag_click"], "purchase": ["like", "cart"]}, TARGETS)
    labels = torch.tensor([[1.0, 0, 1, 1, 0], [0, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    space = meaning.space(labels)
    assert space.tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    z = torch.zeros(3, 5, requires_grad=True)
    terms, used = meaning.terms(z, labels)
    assert used is not None
    (gradient,) = torch.autograd.grad((terms * used).sum(), z)
    assert torch.equal(gradient != 0.0, space > 0.0)


def test_the_entire_space_learns_conversions_from_unclicked_rows() -> None:
    """ESMM: on a row without a click the conversion's own logit has a gradient through the product.

    There is no loss on the conversion's logit alone: of a sure non-click it learns nothing.
    """
    meaning = entire_space({"purchase": ["engage"]}, ("engage", "purchase"))
    z = torch.tensor([[0.5, 0.3], [-60.0, 0.3]], requires_grad=True)
    terms, space = meaning.terms(z, torch.zeros(2, 2))
    assert space is None
    (gradient,) = torch.autograd.grad(terms[:, 1].sum(), z)
    a, b = torch.sigmoid(torch.tensor([0.5, 0.3])).tolist()
    expected = a * b * (1.0 - b) / (1.0 - a * b)  # of -log(1 - a b) by the second logit
    assert float(gradient[0, 1]) == pytest.approx(expected, rel=1e-5)
    assert abs(float(gradient[1, 1])) < 1e-20


def test_products_hold_exactly() -> None:
    """pCTCVR = pCTR pCVR."""
    z = draw(50, 2)
    p = entire_space({"purchase": ["engage"]}, ("engage", "purchase")).log_odds(z).sigmoid()
    assert torch.allclose(p[:, 0], z[:, 0].sigmoid(), rtol=1e-12)
    assert torch.allclose(p[:, 1], z[:, 0].sigmoid() * z[:, 1].sigmoid(), rtol=1e-12)


def reference(logits: Sequence[float]) -> float:
    """Return the log-odds of a product of chances in double precision, by 1/p = prod (1 + e^-z)."""
    surprise = math.fsum(max(-z, 0.0) + math.log1p(math.exp(-abs(z))) for z in logits)
    if surprise > 30.0:
        return -surprise
    if min(logits) < 30.0:
        return -math.log(math.expm1(surprise))
    low = min(logits)
    return low - math.log(math.fsum(math.exp(low - z) for z in logits))


extreme = st.floats(min_value=-300.0, max_value=300.0, width=32)


@given(st.lists(extreme, min_size=2, max_size=5))
def test_log_odds_of_products_are_finite_and_accurate(logits: list[float]) -> None:
    z = torch.tensor([logits], requires_grad=True)
    odds = product_log_odds(z, [range(len(logits))])
    assert float(odds.detach()) == pytest.approx(reference(logits), rel=2e-5, abs=2e-5)
    (gradient,) = torch.autograd.grad(odds.sum(), z)
    assert torch.isfinite(gradient).all()
    assert (gradient >= 0.0).all()


@given(st.lists(extreme, min_size=4, max_size=4))
def test_a_child_is_never_more_probable(logits: list[float]) -> None:
    z = torch.tensor([logits])
    for build in (entire_space, conditional):
        meaning = build(
            {"bag_click": ["engage"], "cart": ["bag_click"], "purchase": ["cart"]}, CHAIN
        )
        odds = meaning.log_odds(z)[0]
        room = 1e-5 * odds[:-1].abs() + 1e-6
        assert (odds[1:] <= odds[:-1] + room).all()


def test_chains_name_ancestors_and_descendants() -> None:
    needs = {"cart": ["bag_click"], "purchase": ["cart"]}
    for build in (entire_space, conditional):
        assert chains(build(needs, TARGETS), TARGETS) == (
            ("bag_click", "cart"),
            ("bag_click", "purchase"),
            ("cart", "purchase"),
        )
    assert chains(Marginal(), TARGETS) == ()


def test_the_order_of_declaration_and_of_targets_does_not_matter() -> None:
    z = draw(4, len(TARGETS))
    needs = {"purchase": ["cart", "like"], "cart": ["bag_click"], "like": ["engage"]}
    turned = dict(reversed([(child, of[::-1]) for child, of in needs.items()]))
    odds = conditional(needs, TARGETS).log_odds(z)
    assert conditional(turned, TARGETS) == conditional(needs, TARGETS)
    back = TARGETS[::-1]
    np.testing.assert_allclose(
        entire_space(turned, back).log_odds(z.flip(1)).flip(1).numpy(), odds.numpy(), rtol=1e-12
    )


def test_heads_begin_where_products_are_the_base_rates() -> None:
    rates = torch.tensor([0.3, 0.1, 0.04, 0.01, 0.002])
    needs = {"bag_click": ["engage"], "cart": ["bag_click"], "purchase": ["cart", "like"]}
    meaning = entire_space(needs, TARGETS)
    shares = meaning.factors(rates)
    assert shares[:2].tolist() == rates[:2].tolist()
    expected = rates.clone()
    p = meaning.log_odds(torch.logit(shares)[None]).sigmoid()[0]
    expected[4] = torch.minimum(rates[4], p[4])  # cart and like together are rarer than purchase
    assert torch.allclose(p, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        ({"cart": ["purchase"], "purchase": ["cart"]}, "cycle"),
        ({}, r"needs = \{\}; allowed: "),
        ({"like": ["follow"]}, "needs names follow; allowed: the targets engage, like"),
        ({"like": ["watch"]}, r"needs.like = \['watch'\]; allowed: parents that happen or do not"),
    ],
)
def test_needs_that_cannot_be_are_refused(needs: Needs, message: str) -> None:
    targets = (*TARGETS, "watch")
    for build in (entire_space, conditional):
        with pytest.raises(TargetGraphError, match=message):
            build(needs, targets)
