"""The table of the dials as a page of Markdown, rows for pandas, and one picture a dial."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import numpy as np
import pandas as pd

from evaluation.dials.figure import bars, panels
from evaluation.intervals import MIN_EVENTS, Estimate
from evaluation.luck import DRAWS, SharedLuck

if TYPE_CHECKING:
    from evaluation.dials.board import DialSettings, Turned

PAGE, ROWS, LUCK_ROWS = "README.md", "dials.parquet", "common_random_numbers.parquet"
LUCK_PICTURE = "common_random_numbers.svg"

SIGNS = {"up": "↑", "down": "↓", "still": "="}


def write(turned: tuple[Turned, ...], luck: tuple[SharedLuck, ...], settings: DialSettings) -> None:
    """Write everything into `settings.out`; each file is replaced in one step.

    Raises:
        OSError: the folder is read-only or full.
    """
    settings.out.mkdir(parents=True, exist_ok=True)
    templates = _templates()
    for one in turned:
        picture = templates.get_template("dial.svg.j2").render(dial=one, panels=panels(one))
        _replace(settings.out / f"{one.name}.svg", picture.encode())
    picture = templates.get_template("luck.svg.j2").render(bars=bars(luck))
    _replace(settings.out / LUCK_PICTURE, picture.encode())
    for name, frame in ((ROWS, rows(turned)), (LUCK_ROWS, luck_rows(luck))):
        _replace(settings.out / name, frame.to_parquet(index=False))
    page = templates.get_template("dials.md.j2").render(
        turned=turned,
        luck=luck,
        draws=DRAWS,
        signs=SIGNS,
        settings=settings,
        size=settings.board.scales[settings.scale],
        number=number,
        ends=ends,
        held=sum(one.holds for one in turned),
        picture=LUCK_PICTURE,
    )
    _replace(settings.out / PAGE, page.encode())


def rows(turned: tuple[Turned, ...]) -> pd.DataFrame:
    """Return one row per dial, setting and measure or part.

    Columns: dial, setting, overrides, kind ("measure" or "part"), name, expected ("up", "down",
    "still", "same"), estimate, low, high (95 %, NaN where there is none), n, digest ("" for
    measures), change, change_low, change_high (last less first setting, paired), holds.
    """
    records = []
    for one in turned:
        for number_, setting in enumerate(one.settings):
            shared = {
                "dial": one.name,
                "setting": setting,
                "overrides": " ".join(one.dial.overrides(setting)),
            }
            for measure in one.moved:
                level, change = measure.levels[number_], measure.change
                records.append(
                    {
                        **shared,
                        "kind": "measure",
                        "name": measure.measure,
                        "expected": measure.expected,
                        "estimate": level.value,
                        **dict(zip(("low", "high"), ends(level), strict=True)),
                        "n": level.n,
                        "digest": "",
                        "change": change.value,
                        **dict(zip(("change_low", "change_high"), ends(change), strict=True)),
                        "holds": measure.holds,
                    }
                )
            for part, found in one.digests.items():
                records.append(
                    {
                        **shared,
                        "kind": "part",
                        "name": part,
                        "expected": "same",
                        "estimate": np.nan,
                        "digest": found[number_],
                        "n": 0,
                        "holds": part not in one.differing,
                    }
                )
    return pd.DataFrame(records)


def luck_rows(luck: tuple[SharedLuck, ...]) -> pd.DataFrame:
    """Return one row per pair of policies and kind of draws.

    Columns: pair, draws, difference_s, variance_s2, times_smaller.
    """
    return pd.DataFrame(
        [
            {
                "pair": row.pair,
                "draws": draws,
                "difference_s": row.difference_s,
                "variance_s2": row.variance_s2[draws],
                "times_smaller": row.times_smaller(draws),
            }
            for row in luck
            for draws in DRAWS
        ]
    )


def ends(estimate: Estimate) -> tuple[float, float]:
    """Return the ends of the 95 % interval; that of a constant is the constant."""
    if estimate.standard_error == 0.0:
        return estimate.value, estimate.value
    if estimate.events is not None and estimate.events < MIN_EVENTS:
        return float("nan"), float("nan")
    found = estimate.interval()
    return found.low, found.high


def number(value: float) -> str:
    """Write a measure with three digits."""
    if not np.isfinite(value):
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _templates() -> jinja2.Environment:
    def source(name: str) -> str:
        return resources.files("evaluation").joinpath("templates", name).read_text("utf-8")

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(source),
        autoescape=jinja2.select_autoescape(enabled_extensions=("svg.j2",)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _replace(path: Path, content: bytes) -> None:
    """Replace a file at once, so that a reader never meets half of it."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
