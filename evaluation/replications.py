"""Replications: studies that asked the same question in one or more worlds, and may be pooled.

Two studies replicate each other where everything that decides their results is equal, but for the
seed and the list of policies. Each set of equal settings is one experiment; numbers of different
experiments are never averaged. A policy whose arguments differ between studies of one experiment
is several policies, told apart by those arguments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from evaluation.pooling import KEYS
from evaluation.results import Results, ResultsError
from evaluation.study_folder import (
    CONFIG,
    ENVIRONMENT,
    NOT_RESULTS,
    TABLE,
    facts,
    privileged,
    settings,
)  # fmt: skip

NOT_COMPARED = (*NOT_RESULTS, "seed", "policies", "control", "name", "question")
"""Top-level settings that change no number of a policy in a world; `control` is in KEYS."""

WORLD_NAME = "world.name"
"""A label; shown, and not compared."""


@dataclass(frozen=True)
class Replications:
    """Studies of one experiment."""

    settings: Mapping[str, str]
    """What was held equal: dotted key to value; empty where the folder has no config."""
    rows: pd.DataFrame
    """Results tables on top of each other, each policy once per world."""
    privileged: frozenset[str]
    """Policies that see the truth."""
    notes: tuple[str, ...]
    """What to know before believing the pool, one sentence each."""


@dataclass(frozen=True)
class _Study:
    file: Path
    rows: pd.DataFrame
    settings: Mapping[str, str]
    policies: Mapping[str, Mapping[str, str]]
    """Policy to its arguments."""
    privileged: frozenset[str]
    version: str

    @property
    def experiment(self) -> str:
        compared = {k: v for k, v in self.settings.items() if k != WORLD_NAME}
        if not self.settings:  # nothing is known to be equal but the name
            compared = {"without config": ", ".join(sorted(set(self.rows["study"])))}
        return hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()


def read(paths: Iterable[Path]) -> tuple[Replications, ...]:
    """Read the studies under `paths`, one group per experiment, in the order in which they come.

    Args:
        paths: study folders, folders that hold study folders at any depth (sweeps), or results
            files.

    Raises:
        ResultsError: a path does not exist, holds no results, or holds broken ones.
        ReportError: a file beside the results is broken.
    """
    files: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise ResultsError(f"study folder {path} does not exist")
        found = [path] if path.is_file() else sorted(path.rglob(TABLE))
        if not found:
            raise ResultsError(f"study folder {path} has no {TABLE} in it or below it")
        for file in found:
            files.setdefault(file.resolve(), file)
    if not files:
        raise ResultsError("no study folder was given; name at least one")
    groups: dict[str, list[_Study]] = {}
    for study in map(_study, files.values()):
        groups.setdefault(study.experiment, []).append(study)
    return tuple(map(_together, groups.values()))


def apart(groups: Sequence[Replications], shown: int) -> tuple[list[dict[str, str]], int]:
    """Return, for each experiment, the settings that tell it from the other experiments.

    Args:
        groups: what `read` returned.
        shown: settings to return; more where it takes more to tell all experiments apart.

    Returns:
        Dotted key to value, the most telling first, one dictionary per experiment, all with the
        same keys (none for an experiment without config); and the number of further settings that
        differ.
    """
    every = [dict(group.settings) for group in groups]
    keys = {key for one in every for key in one}
    # the world repeats the objective
    keys -= {key for key in keys if key.startswith("world.objective.")}
    differing = sorted(k for k in keys if len({one.get(k) for one in every}) > 1)
    differing.sort(key=lambda key: (key != WORLD_NAME, key.startswith("world.")))
    chosen: list[str] = []
    parts = 1
    while differing:
        told = [len({tuple(one.get(k) for k in (*chosen, key)) for one in every})
                for key in differing]  # fmt: skip
        if max(told) == parts and len(chosen) >= shown:
            break
        parts = max(told)
        chosen.append(differing.pop(told.index(parts)))
    values = [{key: one.get(key, "not set") for key in chosen if one} for one in every]
    return values, len(differing)


def _study(file: Path) -> _Study:
    folder = file.parent
    config = settings(folder / CONFIG)
    flat = _flat(config)
    nodes = config.get("policies")
    policies = {str(k): _flat(v) for k, v in nodes.items()} if isinstance(nodes, dict) else {}
    compared = {k: v for k, v in flat.items() if k.split(".")[0] not in NOT_COMPARED}
    version = str(facts(folder / ENVIRONMENT).get("swipelab", ""))
    rows = Results.read(file).to_pandas()
    return _Study(file, rows, compared, policies, privileged(folder), version)


def _flat(node: object, head: str = "") -> dict[str, str]:
    """Return dotted keys and values of nested mappings; lists are values."""
    if not isinstance(node, dict):
        return {head: str(node)}
    out: dict[str, str] = {}
    for key, value in node.items():
        out.update(_flat(value, f"{head}.{key}" if head else str(key)))
    return out


def _together(studies: list[_Study]) -> Replications:
    """Stack the tables of one experiment; the newest run of a policy in a world counts."""
    studies = sorted(studies, key=lambda one: (-one.file.stat().st_mtime_ns, str(one.file)))
    labels = _labels(studies)
    frames, seeing = [], set()
    for study, names in zip(studies, labels, strict=True):
        frame = study.rows.assign(folder=str(study.file.parent))
        frame[["policy", "control"]] = frame[["policy", "control"]].replace(names)
        seeing |= {names.get(name, name) for name in study.privileged}
        frames.append(frame)
    every = pd.concat(frames, ignore_index=True)
    rows = every.drop_duplicates(["world_seed", *KEYS], ignore_index=True)
    unknown = () if studies[0].settings else (f"no {CONFIG}: what these were made with is unknown",)
    notes = (*unknown, *_repeats(every), *_versions(studies))
    return Replications(studies[0].settings, rows, frozenset(seeing), notes)


def _labels(studies: list[_Study]) -> list[dict[str, str]]:
    """Return policy to label for each study: with the arguments, where these differ."""
    out: list[dict[str, str]] = [{} for _ in studies]
    for name in {name for study in studies for name in study.policies}:
        nodes = [study.policies.get(name) for study in studies]
        known = [node for node in nodes if node is not None]
        differing = [
            key
            for key in dict.fromkeys(key for node in known for key in node)
            if len({node.get(key) for node in known}) > 1
        ]
        for labels, node in zip(out, nodes, strict=True):
            if node is not None and differing:
                said = (f"{key.strip('_')}={node.get(key, 'none')}" for key in differing)
                labels[name] = f"{name} {' '.join(said)}"
    return out


def _repeats(every: pd.DataFrame) -> list[str]:
    """Say which policies ran more than once in a world, and whether the runs agree."""
    runs = every[every["policy"] != ""]
    count = runs.groupby(["policy", "world_seed"])["folder"].nunique()
    count = count[count > 1]
    if count.empty:
        return []
    told = runs.groupby(["world_seed", *KEYS])["estimate"].nunique()
    unlike = told[told > 1].reset_index()[["policy", "world_seed"]].drop_duplicates()
    notes = []
    for policy, seed in unlike.itertuples(index=False):
        newest = runs[(runs["policy"] == policy) & (runs["world_seed"] == seed)]["folder"].iloc[0]
        notes.append(
            f"{policy} ran {count.get((policy, seed), 2)} times in world {seed} with different"
            f" numbers; the newest counts ({newest})"
        )
    alike = len(count) - len(unlike)
    if alike > 0:
        same = "a policy ran" if alike == 1 else f"{alike} times a policy ran"
        notes.append(f"{same} again in the same world with the same numbers; each counts once")
    return notes


def _versions(studies: list[_Study]) -> list[str]:
    found = sorted({study.version for study in studies if study.version})
    return [f"made by different versions of the code: {', '.join(found)}"] if found[1:] else []
