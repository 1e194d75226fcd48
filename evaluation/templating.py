"""Templates of the pages, and files that are replaced in one step."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

if TYPE_CHECKING:
    import pandas as pd


def templates() -> jinja2.Environment:
    """Return the environment that renders the files of `evaluation/templates`."""
    loader = jinja2.FunctionLoader(
        lambda name: resources.files("evaluation").joinpath("templates", name).read_text("utf-8")
    )
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # the browser's JSON knows no NaN; better no page than one without plots
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "allow_nan": False}
    return environment


def replace_text(path: Path, text: str) -> Path:
    """Replace a file at once, so that a reader never meets half of it; return its path.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def replace_table(path: Path, frame: pd.DataFrame) -> Path:
    """Replace a Parquet file at once, as `replace_text` does a text; return its path.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            frame.to_parquet(file, index=False)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
