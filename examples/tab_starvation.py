"""Does alternating training starve the small tab? Its learning curve beside other ways to train.

Run `python examples/tab_starvation.py [OUT [WORLD ...]]`. Four models of equal widths learn from
the same log, each for as many steps of as many rows: DBMTL 3.0 with batches that alternate between
the scenarios, the same with all rows shuffled, DBMTL 2.0 (one head for all scenarios) on all rows
mixed, and DBMTL 2.0 on the tab's rows alone. What is measured: the AUC of the click on the tab on
the last day, which none of them sees. Source of the question: Taobao Live talk (2021), DBMTL 3.0.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from evaluation.learning_curve_page import draw, page
from evaluation.learning_curves import Way, curves

WAYS = (
    Way("alternating", "dbmtl3", alternating=True),
    Way("joint", "dbmtl3"),
    Way("mixed", "dbmtl2"),
    Way("single", "dbmtl2", only_tab=True),
)


def main(
    out: Path,
    worlds: Sequence[str] = ("default", "sparse_tab"),
    n_users: int = 2500,
    days: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int = 240,
    rows: int = 2048,
) -> dict[str, dict[str, list[list[float]]]]:
    """Train every way in every world, and write table, numbers and figure into `out`."""
    torch.set_num_threads(1)
    found = {
        world: curves(WAYS, world, n_users, days, seeds, steps, rows, print) for world in worlds
    }
    out.mkdir(parents=True, exist_ok=True)
    setting = f"{n_users:,} users, {days} days, {steps} steps of {rows:,} rows each."
    (out / "starvation.json").write_text(json.dumps(found, indent=1) + "\n")
    command = f"python examples/tab_starvation.py {out}"
    (out / "starvation.md").write_text(page(found, setting, command))
    draw(found, out / "starvation.svg")
    return found


if __name__ == "__main__":
    main(
        Path(sys.argv[1] if len(sys.argv) > 1 else "reports/policies"),
        *([sys.argv[2:]] if sys.argv[2:] else []),
    )
