"""The rules that hold the code together, each as a test that names the file that breaks it."""

import ast
import importlib
import inspect
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "sim": {"sim"},
    "policies": {"policies", "sim"},
    "evaluation": {"evaluation", "policies", "sim"},
}
OWN = {"sim", "policies", "evaluation", "conf", "tests"}
SOURCES = sorted(path for name in MAY_IMPORT for path in (ROOT / name).rglob("*.py"))
CONFIGS = sorted((ROOT / "conf").rglob("*.yaml"))
SEEN_BY_POLICIES = {"schema", "events", "log", "attribution", "config", "rng", "kernel", "filling"}
SIMULATES = "checks_stage.py"
"""The conformance suite needs a world to confront policies with."""
READ_TRUTH = {"contract.py", "rank.py", "oracle.py", "checks.py"}
"""Files of `policies` that pass the truth to privileged policies or refuse it to others."""


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}:{node.lineno} imports relatively"
            names.add(str(node.module))
    return names


def is_public(node: ast.AST) -> bool:
    """Whether this is the definition of a function or class without a leading underscore."""
    return isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = {name.split(".")[0] for name in imported(path)} & OWN
    assert ours <= MAY_IMPORT[package]


@pytest.mark.parametrize("path", sorted((ROOT / "policies").rglob("*.py")), ids=relative)
def test_policies_see_observations_only(path: Path) -> None:
    seen = {name.split(".")[1] for name in imported(path) if name.startswith("sim.")}
    allowed = SEEN_BY_POLICIES | ({"truth"} if path.name in READ_TRUTH else set())
    assert seen <= allowed or path.name == SIMULATES


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_file_is_short_and_documented(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert not path.stem.startswith(("util", "helper", "base_", "common", "misc"))
    tree = ast.parse(text)
    bare = [] if not text.strip() or ast.get_docstring(tree) else ["the module"]
    public = [node for node in tree.body if is_public(node)]
    methods = [n for p in public if isinstance(p, ast.ClassDef) for n in p.body if is_public(n)]
    bare += [node.name for node in [*public, *methods] if not ast.get_docstring(node)]
    assert not bare, "public names without a docstring"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_library_does_not_print_and_builds_in_one_place(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {
        node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }
    assert "print" not in {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "instantiate" not in called or relative(path) == "sim/config.py"


@pytest.mark.parametrize(
    "code",
    [
        "import sim",
        "import policies",
        "import evaluation",
        "from evaluation.cli import main; main(['--help'])",
        "from evaluation.cli import main; main(['study', '--help'])",
        "from evaluation.cli import main; main(['simulate', '--help'])",
        "from evaluation.cli import main; main(['check', '--help'])",
    ],
)
def test_light_commands_load_nothing_heavy(code: str) -> None:
    look = "import sys; sys.exit(bool({'torch', 'lifelines', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {look}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def sections(node: Any) -> list[dict[str, Any]]:
    """Every mapping with `_target_` inside a parsed yaml."""
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    found = [section for value in inside for section in sections(value)]
    return [node, *found] if isinstance(node, dict) and "_target_" in node else found


@pytest.mark.parametrize("path", CONFIGS, ids=relative)
def test_yaml_lists_every_constructor_argument(path: Path) -> None:
    for section in sections(yaml.safe_load(path.read_text(encoding="utf-8"))):
        module, _, name = section["_target_"].rpartition(".")
        parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        given = {key for key in section if not key.startswith("_")}
        assert given == set(parameters), section["_target_"]


@pytest.mark.parametrize("path", CONFIGS, ids=relative)
def test_yaml_says_what_it_is_for(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.parent.name == "policy":
        assert lines[0] == f"# @package policies.{path.stem}"
    purpose = [line for line in lines[:2] if line.startswith("# ") and "@package" not in line]
    assert purpose, "the header lacks a line on the purpose"


def test_wheel_holds_our_four_packages_and_their_data(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for path in [*SOURCES, *CONFIGS, *ROOT.glob("conf/*.py"), *ROOT.glob("*/py.typed")]:
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    templates = [path for path in (ROOT / "evaluation/templates").rglob("*") if path.is_file()]
    for path in [*templates, ROOT / "pyproject.toml", ROOT / "README.md"]:
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("swipelab-*.whl")
    files = set(zipfile.ZipFile(wheel).namelist())
    top = {name.split("/")[0] for name in files}
    assert {name for name in top if ".dist-info" not in name} == {
        "sim", "policies", "evaluation", "conf"
    }  # fmt: skip
    expected = [*SOURCES, *CONFIGS, *templates]
    assert not {relative(path) for path in expected} - files
