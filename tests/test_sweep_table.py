"""The table of a sweep loses no column, and is the same from the calls, from a journal, and as a file."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

import daskhpc.report
from daskhpc import plots, sweep
from daskhpc.cli import main
from daskhpc.journal.journal import Journal
from daskhpc.sweep_table import SweepCall, parameter_columns, sweep_table


def plain(**parameters: float) -> float:
    return sum(parameters.values())


def named(**parameters: float) -> dict[str, float]:
    return {"seconds": -1.0, "host": -2.0, "error": -3.0, "value": sum(parameters.values()), "param_host": -4.0}


def failing(**parameters: float) -> float:
    raise ValueError("always")


def one_by_one(**parameters: float) -> Any:
    return dict(parameters) if parameters["value"] else parameters["seconds"]


PARAMETERS: dict[str, list[float]] = {"seconds": [1.0, 2.0], "host": [3.0], "error": [4.0], "value": [0.0, 5.0]}


@pytest.mark.parametrize("function", [plain, named, failing, one_by_one])
@pytest.mark.parametrize("names", [tuple(PARAMETERS), ("host",), ("x",), ("param_seconds", "seconds", "value")])
def test_no_column_is_lost_on_any_way(function: Any, names: tuple[str, ...], tmp_path: Path) -> None:
    if function is one_by_one and not {"value", "seconds"} <= {*names}:
        names = ("value", "seconds")
    space = {name: PARAMETERS.get(name, [7.0, 8.0]) for name in names}
    first = sweep(function, space, checkpoint=tmp_path / "kept", progress=False)
    resumed = sweep(function, space, checkpoint=tmp_path / "kept", progress=False)
    read = daskhpc.report.results(tmp_path / "kept")
    done = CliRunner().invoke(main, ["results", str(tmp_path / "kept"), "--csv", str(tmp_path / "table.csv")])
    assert done.exit_code == 0, done.output
    saved = pd.read_csv(tmp_path / "table.csv")
    for table in (first, resumed, read):
        pd.testing.assert_frame_equal(table, first)
        assert table.columns.is_unique
    assert list(saved) == list(first)
    wanted = list(itertools.product(*space.values()))
    assert list(first[[parameter_columns(names)[name] for name in names]].itertuples(index=False, name=None)) == wanted
    assert saved[list(parameter_columns(names).values())].to_numpy().tolist() == [list(row) for row in wanted]
    assert list(first)[-3:] == ["seconds", "host", "error"]
    assert first["error"].notna().all() == (function is failing)


def test_the_results_of_a_sweep_that_fails_altogether_have_a_column() -> None:
    assert list(sweep(failing, {"x": [1.0]}, progress=False)) == ["x", "value", "seconds", "host", "error"]


def test_columns_are_the_same_for_each_call() -> None:
    calls = [
        SweepCall({"x": 1}, {"kind": "A", 1: 2}, 0.1, "n", None),
        SweepCall({"x": 2, "kind": "b"}, {"kind": "B"}, 0.1, "n", None),
        SweepCall({"x": 3}, None, 0.1, "n", "ValueError: no"),
    ]
    table = sweep_table(calls)
    assert list(table) == ["x", "kind", "result_kind", "1", "seconds", "host", "error"]
    assert table["kind"].tolist()[1] == "b"
    assert table["result_kind"].tolist()[:2] == ["A", "B"]
    assert table["error"].tolist() == [None, None, "ValueError: no"]


def test_names_that_are_taken_get_the_prefix_until_they_are_free() -> None:
    assert parameter_columns(["param_host", "host"]) == {"param_host": "param_host", "host": "param_param_host"}
    call = SweepCall({"host": 1, "y": 2}, {"y": 3, "result_y": 4, "param_host": 5}, 0.1, "n", None)
    row = sweep_table([call]).iloc[0].to_dict()
    assert row == {
        "param_host": 1,
        "y": 2,
        "result_result_y": 3,
        "result_y": 4,
        "result_param_host": 5,
        "seconds": 0.1,
        "host": "n",
        "error": None,
    }


def test_a_sweep_without_calls_has_its_columns() -> None:
    table = sweep_table([], ["x", "host"])
    assert (list(table), len(table)) == (["x", "param_host", "value", "seconds", "host", "error"], 0)


@pytest.mark.parametrize("names", [("host", "x"), ("x", "value")])
def test_a_picture_of_a_saved_sweep_shows_its_parameters(names: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with Journal.open(tmp_path / "kept", "sweep") as journal:
        journal.note("plan", {"parameters": [*names, "fixed"], "total": 6})
        for index in range(6):
            params = {names[0]: index % 2, names[1]: index // 2, "fixed": 1}
            about = {"call": "a-0", "index": index, "params": params}
            journal.append(f"{index:032x}", True, {"one": -1.0, "two": float(index)}, 0.1, "node", about)
    for score in ([], ["--score", "one"], ["--score", "seconds"]):
        done = CliRunner().invoke(main, ["results", str(tmp_path / "kept"), "--plot", str(tmp_path / "a.svg"), *score])
        assert done.exit_code == 0, done.output
        text = (tmp_path / "a.svg").read_text()
        assert all(f"<!-- {name} -->" in text for name in parameter_columns(names).values())
        assert "fixed = 1" in text
    table = daskhpc.report.results(tmp_path / "kept")
    columns = list(parameter_columns(names).values())
    assert plots.sweep(table, "two", columns).axes[0].get_xlabel() == columns[0]
