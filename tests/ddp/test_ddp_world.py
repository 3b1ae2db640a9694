"""Ranks have what surrounds the program, as processes under torchrun have: folder, path, environment, filters."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import programs
import pytest
import torch

from daskhpc.ddp import evaluate, train
from daskhpc.ddp.places import chosen_variables
from daskhpc.runtime.blas_threads import omp_threads

SCRIPT = """
import json, os, sys
import a_module_of_the_program
with open("found", "w") as file:
    json.dump([os.environ["A_TOKEN"], os.environ["RANK"], a_module_of_the_program.__file__], file)
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that has changed its world."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "a_module_of_the_program.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(own))
    for name, value in (("NCCL_DEBUG", "INFO"), ("A_TOKEN", "é=1"), ("RANK", "7"), ("PMI_RANK", "7")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    return tmp_path


def test_a_function(client: Any, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = train(programs.world, progress=False)
    for rank, own in enumerate(found):
        assert (own["folder"], own["path"]) == (str(program), str(program / "own"))
        assert (own["NCCL_DEBUG"], own["A_TOKEN"], own["GLOO_SOCKET_IFNAME"]) == ("INFO", "é=1", "lo")
        assert (own["OMP_NUM_THREADS"], own["MKL_NUM_THREADS"], own["threads"]) == ("2", "2", 2)
        # torchrun's own, and no other launcher's
        assert (own["RANK"], own["PMI_RANK"]) == (str(rank), None)
        assert own["filter"]
    assert not any(client.run(lambda: "A_TOKEN" in __import__("os").environ).values())


def test_a_script(client: Any, program: Path) -> None:
    import json

    (program / "script.py").write_text(SCRIPT)
    train("script.py", world_size=1, progress=False)
    module = str(program / "own" / "a_module_of_the_program.py")
    assert json.loads((program / "found").read_text()) == ["é=1", "0", module]


def test_a_dataset_of_files_in_the_programs_folder(client: Any, program: Path) -> None:
    for index in range(3):
        Path(f"number-{index}").write_text(str(index))
    assert evaluate(torch.nn.Identity(), programs.Files()).ravel().tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("own", "threads", "env", "expected"),
    [
        ({"OMP_NUM_THREADS": "3", "A": "1"}, None, {}, ({"OMP_NUM_THREADS": "3"}, 3)),
        ({"OMP_NUM_THREADS": "3"}, 2, {}, ({}, None)),
        ({"OMP_NUM_THREADS": "3"}, None, {"OMP_NUM_THREADS": "4,2"}, ({"OMP_NUM_THREADS": "4,2"}, 4)),
        ({"OMP_NUM_THREADS": None}, None, {"A": None}, ({"A": None}, None)),
        ({"OMP_NUM_THREADS": "many"}, None, {}, ({"OMP_NUM_THREADS": "many"}, None)),
    ],
)
def test_whose_number_of_threads(
    own: dict[str, str | None], threads: int | None, env: dict[str, str | None], expected: Any
) -> None:
    found = chosen_variables(own, threads, env)
    assert (found, omp_threads(found).value) == expected
