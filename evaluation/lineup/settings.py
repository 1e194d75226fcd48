"""Settings of a line-up: several seeds of one world, checked before any work starts.

The section `lineup` of a study's config names seeds and claims; all else that is set holds in
every world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from evaluation import fields
from evaluation.folders import require_writable
from evaluation.lineup.claim import Claim
from evaluation.publishing import require_only, require_same
from evaluation.settings import StudySettings, study_settings
from evaluation.study_folder import CONFIG, ENVIRONMENT
from evaluation.study_folder import TABLE as TABLE
from sim.config import ConfigError

SECTION = "lineup"
PAGE, README, COSTS = "index.html", "README.md", "costs.parquet"
FILES = (PAGE, README, COSTS, TABLE, CONFIG, ENVIRONMENT)
"""Everything that a line-up writes."""

QUESTION = "What does each model add to the ones before it?"


@dataclass(frozen=True)
class LineupSettings:
    """What `swipelab study` does where its config has the section `lineup`."""

    name: str
    question: str
    """The headline of the page."""
    cells: tuple[StudySettings, ...]
    """A study of each seed; their `out` is not used."""
    claims: tuple[Claim, ...]
    """Of policies in the line-up."""
    out: Path
    """Folder of the results; its place can be written."""
    config_yaml: str
    """The whole resolved config, to be stored beside the results."""


def lineup_settings(
    config: DictConfig, overrides: Sequence[str], swept: bool = False
) -> LineupSettings:
    """Check the composed config of a line-up.

    Args:
        config: composition of `conf/study.yaml` with the section `lineup`; not altered.
        overrides: from which it was composed.
        swept: whether it is one of a sweep, which is refused.

    Raises:
        ConfigError: a value is not usable, a policy does not import, a folder cannot be written.
    """
    if swept:
        raise ConfigError("-m with lineup; allowed: lineup.seeds, without -m")
    for text in overrides:
        if text.lstrip("+").partition("=")[0] == "seed":
            raise ConfigError(f"{text} with lineup; allowed: {SECTION}.seeds=[...]")
    seeds = fields.integers(config, f"{SECTION}.seeds", 0, fields.MAX_SEED)
    place = OmegaConf.merge(config, {"out": f"{config.work}/cells"})
    assert isinstance(place, DictConfig)
    study = study_settings(place)
    name = fields.name(config, "name")
    settings = LineupSettings(
        name=name,
        question=str(config.question or QUESTION),
        cells=tuple(replace(study, seed=seed) for seed in seeds),
        claims=_claims(config, tuple(study.policies)),
        out=fields.out(config, Path("outputs") / name, f"{len(seeds)}seeds", False),
        config_yaml=OmegaConf.to_yaml(config, resolve=True),
    )
    require_writable(settings.out, "out")
    require_only(settings.out, FILES, "line-up")
    require_same(settings.out, settings.config_yaml, fields.overwrite(config))
    return settings


def _claims(config: DictConfig, policies: tuple[str, ...]) -> tuple[Claim, ...]:
    """Return the claims about policies that take part; a claim names both of its policies."""
    values = OmegaConf.select(config, f"{SECTION}.claims")
    if values is None:
        return ()
    if not isinstance(values, ListConfig):
        raise ConfigError(f"{SECTION}.claims = {values!r}; allowed: a list of claims")
    found = []
    for at, value in enumerate(values):
        given = OmegaConf.to_container(value) if isinstance(value, DictConfig) else None
        names = tuple(Claim.__dataclass_fields__)
        if not isinstance(given, dict) or set(given) != set(names):
            raise ConfigError(
                f"{SECTION}.claims[{at}] = {value!r}; allowed: a mapping of {', '.join(names)}"
            )
        try:
            claim = Claim(**{str(key): part for key, part in given.items()})
        except ConfigError as error:
            raise ConfigError(f"{SECTION}.claims[{at}]: {error}") from error
        if claim.policy in policies and claim.over in policies:
            found.append(claim)
    return tuple(found)
