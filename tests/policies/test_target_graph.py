"""Target graphs: validation, order, layers."""

from __future__ import annotations

import pytest

from policies.target_graph import TargetGraph, TargetGraphError

CHAIN = {"watch": ["engage"], "engage": [], "cart": ["bag_click"], "bag_click": ["watch"]}


def test_parents_come_before_children_whatever_the_order_of_the_mapping() -> None:
    graph = TargetGraph.build(CHAIN)
    assert graph.targets == ("engage", "watch", "bag_click", "cart")
    assert graph.parents == ((), (0,), (1,), (2,))
    assert TargetGraph.build(dict(reversed(CHAIN.items()))) == graph


def test_targets_that_are_only_parents_are_roots() -> None:
    graph = TargetGraph.build({"purchase": ["watch", "cart"]})
    assert graph.targets == ("watch", "cart", "purchase")
    assert graph.parents == ((), (), (0, 1))


def test_layers_follow_the_longest_path() -> None:
    graph = TargetGraph.build(
        {"watch": ["engage"], "like": ["watch"], "follow": ["watch"], "cart": ["engage", "follow"]}
    )
    named = [tuple(graph.targets[i] for i in layer) for layer in graph.layers()]
    assert named == [("engage",), ("watch",), ("like", "follow"), ("cart",)]


def test_a_cycle_is_refused_and_spelled_out() -> None:
    with pytest.raises(TargetGraphError, match="cycle") as caught:
        TargetGraph.build({"watch": ["like"], "like": ["follow"], "follow": ["watch"]})
    message = str(caught.value)
    assert "\n" not in message
    assert all(name in message for name in ("watch", "like", "follow", "->"))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({}, "at least one target"),
        ({"engage": [], "wtach": ["engage"]}, "'wtach' is unknown; allowed: engage, watch"),
        ({"watch": ["clicks"]}, "'clicks' is unknown"),
        ({"watch": ["engage", "engage"]}, "each parent at most once"),
    ],
)
def test_other_mistakes_are_named(graph: dict[str, list[str]], message: str) -> None:
    with pytest.raises(TargetGraphError, match=message):
        TargetGraph.build(graph)


def test_self_loop_is_a_cycle() -> None:
    with pytest.raises(TargetGraphError, match="watch -> watch"):
        TargetGraph.build({"watch": ["watch"]})
