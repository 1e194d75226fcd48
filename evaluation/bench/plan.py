"""What a benchmark runs: sizes of the jobs, and the config of world and policies at these sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from evaluation.overrides import composed

LEARNED = ("shared_bottom", "dbmtl", "rui3", "sass")
"""Policies whose training and scoring is measured."""

JUDGED = "rui3"
"""Policy whose judgement is measured for memory: it predicts the most."""
LARGEST = "sass"
"""Policy whose fit is measured for memory: of the four it held the most when this was written."""


@dataclass(frozen=True)
class Scale:
    """Sizes of all jobs."""

    name: str
    world: str
    """Preset."""
    log_days: int
    """Days of the log for which memory is measured; the fit uses all but the last."""
    speed_days: int
    """Days of each timed simulation."""
    swipe_users: int
    """Users of the timed world with nothing but the swipe."""
    fit_users: int
    """Users of the small world on which fits are timed."""
    fit_days: int
    fit_anchors: int
    """Anchors of the pretraining of SASS: as large a share of the small log as by default of a
    log of a week."""
    n_requests: int
    """Requests of a timed call of `score`."""
    n_queries: int
    """Queries of a timed judgement at the log's number of candidates."""
    n_wide: int
    """Candidates of the wide judgement."""
    n_wide_queries: int
    n_rows: int
    """Rows of a timed AUC and GAUC."""
    repeats: int
    """Runs over which medians are taken."""

    @property
    def marks_apply(self) -> bool:
        """Whether the marks of the project mean anything at this scale."""
        return self.name == "full"


SCALES = {
    scale.name: scale
    for scale in (
        Scale(
            "full", "default", 6, 12, 20_000, 800, 2, 8_000, 1_000, 20_000, 10_000, 2_000,
            2_000_000, 3,
        ),
        Scale("small", "tiny", 2, 1, 200, 50, 1, 100, 50, 300, 1_000, 50, 5_000, 1),
    )
}  # fmt: skip
"""`full` takes about three minutes on an idle machine; `small` tests the machinery."""


@dataclass(frozen=True)
class BenchPlan:
    """What every stage is told; pickles."""

    scale: Scale
    folder: Path
    """Scratch folder that all stages share."""

    @property
    def log(self) -> Path:
        """Log of `scale.log_days` days, written by the stage `simulating`."""
        return self.folder / "log"

    @property
    def judged(self) -> Path:
        """Fitted state of JUDGED."""
        return self.folder / JUDGED

    def config(self, *overrides: str) -> DictConfig:
        """Return the composed config of a study of the LEARNED policies in the scale's world."""
        chosen = f"policy=[{','.join(LEARNED)},popularity]"
        (config,) = composed(
            "study", [f"world={self.scale.world}", chosen, *overrides], swept=False
        )
        return config
