"""Files of the user that have names of modules of Python or Dask: one message names them, or they do no harm."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

RUN = ("-m", "daskhpc", "run", "--dry-run", "program.py")


def run(folder: Path, argv: Sequence[str], path: str = "") -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *argv], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("name", ["queue.py", "random.py", "dask.py", "distributed/__init__.py"])
def test_a_program_that_starts_its_cluster_itself(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    (tmp_path / "program.py").write_text("import daskhpc\ndaskhpc.start()\n")
    done = run(tmp_path, ["program.py"])
    assert done.returncode == 1
    hiding = tmp_path / name.removesuffix("/__init__.py")
    assert f"DaskhpcError: Files of yours have names of modules that Python or Dask needs: {hiding}.\n" in done.stderr
    assert len(done.stderr.splitlines()) < 10
    assert f"mv {hiding} " in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["mpi4py", "dask_mpi", "numpy", "msgpack", "yaml", "locket", "click"])
def test_a_module_that_would_be_missed_in_the_middle_of_the_start(tmp_path: Path, name: str) -> None:
    """Also one without which a single process would start."""
    (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "program.py").write_text("import daskhpc\ndaskhpc.start()\n")
    done = run(tmp_path, ["program.py"])
    assert f"have names of modules that Python or Dask needs: {tmp_path / name}.py.\n" in done.stderr
    assert (done.returncode, done.stderr.count("\n") < 12) == (1, True), done.stderr


def test_what_is_no_module_of_dask_or_is_a_package_itself_may_stand_beside_the_program(tmp_path: Path) -> None:
    for name in ("pandas.py", "joblib.py", "utils.py", "types.py"):
        (tmp_path / name).write_text("")
    (tmp_path / "toolz").mkdir()
    (tmp_path / "program.py").write_text("import daskhpc\nprint(daskhpc.start.__name__, daskhpc.initialize.__name__)\n")
    done = run(tmp_path, ["program.py"])
    assert done.stdout == "start initialize\n", done.stderr


@pytest.mark.parametrize("name", ["queue.py", "dask.py"])
def test_a_folder_of_pythonpath(tmp_path: Path, name: str) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / name).write_text("")
    (tmp_path / "program.py").write_text("")
    done = run(tmp_path, RUN, "lib")
    assert (done.returncode, done.stdout) == (70, "")
    assert done.stderr.startswith(
        f"daskhpc: Files of yours have names of modules that Python or Dask needs: {tmp_path}"
    )
    assert len(done.stderr.splitlines()) == 3


def test_python_m_daskhpc_takes_nothing_from_the_working_directory(tmp_path: Path) -> None:
    for name in ("random.py", "queue.py", "logging.py", "click.py", "program.py"):
        (tmp_path / name).write_text("")
    done = run(tmp_path, RUN)
    assert done.returncode == 0, done.stderr
    assert "program.py" in done.stdout


def test_another_failure_of_an_import_is_told_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "utils.py").write_text("")
    (tmp_path / "program.py").write_text(
        "import sys\nsys.modules['distributed'] = None\nimport daskhpc\ndaskhpc.start()\n"
    )
    assert "ModuleNotFoundError: import of distributed" in run(tmp_path, ["program.py"]).stderr
