"""Sweeps: which calls are made, what the table says, what a checkpoint saves."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from joblib import Parallel, delayed, parallel_config
from pandas.testing import assert_frame_equal
from scipy.stats import loguniform

from daskhpc import sweep
from daskhpc.errors import JournalError, SettingsError
from daskhpc.journal.reader import JournalReader
from daskhpc.parallel import checkpoints
from daskhpc.search.sweeps import calls_of


def square(x: float) -> float:
    return x * x


def several(x: float, kind: str = "a") -> dict[str, Any]:
    return {"double": 2 * x, "kind": kind.upper(), "seconds": -1}


def logged(x: float, log: str, worst: float = 5.0) -> float:
    with open(log, "a") as lines:
        lines.write(f"{x}\n")
    if x > worst:
        raise ValueError(f"{x} is too\nlarge")
    return x


def deadly(x: int) -> int:
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def test_a_grid_is_every_combination_in_order() -> None:
    assert calls_of({"a": [1, 2], "b": ("x", "y")}, None, None) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_draws_are_those_of_the_seed() -> None:
    space = {"z": loguniform(1e-3, 1e3), "a": ["x", "y"]}
    one, same, other = (calls_of(space, 20, seed) for seed in (1, 1, 2))
    assert one == same != other
    assert len(one) == 20
    assert list(one[0]) == ["z", "a"]
    assert sorted(call["a"] for call in calls_of({"a": [1, 2, 3]}, 3, 0)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("space", "n", "text"),
    [
        ({}, None, "empty"),
        ([], None, "empty"),
        ({"a": []}, None, "no values"),
        ({"a": "text"}, None, r"'a': 'text'(?s:.*)\['text'\]"),
        ({"a": 3}, None, r"\[3\]"),
        ({"a": loguniform(1, 2)}, None, "and no n"),
        ({"a": [1, 2]}, 3, "2 combinations"),
        ({"a": [1, 2]}, 0, "how many draws"),
        ([{"a": 1}], 2, r"space\[:2\]"),
        ([1, 2], None, "mapping of its parameters"),
        ("text", None, "mapping, or a list"),
        (7, None, "mapping, or a list"),
    ],
)
def test_what_cannot_be_swept(space: Any, n: int | None, text: str) -> None:
    with pytest.raises(SettingsError, match=f"(?s).*{text}"):
        sweep(square, space, n)


def test_errors_is_one_of_two() -> None:
    with pytest.raises(SettingsError, match="ignore"):
        sweep(square, {"x": [1]}, errors="ignore")


def test_the_table(two_workers: Any) -> None:
    table = sweep(square, {"x": [1.0, 2.0, 3.0]}, progress=False)
    assert list(table.columns) == ["x", "value", "seconds", "host", "error"]
    assert list(table["value"]) == [1.0, 4.0, 9.0]
    assert table["error"].tolist() == [None] * 3
    assert (table["seconds"] >= 0).all()


def test_a_dict_becomes_columns_and_none_is_lost(two_workers: Any) -> None:
    table = sweep(several, [{"x": 1.0}, {"x": 2.0, "kind": "b"}], progress=False)
    assert table["double"].tolist() == [2.0, 4.0]
    assert table["kind"].tolist()[1] == "b"
    assert table["result_seconds"].tolist() == [-1, -1]
    assert table[["result_kind"]].iloc[1, 0] == "B"


def test_what_raises_is_a_row(two_workers: Any, tmp_path: Path) -> None:
    space = {"x": [1.0, 9.0], "log": [str(tmp_path / "log")]}
    table = sweep(logged, space, progress=False)
    assert table["error"].tolist() == [None, "ValueError: 9.0 is too large"]
    with pytest.raises(ValueError, match="too\nlarge"):
        sweep(logged, space, errors="raise", progress=False)


def leaves(x: int) -> int:
    return x if x < 2 else sys.exit("x is too large")


def test_what_exits_is_a_row(two_workers: Any) -> None:
    table = sweep(leaves, {"x": [1, 2]}, progress=False)
    assert table["error"].tolist() == [None, "SystemExit: x is too large"]


def test_what_is_kept_as_a_row_with_its_error_is_made_again_if_errors_are_to_be_raised(tmp_path: Path) -> None:
    space, folder = {"x": [1.0, 9.0], "log": [str(tmp_path / "log")]}, tmp_path / "kept"
    assert sweep(logged, space, checkpoint=folder, progress=False)["error"].notna().tolist() == [False, True]
    with pytest.raises(ValueError, match="too\nlarge"):
        sweep(logged, space, checkpoint=folder, errors="raise", progress=False)
    assert sweep(logged, space, checkpoint=folder, progress=False)["error"].notna().tolist() == [False, True]


def test_errors_are_raised_whoever_keeps_the_calls(two_workers: Any, tmp_path: Path) -> None:
    space = {"x": [1.0, 9.0], "log": [str(tmp_path / "log")]}
    for errors in ("record", "raise"):
        with parallel_config(backend="daskhpc", checkpoint=tmp_path / "kept"):
            if errors == "raise":
                with pytest.raises(ValueError, match="too\nlarge"):
                    sweep(logged, space, errors=errors, progress=False)
                with pytest.raises(ValueError, match="too\nlarge"):
                    Parallel(n_jobs=2)(delayed(logged)(x=x, log=space["log"][0]) for x in (1.0, 9.0))
            else:
                assert sweep(logged, space, progress=False)["error"].notna().tolist() == [False, True]
    assert sorted((tmp_path / "log").read_text().split()) == ["1.0", "9.0", "9.0", "9.0"]


def inside(folder: str, log: str) -> list[float]:
    return list(sweep(logged, {"x": [1.0, 2.0], "log": [log]}, checkpoint=folder, progress=False)["value"])


@pytest.mark.parametrize("task", [True, False])
def test_inside_a_call_or_a_task(two_workers: Any, tmp_path: Path, task: bool) -> None:
    folder, log = str(tmp_path / "kept"), tmp_path / "log"
    for _ in range(2):
        if task:
            assert two_workers.submit(inside, folder, str(log), pure=False).result(timeout=200) == [1.0, 2.0]
        else:
            with parallel_config(backend="daskhpc"):
                assert Parallel()([delayed(inside)(folder, str(log))]) == [[1.0, 2.0]]
    assert len(log.read_text().split()) == 2


def test_a_call_that_kills_its_worker_is_a_row(two_workers: Any) -> None:
    table = sweep(deadly, {"x": list(range(6))}, progress=False)
    assert table["value"].dropna().tolist() == [0, 1, 2, 4, 5]
    assert table["error"][3].startswith("WorkerDiedError: ")
    assert "SIGKILL" in table["error"][3]
    two_workers.wait_for_workers(2, timeout=60)


@pytest.fixture
def swept(tmp_path: Path) -> Callable[..., tuple[Any, int]]:
    """Sweeps with a checkpoint, and counts the calls that were made."""
    log, folder = tmp_path / "log", tmp_path / "kept"

    def run(space: Any, n: int | None = None, **options: Any) -> tuple[Any, int]:
        log.write_text("")
        table = sweep(logged, {**space, "log": [str(log)]}, n, checkpoint=folder, progress=False, **options)
        return table, len(log.read_text().splitlines())

    return run


def test_the_programs_checkpoint_saves_every_call(
    two_workers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under ``daskhpc run --checkpoint``: the program is run three times, the last time with ``--retry-failed``."""
    monkeypatch.setattr(checkpoints, "program", None)
    log, tables = tmp_path / "log", []
    for retry_failed, made in ((False, 3), (False, 0), (True, 1)):
        log.write_text("")
        checkpoints.checkpoint_program(str(tmp_path / "kept"), retry_failed)
        tables.append(sweep(logged, {"x": [1.0, 2.0, 9.0], "log": [str(log)]}, progress=False))
        assert len(log.read_text().splitlines()) == made
    assert_frame_equal(tables[0], tables[1])
    assert tables[2]["error"].tolist() == [None, None, "ValueError: 9.0 is too large"]


