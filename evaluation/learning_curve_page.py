"""Learning curves as Markdown and as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from evaluation.intervals import LEVEL
from evaluation.learning_curves import READINGS

Curves = Mapping[str, Mapping[str, Sequence[Sequence[float]]]]
"""World to way to one curve a seed."""


def page(found: Curves, setting: str, command: str) -> str:
    """Return a table a world as Markdown, each way's last reading also against that of "joint"."""
    lines = [
        "# Does alternating training starve the small tab?",
        "",
        f"Written by `{command}`; do not edit. {setting} AUC of the click on the tab on the "
        "held-out day, mean over seeds and 95 % interval; differences are paired by seed.",
        "",
    ]
    heads = ["training", *(f"{100 * k // READINGS} %" for k in range(READINGS + 1))]
    for world, ways in found.items():
        lines += [f"## World {world}", "", f"| {' | '.join([*heads, 'minus joint'])} |"]
        lines += ["|---" + "|--:" * (len(heads)) + "|"]
        for name, runs in ways.items():
            cells = [f"{interval([run[k] for run in runs])[0]:.3f}" for k in range(READINGS + 1)]
            gaps = [run[-1] - other[-1] for run, other in zip(runs, ways["joint"], strict=True)]
            mean, low, high = interval(gaps)
            gap = "–" if name == "joint" else f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
            lines.append(f"| {' | '.join([name, *cells, gap])} |")
        lines.append("")
    return "\n".join(lines)


def draw(found: Curves, path: Path) -> None:
    """Draw the mean curves, one panel a world."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(found), figsize=(4.5 * len(found), 3.2), squeeze=False)
    for panel, (world, ways) in zip(panels[0], found.items(), strict=True):
        for name, runs in ways.items():
            panel.plot(np.linspace(0, 100, READINGS + 1), np.mean(runs, axis=0), label=name)
        panel.set(title=f"world {world}", xlabel="training steps, %", ylabel="AUC on the tab")
    panels[0, 0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean over seeds and the ends of its 95 % t-interval."""
    x = np.asarray(values)
    half = (
        stdtrit(len(x) - 1, 0.5 + LEVEL / 2) * x.std(ddof=1) / np.sqrt(len(x))
        if len(x) > 1
        else np.nan
    )
    return float(x.mean()), float(x.mean() - half), float(x.mean() + half)
