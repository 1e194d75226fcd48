"""A study's folder is replaced as a whole, and never over what is somebody else's."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.report import PAGE, PICTURE
from evaluation.study_folder import (
    CONFIG,
    CURVES,
    ENVIRONMENT,
    NOT_RESULTS,
    NOTES,
    TABLE,
    WORLD,
)  # fmt: skip
from sim.config import ConfigError
from sim.log import MANIFEST

TIMINGS, POLICIES = "timings.json", "policies.json"
DRAFT = ".draft"
"""Folder inside a study's own, where its next content is prepared."""

FILES = (TABLE, CURVES, WORLD, NOTES, ENVIRONMENT, CONFIG, TIMINGS, POLICIES, PAGE, PICTURE)
"""Everything that a study writes; hidden files are nobody's."""

COMPARISON = ("index.html", "README.md", "fidelity.parquet", CONFIG)
"""Everything that a comparison with published figures writes."""

LOG_PARTS = (
    "impressions", "purchases", "refunds", "revisits", "follows", "on_air", "users", "streamers",
    "products", "truth",
)  # fmt: skip
"""What a log of which no day is finished may hold, beside hidden files and its lock."""


def require_own(out: Path, config_yaml: str, overwrite: bool) -> None:
    """Raise unless a study may write `out`: it is new, empty, or holds the same study.

    Args:
        out: folder of a study.
        config_yaml: resolved config of the study.
        overwrite: whether a study of other settings there may be replaced. Files that no study
            writes are never touched.

    Raises:
        ConfigError: there are foreign files, or another study that may not be replaced.
    """
    require_only(out, FILES, "study")
    require_same(out, config_yaml, overwrite)


def require_same(out: Path, config_yaml: str, overwrite: bool) -> None:
    """Raise unless `out` holds nothing, results of the same settings, or what may be replaced.

    Args:
        out: folder of results; holds none but those of one writer.
        config_yaml: resolved config of what is to be written.
        overwrite: whether results of other settings there may be replaced.

    Raises:
        ConfigError: results of other settings are there.
    """
    if overwrite or not out.is_dir() or all(path.name.startswith(".") for path in out.iterdir()):
        return
    stored = out / CONFIG
    if not stored.is_file() or _results_of(stored.read_text()) != _results_of(config_yaml):
        raise ConfigError(
            f"out = {str(out)!r} holds a study of other settings; "
            "allowed: another folder, or overwrite=true to replace it"
        )


def require_only(out: Path, files: Sequence[str], writer: str) -> None:
    """Raise unless `out` is new, empty, or holds nothing but `files` and hidden ones.

    Args:
        out: a folder.
        files: names that may be there.
        writer: who writes them, such as "study".

    Raises:
        ConfigError: there is something else.
    """
    if not out.is_dir():
        return
    names = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    foreign = [name for name in names if name not in files]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise ConfigError(
            f"out = {str(out)!r} holds {foreign[0]!r}{more}, which no {writer} writes; "
            f"allowed: an empty folder, a new one, or that of a {writer}"
        )


def require_own_log(out: Path) -> None:
    """Raise unless a simulation may write `out`: it is new, empty, or holds a log.

    Whether that is the same log, the writer of logs finds out.

    Raises:
        ConfigError: there is something else than a log.
    """
    if not out.is_dir() or (out / MANIFEST).exists():
        return
    for path in sorted(out.iterdir()):
        is_part = path.name in LOG_PARTS or path.suffix in (".lock", ".draft")
        if not path.name.startswith(".") and not is_part:
            raise ConfigError(
                f"out = {str(out)!r} holds {path.name!r}, which is no part of a log; "
                "allowed: an empty folder, a new one, or that of the same log"
            )


def new_draft(out: Path) -> Path:
    """Return an empty folder in which the content of `out` can be prepared."""
    draft = out / DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    return draft


def publish(draft: Path, out: Path) -> None:
    """Move the files of a draft into `out`.

    First what tells a finished study from others goes away, the table and the page, and the table
    comes back last: an interruption leaves the old study, none, or the new one. Files are moved
    and not the folder, which may be a link, a mount or somebody's working directory.

    Args:
        draft: from `new_draft`; holds files of FILES, the table at `hidden_table`.
        out: its study folder.
    """
    for name in (TABLE, PAGE, PICTURE):
        (out / name).unlink(missing_ok=True)
    for name in FILES:
        if (draft / name).exists():
            (draft / name).replace(out / name)
        elif name not in (TABLE, PAGE, PICTURE):
            (out / name).unlink(missing_ok=True)
    hidden_table(draft).replace(out / TABLE)
    shutil.rmtree(draft)


def hidden_table(draft: Path) -> Path:
    """Return where the table of a draft lies: who looks for finished studies does not see it."""
    return draft / f"{TABLE}.part"


def _results_of(config_yaml: str) -> Any:
    """Return the settings that decide results, None where the text is no config."""
    from omegaconf import DictConfig, OmegaConf

    try:
        parsed = OmegaConf.create(config_yaml)
        assert isinstance(parsed, DictConfig)
        whole = OmegaConf.to_container(parsed)
    except Exception:  # the yaml parser and omegaconf share no exception class
        return None
    assert isinstance(whole, dict)
    return {key: value for key, value in whole.items() if key not in NOT_RESULTS}