def test_a_checkpoint_saves_every_call(swept: Any, two_workers: Any, tmp_path: Path) -> None:
    first, count = swept({"x": [1.0, 2.0, 9.0]})
    assert count == 3
    again, count = swept({"x": [1.0, 2.0, 9.0]})
    assert count == 0
    assert again.equals(first)
    _, count = swept({"x": [1.0, 2.0, 9.0]}, retry_failed=True)
    assert count == 1
    more, count = swept({"x": [0.5, 1.0, 2.0]})
    assert count == 1
    assert more["value"].tolist() == [0.5, 1.0, 2.0]
    journal = JournalReader(tmp_path / "kept")
    assert journal.notes("plan")[-1].data == {"parameters": ["x", "log"], "total": 3}
    assert {result.about["index"] for result in journal.records()} == {0, 1, 2}


def test_draws_without_a_seed_are_the_checkpoints(swept: Any, two_workers: Any) -> None:
    first, count = swept({"x": loguniform(0.1, 1.0)}, 10)
    assert count == 10
    grown, count = swept({"x": loguniform(0.1, 1.0)}, 15)
    assert count == 5
    assert grown["x"].tolist()[:10] == first["x"].tolist()


def test_another_function_is_refused(swept: Any, two_workers: Any, tmp_path: Path) -> None:
    swept({"x": [1.0]})
    with pytest.raises(JournalError, match="function: from"):
        sweep(square, {"x": [1.0]}, checkpoint=tmp_path / "kept")


def test_without_a_cluster(swept: Any) -> None:
    table, count = swept({"x": [1.0, 2.0]})
    assert (table["value"].tolist(), count) == ([1.0, 2.0], 2)
    assert swept({"x": [1.0, 2.0]})[1] == 0
