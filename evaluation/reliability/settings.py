"""Settings of a study of reliability: many worlds, checked field by field before any work starts.

The section `reliability` of a study's config names worlds and seeds; all else that is set, a dial
of the world included, holds in every one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from evaluation import fields
from evaluation.agreement import MIN_POLICIES
from evaluation.folders import require_writable
from evaluation.overrides import composed, with_policies
from evaluation.publishing import require_only, require_same
from evaluation.settings import StudySettings, study_settings
from evaluation.study_folder import CONFIG, ENVIRONMENT
from policies.contract import is_privileged
from sim.config import ConfigError, build

SECTION = "reliability"
PAGE, README, SCORES, PAIRS, TABLE = (
    "index.html",
    "README.md",
    "scores.parquet",
    "pairs.parquet",
    "reliability.parquet",
)
FILES = (PAGE, README, SCORES, PAIRS, TABLE, CONFIG, ENVIRONMENT)
"""Everything that a study of reliability writes."""

QUESTION = "Which offline number picks the better policy?"

_TAKEN = {"world": "worlds", "seed": "seeds", "sampled_m": "negatives"}
"""Key to the one of the section that takes its place."""


@dataclass(frozen=True)
class ReliabilitySettings:
    """What `swipelab study` does where its config has the section `reliability`."""

    name: str
    question: str
    """The headline of the page."""
    cells: tuple[StudySettings, ...]
    """A study of each world and seed; their `out` is not used."""
    negatives: tuple[int, ...]
    """Numbers m of sampled negatives, ascending."""
    out: Path
    """Folder of the results; its place can be written."""
    config_yaml: str
    """The whole resolved config, to be stored beside the results."""


def reliability_settings(
    config: DictConfig, overrides: Sequence[str], folder: str | None = None, swept: bool = False
) -> ReliabilitySettings:
    """Check the composed config of a study of many worlds.

    Args:
        config: composition of `conf/study.yaml` with the section `reliability`; not altered.
        overrides: from which it was composed, already through `with_policies`; worlds and seeds
            are put in their place.
        folder: further folder of configs (`--config-dir`).
        swept: whether it is one of a sweep, which is refused.

    Raises:
        ConfigError: a value is not usable, a policy does not import, a folder cannot be written.
    """
    if swept:
        raise ConfigError("-m with reliability; allowed: reliability.worlds and .seeds, without -m")
    for text in overrides:
        key = text.lstrip("+").partition("=")[0]
        if key in _TAKEN:
            raise ConfigError(f"{text} with reliability; allowed: {SECTION}.{_TAKEN[key]}=[...]")
    worlds = _worlds(config)
    seeds = fields.integers(config, f"{SECTION}.seeds", 0, fields.MAX_SEED)
    negatives = fields.integers(config, f"{SECTION}.negatives", 1, 100_000)
    cells: list[StudySettings] = []
    composed_worlds: dict[str, DictConfig] = {}
    kept = [text for text in overrides if text.partition("=")[0] != "out"]
    for world in worlds:
        # nothing is written there, but a study must have a place
        place = with_policies([f"world={world}", "out=${work}/cells"], swept=False)
        (cell,) = composed("study", [*kept, *place], False, folder)
        of_world = study_settings(cell)
        composed_worlds[world] = cell.world
        cells += [replace(of_world, seed=seed) for seed in seeds]
    seeing = [name for name, node in cells[0].policies.items() if is_privileged(build(node))]
    if seeing:
        raise ConfigError(
            f"policy = {seeing[0]}, which sees the truth; allowed: policies that could be deployed"
        )
    if len(cells[0].policies) < MIN_POLICIES:
        named = ", ".join(cells[0].policies)
        raise ConfigError(f"policy = [{named}]; allowed: at least {MIN_POLICIES}, to have an order")
    name = fields.name(config, "name")
    settings = ReliabilitySettings(
        name=name,
        question=str(config.question or QUESTION),
        cells=tuple(cells),
        negatives=negatives,
        out=fields.out(config, Path("outputs") / name, f"{len(cells)}worlds", False),
        config_yaml=_resolved(config, composed_worlds),
    )
    require_writable(settings.out, "out")
    require_only(settings.out, FILES, "study of reliability")
    require_same(settings.out, settings.config_yaml, fields.overwrite(config))
    return settings


def _resolved(config: DictConfig, worlds: dict[str, DictConfig]) -> str:
    """Return the resolved config, with the worlds that are studied in the place of one."""
    whole = OmegaConf.to_container(config, resolve=True)
    assert isinstance(whole, dict)
    del whole["world"]
    whole["worlds"] = {
        name: OmegaConf.to_container(world, resolve=True) for name, world in worlds.items()
    }
    return OmegaConf.to_yaml(OmegaConf.create(whole))


def _worlds(config: DictConfig) -> tuple[str, ...]:
    """Return the worlds' names; whether there are such, their composition finds out."""
    values = OmegaConf.select(config, f"{SECTION}.worlds")
    good = isinstance(values, ListConfig) and len(values) > 0
    names = [str(value) if value is not None else "null" for value in values] if good else []
    if not good or len(set(names)) < len(names):
        raise ConfigError(
            f"{SECTION}.worlds = {values!r}; allowed: a list of presets, each once, "
            "such as [default, bait]"
        )
    return tuple(names)
