"""Every argument of every policy and of the world is checked when it is built, by name."""

import importlib
import inspect
import math
from collections.abc import Iterator
from importlib.resources import files

import pytest
from omegaconf import DictConfig, OmegaConf

from policies import registry
from sim.config import ConfigError, build

NAN, INF = math.nan, math.inf
NO_NUMBER = ("x", True, NAN, INF, -INF, 1e300, -1e300, [1.0], {})
WRONG = {
    "int": ("x", 3.5, True, None, -1, 10**12, NAN, [1], {}),
    "int | None": ("x", 3.5, True, -1, 10**12, NAN, [1], {}),
    "float": (*NO_NUMBER, None),
    "float | None": NO_NUMBER,
    "bool": ("x", 1, 0.0, None, []),
    "str": (3, "", None, ["x"]),
    "tuple[float, ...]": ("x", 3, None, [], [1.0], ["x"] * 3, ["x"] * 24, [NAN] * 24, [1] * 25),
    "Sequence[int]": ("x", 3, None, [], [0], [-1], ["x"], [1.5], [True], [10**9], [[8]], {}),
    "list[int]": ("x", 3, None, [], [-1], ["x"], [1.5], [True], [[8]], {}),
    "Mapping[str, Mapping[str, float]]": (3, "x", None, {"joy": {}}, {"new": 3}, {"tab": [1]}, [1]),
    "Mapping[str, float]": (3, "x", None, {}, {"joy": 1.0}, {"like": -1.0}, {"like": NAN}, [1]),
    "Mapping[str, float] | Balance": (3, "x", None, {}, {"joy": 1.0}, {"like": -1.0}, [1]),
    "Mapping[str, Sequence[str]]": (3, "x", None, {}, {"joy": []}, {"like": "engage"}, ["like"]),
}
"""Values that no argument of that type takes."""

NO_SECTION = (3, "x", None, [1], {})


def roots() -> Iterator[tuple[str, DictConfig]]:
    """Yield (key, config) of every policy of ours and of the default world."""
    objective = OmegaConf.create(files("conf").joinpath("objective/default.yaml").read_text())
    world = OmegaConf.create(files("conf").joinpath("world/default.yaml").read_text())
    world.delay = OmegaConf.create(files("conf").joinpath("delay/default.yaml").read_text())
    for key, node in (
        *((f"policies.{name}", registry.node(name)) for name in registry.built_in()),
        ("world", world),
    ):
        root = OmegaConf.create({"objective": objective})
        OmegaConf.update(root, key, node)
        OmegaConf.resolve(root)
        yield key, root


def arguments(key: str, node: DictConfig) -> Iterator[tuple[str, str, DictConfig, str]]:
    """Yield (key, argument, section, annotation) of all arguments of a node and its sections."""
    module, _, name = node["_target_"].rpartition(".")
    signature = inspect.signature(getattr(importlib.import_module(module), name))
    for argument, parameter in signature.parameters.items():
        yield key, argument, node, str(parameter.annotation)
        value = node.get(argument)
        if isinstance(value, DictConfig) and "_target_" in value:
            yield from arguments(f"{key}.{argument}", value)


CASES = {
    (section["_target_"], argument): (f"{below}.{argument}", section, argument, annotation)
    for key, root in roots()
    for below, argument, section, annotation in arguments(key, OmegaConf.select(root, key))
}
"""One for each argument of each class: four policies share a trainer."""


def test_there_is_something_to_check() -> None:
    nodes = {key: OmegaConf.select(root, key) for key, root in roots()}
    assert nodes.keys() == {"world", *(f"policies.{name}" for name in registry.built_in())}
    policies = {node["_target_"] for node in nodes.values()}
    assert {target for target, _ in CASES} >= policies - {
        f"policies.{name}"
        for name in (
            "heuristics.Random",
            "heuristics.Recency",
            "oracle.Oracle",
            "oracle.AntiOracle",
        )
    }
    assert ("policies.training.trainer.Trainer", "epochs") in CASES
    assert len(CASES) > 130


@pytest.mark.parametrize(
    ("key", "section", "argument", "annotation"), CASES.values(), ids=lambda value: str(value)[:50]
)
def test_bad_value_is_named_in_one_line(key, section, argument, annotation) -> None:
    before = section[argument]
    try:
        for value in WRONG.get(annotation, NO_SECTION):
            section[argument] = value
            with pytest.raises(ConfigError) as caught:
                build(section)
            line = str(caught.value)
            shown = repr(value) in line or (isinstance(value, dict) and " has " in line)
            assert line.startswith(key), value
            kind = f"{key} = {type(value).__name__}; "  # enough where objects are meant
            assert shown or line.startswith((f"{key}.", f"{key}: ", kind)), line
            assert "; allowed: " in line
            assert "\n" not in line
    finally:
        section[argument] = before


@pytest.mark.parametrize(("key", "root"), list(roots()), ids=lambda value: str(value)[:30])
def test_presets_are_good(key, root) -> None:
    assert build(OmegaConf.select(root, key)) is not None


def test_detached_node_is_named_as_typed() -> None:
    node = registry.node("popularity")
    node.prior = -1
    with pytest.raises(ConfigError, match=r"^policies.popularity.prior = -1; allowed: a number"):
        build(node, "policies.popularity")
    with pytest.raises(ConfigError, match=r"^Popularity.prior = -1; allowed: a number"):
        build(node)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"trainer": {"epoch": 1}},
            r"^p.x.trainer.epoch is not an argument of Trainer; allowed",
        ),
        ({"encoder": {"_target_": "no.Such"}}, r"^p.x.encoder: 'no.Such' cannot be used"),
        ({"bottom": "${nowhere}"}, r"^p.x: .*nowhere"),
    ],
)
def test_broken_sections(change, message) -> None:
    (root,) = [root for key, root in roots() if key == "policies.dbmtl"]
    node = OmegaConf.create(OmegaConf.to_container(root.policies.dbmtl, resolve=True))
    with pytest.raises(ConfigError, match=message) as caught:
        build(OmegaConf.merge(node, change), "p.x")
    assert "\n" not in str(caught.value)


def test_missing_argument_of_a_section() -> None:
    (root,) = [root for key, root in roots() if key == "world"]
    del root.world.population["n_users"]
    with pytest.raises(ConfigError, match=r"^world.population.n_users has no value, and Popul"):
        build(root.world)


def test_constructor_that_raises() -> None:
    node = OmegaConf.create({"_target_": "pathlib.PurePath", "_args_": [3]})
    with pytest.raises(ConfigError, match=r"^p.x: PurePath raises TypeError: "):
        build(node, "p.x")
