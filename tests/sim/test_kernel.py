"""Compiled code: what it is handed, and where its machine code is kept."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sim import kernel as module
from sim.kernel import block, kernel, numbers

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Inner:
    """A section."""

    gain: float


@dataclass(frozen=True)
class Outer:
    """Every kind of field."""

    share: float
    n: int
    on: bool
    absent: float | None
    inner: Inner
    weights: tuple[float, ...]


@kernel
def total(law: Outer, i: int) -> float:
    """Read every field."""
    return law.share + law.n + law.on + law.inner.gain + law.weights[i]


def test_numbers_hold_what_the_section_holds():
    """Integers given for floats become floats, an absent number NaN."""
    law = numbers(Outer(1, 2, True, None, Inner(0.5), (0.25, 0.125)))
    assert total(law, 1) == 1 + 2 + 1 + 0.5 + 0.125
    assert np.isnan(law.absent)
    assert isinstance(law.share, np.float64)


def test_numbers_refuse_what_is_no_number():
    """The message names section, field and value."""

    @dataclass(frozen=True)
    class Named:
        name: str

    with pytest.raises(TypeError, match=r"Named\.name = 'x' is no number"):
        numbers(Named("x"))


def test_blocks_are_rows_of_columns():
    """Columns stand side by side, in the order of the fields."""
    rows = block(np.dtype([("a", np.int64), ("b", np.float64)]), np.arange(3), np.ones(3))
    assert rows["a"].tolist() == [0, 1, 2]
    assert rows[1].tolist() == (1, 1.0)


def test_machine_code_depends_on_every_source_it_is_made_of():
    """A kernel of sessions holds the laws of watch time: a change there must not be overlooked."""
    sources = {path.stem for path in module._made_of(ROOT / "sim" / "session.py")}
    assert {"session", "scene", "response", "watch", "normal", "rng", "schema"} <= sources
    assert "log_writer" not in sources
    folders = {module._cache_folder(ROOT / "sim" / f"{name}.py") for name in ("session", "watch")}
    assert len(folders) == 2


@pytest.mark.skipif(os.name != "posix", reason="needs file permissions")
def test_kernels_run_where_nothing_can_be_written(tmp_path):
    """Neither the package nor the home folder is writable: compiled anew, and right."""
    closed = tmp_path / "closed"
    closed.write_text("a file, where a folder would have to be")
    code = (
        "from pathlib import Path\n"
        "import sim.kernel as k\n"
        "from sim.normal import sigmoid\n"
        "assert k._cache_folder(Path('nowhere/normal.py')) is None\n"
        "assert sigmoid(0.0) == 0.5\n"
    )
    package = tmp_path / "sim"
    package.mkdir()
    for name in ("kernel.py", "normal.py"):
        (package / name).write_bytes((ROOT / "sim" / name).read_bytes())
    (package / "__init__.py").write_text("")
    (package / "__pycache__").write_text("")  # in the way of the cache
    done = subprocess.run(
        [sys.executable, "-c", code.replace("nowhere/normal.py", str(package / "normal.py"))],
        cwd=tmp_path,
        env={**os.environ, "XDG_CACHE_HOME": str(closed), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
