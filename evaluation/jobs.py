"""What the verbs that Hydra composes run: one composed config each.

Heavy modules are imported inside, so that `--help` is instant.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from evaluation.complaints import ErrorsInOneLine

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from evaluation.lineup.settings import LineupSettings
    from evaluation.reliability.settings import ReliabilitySettings


def study_job(config: DictConfig) -> None:
    """Run one study; Hydra calls it once, or once per job of a sweep."""
    with ErrorsInOneLine():
        from rich.console import Console

        from evaluation.leaderboard import collect, show
        from evaluation.report import render
        from evaluation.settings import study_settings
        from evaluation.study import run_study

        settings = study_settings(config, swept=is_swept())
        run_study(settings)
        page = render(settings.out)
        show(collect([settings.out]), Console())
        sys.stdout.write(f"{page}\n")


def reliability_job(settings: ReliabilitySettings) -> int:
    """Run a study of many worlds and return the exit code."""
    from rich.console import Console

    from evaluation.reliability.page import show, write
    from evaluation.reliability.study import judge_methods

    page = write(judge_methods(settings), settings)
    show(settings.out, Console())
    sys.stdout.write(f"{page}\n")
    return 0


def lineup_job(settings: LineupSettings) -> int:
    """Run a line-up of policies over several seeds and return the exit code."""
    from rich.console import Console

    from evaluation.lineup.page import show, write
    from evaluation.lineup.study import line_up

    page = write(line_up(settings), settings)
    show(settings.out, Console())
    sys.stdout.write(f"{page}\n")
    return 0


def simulate_job(config: DictConfig) -> None:
    """Write one log; Hydra calls it once, or once per job of a sweep."""
    with ErrorsInOneLine():
        from evaluation.settings import simulate_settings
        from evaluation.simulation import simulate_log

        sys.stdout.write(f"{simulate_log(simulate_settings(config, swept=is_swept()))}\n")


def fidelity_job(config: DictConfig) -> bool:
    """Compare one world with published figures and return whether all of them hold."""
    passes = False
    with ErrorsInOneLine():
        from rich.console import Console

        from evaluation.comparison import compare
        from evaluation.fidelity_page import show, write
        from evaluation.settings import fidelity_settings

        settings = fidelity_settings(config, swept=is_swept())
        comparison = compare(settings)
        page = write(comparison, settings.simulation.config_yaml, settings.out)
        show(comparison, Console())
        sys.stdout.write(f"{page}\n")
        passes = comparison.passes
    return passes


def ab_job(config: DictConfig) -> bool:
    """Compare policies by every design and return whether all gates are green."""
    passes = False
    with ErrorsInOneLine():
        from rich.console import Console

        from evaluation.ab.page import show, write
        from evaluation.ab.settings import ab_settings
        from evaluation.ab.study import compare_designs

        settings = ab_settings(config, swept=is_swept())
        designs = compare_designs(settings)
        page = write(designs, settings.out)
        show(designs, Console())
        sys.stdout.write(f"{page}\n")
        passes = designs.passes
    return passes


def is_swept() -> bool:
    """Return whether the running job is one of a sweep (`-m`)."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)
