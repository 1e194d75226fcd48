"""The command `swipelab VERB ...`: a dispatcher over Hydra applications and a few plain verbs.

Errors that a user can cause end in one line on stderr and exit code 2, interruption in 130, and
errors of ours in one line and 1; SWIPELAB_DEBUG=1 or HYDRA_FULL_ERROR=1 shows the traceback.
Heavy modules are imported inside the verbs, so that `--help` is instant.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.complaints import (
    comes_of_interruption,
    complain,
    debugging,
    report_error,
)
from evaluation.jobs import (
    ab_job,
    fidelity_job,
    lineup_job,
    reliability_job,
    simulate_job,
    study_job,
)
from evaluation.usage import (
    BENCH_HELP,
    CHECK_HELP,
    DIALS_HELP,
    DOCTOR_HELP,
    HELP,
    LEADERBOARD_HELP,
    REPORT_HELP,
)

if TYPE_CHECKING:
    from omegaconf import DictConfig


class Interruption(KeyboardInterrupt):
    """Ctrl-C.

    CPython ends `python -m` by the signal, whatever its exit code, once a plain KeyboardInterrupt
    has left an `exec`, such as those that make dataclasses while modules are imported. It compares
    the type and not the kind, so this one is spared.
    """


def _interrupt(number: int, frame: object) -> None:
    raise Interruption


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        arguments: what stands after `swipelab`; None takes the process's own.

    Returns:
        Exit code: 0 done, 1 our error, 2 the user's error, 130 interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        return _dispatch(given)
    except KeyboardInterrupt:
        return _report_interruption(given)
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if comes_of_interruption(error):
            return _report_interruption(given)
        if debugging():
            raise
        return report_error(error)
    finally:
        if arguments is None:  # all is said: Ctrl-C while the interpreter winds up changes nothing
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _report_interruption(given: list[str]) -> int:
    keeps_parts = given[:1] in (["study"], ["simulate"], ["fidelity"], ["ab"])
    does = "goes on from here" if keeps_parts else "starts over"
    complain(f"interrupted; the same command {does}")
    return 130


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        sys.stdout.write(HELP)
        return 0
    verb, rest = given[0], given[1:]
    if verb not in VERBS:
        complain(f"error: verb {verb!r} is unknown; allowed: {', '.join(VERBS)}")
        return 2
    run, text = VERBS[verb]
    if text and any(flag in rest for flag in ("-h", "--help")):
        sys.stdout.write(text)
        return 0
    from evaluation.shadowing import shadowed

    for line in shadowed():
        complain(f"error: {line}")
        return 2
    here = str(Path.cwd())
    if here not in sys.path:  # last, so that a folder here named like one of ours hides nothing
        sys.path.append(here)
    return run(rest)


def _study(rest: list[str]) -> int:
    return _hydra("study", rest, study_job)


def _simulate(rest: list[str]) -> int:
    return _hydra("simulate", rest, simulate_job)


def _fidelity(rest: list[str]) -> int:
    verdicts: list[bool] = []

    def job(config: DictConfig) -> None:
        verdicts.append(fidelity_job(config))

    _hydra("fidelity", rest, job)
    return int(not all(verdicts))


def _ab(rest: list[str]) -> int:
    verdicts: list[bool] = []

    def job(config: DictConfig) -> None:
        verdicts.append(ab_job(config))

    _hydra("ab", rest, job)
    return int(not all(verdicts))


def _hydra(verb: str, rest: list[str], job: Callable[[DictConfig], None]) -> int:
    """Check every job of the command, then hand it to Hydra."""
    import hydra
    from hydra._internal.utils import get_args_parser

    from evaluation.overrides import composed, with_policies
    from policies import registry
    from sim.config import ConfigError

    rest = sorted(rest, key=lambda text: text not in ("-m", "--multirun"))  # Hydra wants it first
    flags, unknown = get_args_parser().parse_known_args(rest)
    for flag in unknown:
        raise ConfigError(f"flag {flag!r} is unknown; allowed: -m, --cfg job, --help, --hydra-help")
    only_shows = flags.help or flags.hydra_help or flags.cfg or flags.info or flags.shell_completion
    rest = with_policies(rest, flags.multirun)
    registry.register(load=not only_shows)
    if not only_shows:
        home = "evaluation.ab.settings" if verb == "ab" else "evaluation.settings"
        checked = getattr(importlib.import_module(home), f"{verb}_settings")
        overrides = with_policies(flags.overrides, flags.multirun)
        for config in composed(verb, overrides, flags.multirun, flags.config_dir):
            if verb == "study" and config.get("reliability") is not None:
                from evaluation.reliability.settings import reliability_settings

                asked = reliability_settings(config, overrides, flags.config_dir, flags.multirun)
                return reliability_job(asked)  # it is composed once a world, not by Hydra's main
            if verb == "study" and config.get("lineup") is not None:
                from evaluation.lineup.settings import lineup_settings

                return lineup_job(lineup_settings(config, overrides, flags.multirun))
            checked(config, swept=flags.multirun)
    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [f"swipelab {verb}", *rest]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors to us instead of printing tracebacks
    try:
        hydra.main(version_base="1.3", config_path="pkg://conf", config_name=verb)(job)()
    finally:
        sys.argv = before[0]
        del os.environ["HYDRA_FULL_ERROR"]
        if before[1] is not None:
            os.environ["HYDRA_FULL_ERROR"] = before[1]
    return 0


def _report(rest: list[str]) -> int:
    from evaluation import report
    from evaluation.arguments import named_values
    from evaluation.lineup import page as lineup_page
    from evaluation.lineup import settings as lineup
    from evaluation.reliability import page as reliability_page
    from evaluation.reliability import settings as reliability

    out = Path(named_values("report", rest, {"out": "DIR"}).get("out", "reports/latest"))
    render = report.render
    if (out / reliability.PAIRS).is_file():
        render = reliability_page.render
    elif (out / lineup.COSTS).is_file():
        render = lineup_page.render
    sys.stdout.write(f"{render(out)}\n")
    return 0


def _leaderboard(rest: list[str]) -> int:
    from rich.console import Console

    from evaluation.leaderboard import collect, show
    from sim.config import ConfigError

    paths = [Path(text) for text in rest]
    if not paths:
        usual = (Path("outputs"), Path("reports/latest"))
        paths = [path for path in usual if any(path.rglob("results.parquet"))]
        if not paths:
            raise ConfigError("PATH: no study in outputs or reports/latest; allowed: study folders")
    show(collect(paths), Console())
    return 0


def _check(rest: list[str]) -> int:
    from evaluation.overrides import composed
    from policies import registry
    from policies.checks import CheckError, check_policy
    from sim.config import ConfigError, build

    if len(rest) != 1:
        raise ConfigError(f"check arguments {rest}; allowed: one module:Class or policy name")
    (name,) = rest
    registry.register(load=True)
    chosen = registry.add(name) if ":" in name else name
    (config,) = composed("study", [f"policy=[{chosen}]"], swept=False)
    node = config.policies[chosen]
    registry.check_node(name, node)

    def policy() -> object:
        return build(node)

    policy.__qualname__ = name
    try:
        check_policy(policy)
    except CheckError as error:
        complain(str(error))
        return 1
    sys.stdout.write(f"{name} keeps the contract\n")
    return 0


def _doctor(rest: list[str]) -> int:
    from evaluation.doctor import examine
    from sim.config import ConfigError

    if rest:
        raise ConfigError(f"doctor arguments {rest}; allowed: none")
    findings = examine(Path.cwd())
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        mark = "PROBLEM" if finding.is_problem else "ok"
        sys.stdout.write(f"{mark:<8}{finding.subject:<{width + 2}}{finding.text}\n")
    return int(any(finding.is_problem for finding in findings))


def _dials(rest: list[str]) -> int:
    from evaluation.dials.board import DialSettings, run_dials

    settings = DialSettings.parse(rest)
    turned = run_dials(settings)
    for one in turned:
        sys.stdout.write(f"{'holds' if one.holds else 'FAILS':<8}{one.name}\n")
    sys.stdout.write(f"{settings.out}\n")
    return int(not all(one.holds for one in turned))


def _bench(rest: list[str]) -> int:
    from evaluation.bench.command import bench

    sys.stdout.write(f"{bench(rest)}\n")
    return 0


VERBS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "study": (_study, ""),
    "simulate": (_simulate, ""),
    "fidelity": (_fidelity, ""),
    "ab": (_ab, ""),
    "report": (_report, REPORT_HELP),
    "leaderboard": (_leaderboard, LEADERBOARD_HELP),
    "check": (_check, CHECK_HELP),
    "doctor": (_doctor, DOCTOR_HELP),
    "dials": (_dials, DIALS_HELP),
    "bench": (_bench, BENCH_HELP),
}
"""Verb -> what runs it, and its help; Hydra writes the help of its applications."""
