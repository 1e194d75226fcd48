"""The study page: one self-contained HTML file, drawn from what a study left in its folder.

Equal input gives equal bytes: nothing of the moment (time, host, random ids) enters the page.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from markupsafe import Markup

from evaluation import chapters, drawing, standings
from evaluation.conversion import conversion
from evaluation.counterfactual import counterfactual
from evaluation.leaderboard import board
from evaluation.page import plots_of
from evaluation.palette import inks
from evaluation.pooling import pooled
from evaluation.study_folder import ReportError as ReportError
from evaluation.study_folder import StudyFolder, open_folder
from evaluation.templating import replace_text, templates

PAGE, PICTURE = "index.html", "leaderboard.svg"


def render(folder: Path) -> Path:
    """Write the page of a study.

    Args:
        folder: study folder with results.parquet; curves.parquet, world.json, environment.json
            and config.yaml enrich the page where present.

    Returns:
        Path of the page, `folder`/index.html.

    Raises:
        ReportError: the folder or its results are missing or broken.
        OSError: the page cannot be written.
    """
    from plotly.offline import get_plotlyjs

    study = open_folder(folder)
    numbers = pooled(study.rows)
    table = _one_control(board(study.rows))
    leaders = standings.leaderboard(table, numbers, study.privileged)
    order = list(table["policy"])
    ink = inks(order)
    parts = (
        chapters.scenarios(numbers, order, ink, leaders.control),
        chapters.offline_online(numbers, ink, leaders.control, study.privileged),
        chapters.sampling(numbers, ink),
        counterfactual(numbers, order, ink, leaders.control),
        conversion(numbers, study.curves, study.warnings),
    )
    findings = [leaders.finding, *(part.finding for part in parts)]
    html = (
        templates()
        .get_template("report.html.j2")
        .render(
            study=study,
            leaders=leaders,
            ink=ink,
            chapters=parts,
            findings=[text for text in findings if text],
            plots=plots_of(parts),
            dark=dict(drawing.DARK),
            plotly=Markup(get_plotlyjs()),
        )
    )
    return replace_text(folder / PAGE, html)


def summary_svg(folder: Path) -> Path:
    """Write the leaderboard as a small static picture, for a README.

    Args:
        folder: study folder with results.parquet.

    Returns:
        Path of the picture, `folder`/leaderboard.svg.

    Raises:
        ReportError: the folder or its results are missing or broken, or nothing was deployed.
        OSError: the picture cannot be written.
    """
    study = open_folder(folder)
    table = _one_control(board(study.rows))
    leaders = standings.leaderboard(table, pooled(study.rows), study.privileged)
    if not leaders.control:
        raise ReportError(f"study folder {folder} has no online lift to draw")
    svg = (
        templates()
        .get_template("leaderboard.svg.j2")
        .render(leaders=leaders, ink=inks(list(table["policy"])), study=study)
    )
    return replace_text(folder / PICTURE, svg)


def _one_control(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the control with the most policies, and the policies that were never deployed."""
    counts = table.loc[table["control"] != "", "control"].value_counts(sort=False)
    control = min(counts.index, key=lambda name: (-counts[name], name), default="")
    return table[table["control"].isin(["", control])].reset_index(drop=True)


__all__ = ["ReportError", "StudyFolder", "render", "summary_svg"]
