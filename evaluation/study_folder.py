"""What a study leaves in its folder: results, curves, world, environment, configuration."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from evaluation.results import Results, ResultsError

TABLE = "results.parquet"
CURVES, WORLD, NOTES, ENVIRONMENT, CONFIG, POLICIES = (
    "curves.parquet",
    "world.json",
    "notes.json",
    "environment.json",
    "config.yaml",
    "policies.json",
)
"""Names of the files beside the results table; all but the table may be missing."""

NOT_RESULTS = ("out", "work", "executor", "workers", "shards", "overwrite")
"""Settings that change no result."""

SEES_THE_TRUTH = frozenset({"oracle", "anti_oracle"})
"""Policies that see the truth, in folders that do not say which do."""

CURVE_COLUMNS = ("scenario", "estimator", "t_s", "cumulative_conversion", "low", "high")
DEFAULT_QUESTION = (
    "Which policy is worth most to the users of this platform, "
    "and would an offline metric have picked it?"
)


class ReportError(ValueError):
    """A study folder that cannot be reported; the message is one line that says why."""


@dataclass(frozen=True)
class Fact:
    """One line of a list of facts."""

    name: str
    value: str


@dataclass(frozen=True)
class FactGroup:
    """Facts under a common heading."""

    name: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class StudyFolder:
    """The content of one study folder."""

    name: str
    question: str
    rows: pd.DataFrame
    """The results table, columns as in `evaluation.results`."""
    curves: pd.DataFrame
    """CURVE_COLUMNS, empty where the study has none."""
    warnings: tuple[str, ...]
    """Reasons not to believe a survival estimate, one sentence each."""
    world: tuple[FactGroup, ...]
    environment: tuple[FactGroup, ...]
    command: str
    """Command that makes the study again, "" where the folder does not say."""
    config: str
    """Resolved configuration, yaml, "" where missing."""
    privileged: frozenset[str]
    """Policies that see the truth: a ceiling, never the winner."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """World seeds in ascending order."""
        return tuple(sorted(int(seed) for seed in set(self.rows["world_seed"])))


def open_folder(folder: Path) -> StudyFolder:
    """Read a study folder.

    Args:
        folder: holds results.parquet; curves.parquet, world.json, notes.json, environment.json,
            config.yaml and policies.json are read where present.

    Raises:
        ReportError: the folder or its results are missing, or a file in it is broken.
    """
    if not folder.is_dir():
        raise ReportError(f"study folder {folder} does not exist")
    if not (folder / TABLE).is_file():
        raise ReportError(
            f"study folder {folder} has no {TABLE}; the study has not finished, or it is another"
            " folder that is meant"
        )
    try:
        rows = Results.read(folder / TABLE).to_pandas()
    except ResultsError as error:
        raise ReportError(_one_line(str(error))) from error
    if rows.empty:
        raise ReportError(f"results file {folder / TABLE} has no rows")
    config, parsed = _config(folder / CONFIG)
    environment = facts(folder / ENVIRONMENT)
    command = environment.pop("command", "")
    return StudyFolder(
        name=", ".join(sorted(set(rows["study"]))),
        question=str(parsed.get("question") or DEFAULT_QUESTION),
        rows=rows,
        curves=_curves(folder / CURVES),
        warnings=tuple(str(text) for text in _listed(facts(folder / NOTES).get("survival"))),
        world=fact_groups(facts(folder / WORLD), "size"),
        environment=fact_groups(environment, "made with"),
        command=" ".join(map(str, command)) if isinstance(command, list) else str(command),
        config=config,
        privileged=privileged(folder),
    )


def privileged(folder: Path) -> frozenset[str]:
    """Return the policies of a study that see the truth, as policies.json says.

    Raises:
        ReportError: the file is broken.
    """
    record = facts(folder / POLICIES)
    if not record:
        return SEES_THE_TRUTH
    known = {name: about for name, about in record.items() if isinstance(about, dict)}
    return frozenset(name for name, about in known.items() if about.get("privileged") is True)


def settings(path: Path) -> dict[str, object]:
    """Return the resolved config as nested dictionaries, empty where the file is missing.

    Raises:
        ReportError: the file is broken.
    """
    return _config(path)[1]


def facts(path: Path) -> dict[str, object]:
    """Return a JSON object, empty where the file is missing.

    Raises:
        ReportError: the file cannot be read, or holds no object.
    """
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReportError(f"{path} cannot be read: {_one_line(str(error))}") from error
    if not isinstance(record, dict):
        raise ReportError(f"{path} holds {type(record).__name__}; expected an object of facts")
    return record


def _curves(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=list(CURVE_COLUMNS))
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ReportError(f"curves file {path} cannot be read: {_one_line(str(error))}") from error
    missing = [name for name in CURVE_COLUMNS if name not in frame]
    if missing:
        raise ReportError(f"curves file {path} lacks the column {missing[0]!r}")
    return frame


def _config(path: Path) -> tuple[str, dict[str, object]]:
    """Return the yaml text and what it holds."""
    if not path.is_file():
        return "", {}
    from omegaconf import OmegaConf

    try:
        text = path.read_text(encoding="utf-8")
        parsed = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
    except Exception as error:  # the yaml parser and omegaconf share no exception class
        raise ReportError(f"config {path} cannot be read: {_one_line(str(error))}") from error
    return text, {str(k): v for k, v in parsed.items()} if isinstance(parsed, dict) else {}


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def fact_groups(record: dict[str, object], lone: str) -> tuple[FactGroup, ...]:
    """Turn an object of facts, nested at most once, into groups; lone facts come first.

    Args:
        record: name to fact, or to an object of facts.
        lone: heading of the facts that are in no group.
    """
    alone = tuple(_fact(k, v) for k, v in record.items() if not isinstance(v, dict))
    nested = [
        FactGroup(_words(k), tuple(_fact(n, x) for n, x in v.items()))
        for k, v in record.items()
        if isinstance(v, dict) and v
    ]
    return (*((FactGroup(lone, alone),) if alone else ()), *nested)


def _fact(name: str, value: object) -> Fact:
    return Fact(_words(name), _value(name, value))


def _words(name: str) -> str:
    for suffix in ("_cny", "_s"):
        name = name.removesuffix(suffix)
    words = name.replace("_", " ")
    return re.sub(r"\b(ctr|cvr|gmv|auc)\b", lambda found: found[0].upper(), words)


def _value(name: str, value: object) -> str:
    """Format a fact: thousands apart, rates in per cent, units from the suffix of the name."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{_words(str(k))} {_value(str(k), v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(_value(name, item) for item in value)
    if not isinstance(value, int | float):
        return str(value)
    if name.endswith(("rate", "ctr", "cvr", "share", "fraction")):
        return f"{100 * value:.3g} %"
    unit = " s" if name.endswith("_s") else " CNY" if name.endswith("_cny") else ""
    number = f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
    return number.replace(",", "\N{NARROW NO-BREAK SPACE}") + unit


def _one_line(text: str) -> str:
    return " ".join(text.split())
