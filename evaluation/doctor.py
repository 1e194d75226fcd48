"""What this installation is, and what is wrong with it: the verb `doctor`."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from evaluation.folders import require_writable
from evaluation.shadowing import shadowed
from policies import registry
from sim.config import ConfigError

CORE = ("swipelab", "numpy", "scipy", "pandas", "torch", "hydra-core", "lifelines", "pyarrow")
"""Distributions whose version decides results."""


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    subject: str
    text: str
    is_problem: bool = False


def examine(folder: Path) -> list[Finding]:
    """Examine the installation.

    Args:
        folder: where the user works; results would go to `outputs` and `reports` in it.
    """
    return [
        *_versions(),
        *_machine(),
        *_plug_ins(),
        *_requirements(),
        *_hidden_packages(),
        *_outputs(folder),
    ]


def unmet_requirements() -> list[str]:
    """Return one line for each requirement of an installed distribution that is not met.

    This is `pip check` without pip, which an environment need not hold.
    """
    versions = {_canonical(d.metadata["Name"]): d.version for d in metadata.distributions()}
    lines = []
    for distribution in metadata.distributions():
        for text in distribution.requires or ():
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                continue
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            owner = f"{distribution.metadata['Name']} {distribution.version}"
            version = versions.get(_canonical(requirement.name))
            if version is None:
                lines.append(f"{owner} requires {requirement}, which is not installed")
            elif not requirement.specifier.contains(version, prereleases=True):
                lines.append(f"{owner} requires {requirement}, but {version} is installed")
    return sorted(set(lines))


def _versions() -> list[Finding]:
    python = platform.python_version()
    findings = [Finding("python", f"{python} at {sys.executable}", sys.version_info < (3, 11))]
    for name in CORE:
        try:
            findings.append(Finding(name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            findings.append(Finding(name, "not installed; `make setup` installs it", True))
    return findings


def _machine() -> list[Finding]:
    limits = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    shown = ", ".join(f"{name}={value}" for name, value in limits.items() if value)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    findings = [Finding("system", f"{platform.platform()}, {cores} cores")]
    try:
        import torch
    except Exception as error:  # a broken binary raises OSError, ImportError or worse
        return [*findings, Finding("torch", f"does not import: {error}", True)]
    threads = f"{torch.get_num_threads()} per process in torch{f'; {shown}' if shown else ''}"
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return [*findings, Finding("threads", threads), Finding("device", device)]


def _plug_ins() -> list[Finding]:
    findings = [Finding("policies", ", ".join(registry.built_in()))]
    for plug_in in registry.plug_ins():
        shown = f"{plug_in.name} = {plug_in.target} of {plug_in.origin}"
        try:
            registry.load_class(plug_in.target)
            findings.append(Finding("plug-in", shown))
        except ConfigError as error:
            findings.append(Finding("plug-in", f"{shown} is broken: {error}", True))
    return findings + [Finding("plug-in", line, True) for line in registry.conflicts()]


def _requirements() -> list[Finding]:
    unmet = [Finding("requirements", line, True) for line in unmet_requirements()]
    return unmet or [Finding("requirements", "every installed package has what it requires")]


def _hidden_packages() -> list[Finding]:
    hidden = [Finding("packages", line, True) for line in shadowed()]
    root = Path(__file__).resolve().parent.parent
    return hidden or [
        Finding("packages", f"sim, policies, evaluation and conf are those of {root}")
    ]


def _outputs(folder: Path) -> list[Finding]:
    findings = []
    for name in ("outputs", "reports"):
        try:
            require_writable(folder / name, name)
            findings.append(Finding(name, f"{folder / name} can be written"))
        except ConfigError as error:
            findings.append(Finding(name, str(error), True))
    return findings


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
