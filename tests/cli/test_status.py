"""``daskhpc status``, ``daskhpc results`` and ``daskhpc journal`` as they are typed."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from report.made import SECONDS, append, begin, end, finished_search, fits, key, unclosed

from daskhpc.cli import main
from daskhpc.errors import EXIT_FAILED
from daskhpc.journal.journal import Journal


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


# Until click 8.2 both streams are one unless the runner is told otherwise; from then on they are always apart.
RUNNER = CliRunner(**({"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}))


def typed(*args: str) -> Result:
    return RUNNER.invoke(main, args)


def printed(*args: str) -> str:
    result = typed(*args)
    assert result.exit_code == 0, result.output
    return result.output


def swept(folder: Path) -> None:
    with Journal.open(folder, "sweep") as journal:
        journal.note("plan", {"parameters": ["x"], "total": 12})
        begin(journal, "a-0", place="sweep.py:5 sweep", known=12, replayed=0)
        for index in range(12):
            about = {"call": "a-0", "index": index, "params": {"x": index / 4}}
            value = {"loss": index * 0.5} if index != 3 else ValueError("no")
            journal.append(key(index), index != 3, value, 0.1, "node2", about)
        end(journal, "a-0", known=12)


def files(folder: Path) -> dict[Path, float]:
    return {path: path.stat().st_mtime for path in folder.rglob("*")}


def test_status_of_a_search_that_was_killed_says_what_to_do(here: Path) -> None:
    with Journal.open(here / "my ckpt", "search") as journal:
        begin(journal, "a-0", known=21, replayed=0)
        append(journal, "a-0", [*fits()[:5], *fits({"C": [-1.0]})[:2]])
    unclosed(here / "my ckpt")
    before = files(here)
    text = printed("status", "my ckpt")
    first, counts, best, failed, listed, last = text.splitlines()
    assert first.startswith("my ckpt: search, made 2")
    assert "stopped before its end (last result saved" in first
    assert counts == "  search.py:31 GridSearchCV.fit  7 of 21 done, 14 left"
    assert best.startswith("    best so far 0.9")
    assert failed.startswith("    failed 2: 2 x InvalidParameterError: The 'C'")
    _, *args = shlex.split(listed.partition(": ")[2])
    assert printed(*args).count("C=-1.0") == 2
    assert last == "next: start the same program again, or submit the same job again: it goes on from here"
    assert "\x1b" not in text
    assert files(here) == before


def test_status_lists_failures_with_their_parameters(here: Path) -> None:
    swept(here / "s")
    assert printed("status", "--failures", "s") == "  x=0.75, on node2: ValueError: no\n"
    finished_search(here / "ckpt")
    assert printed("status", "ckpt", "--failures") == "No call failed.\n"


def test_status_as_json(here: Path) -> None:
    swept(here / "s")
    data = json.loads(printed("status", "s", "--json"))
    assert (data["state"], data["kind"], data["places"][0]["known"]) == ("finished", "sweep", 12)
    assert "failures" not in data
    assert json.loads(printed("status", "s", "--json", "--failures"))["failures"][0]["params"] == {"x": "0.75"}


@pytest.mark.parametrize("args", [("--watch", "s"), ("s", "--watch"), ("--watch", "0.5", "s"), ("--watch=2", "s")])
def test_watching_ends_with_the_work(here: Path, args: tuple[str, ...]) -> None:
    swept(here / "s")
    assert printed("status", *args).count("s: sweep") == 1


def called(folder: Path) -> None:
    """A program of plain joblib calls."""
    with Journal.open(folder, "calls") as journal:
        begin(journal, "a-0", place="program.py:5 Parallel", known=3, replayed=0)
        for index, value in enumerate((4, "a text", {"loss": 0.5})):
            journal.append(key(index), True, value, 0.1, "node2", {"call": "a-0"})
        end(journal, "a-0", known=3)


@pytest.mark.parametrize("make", [swept, finished_search, called])
def test_what_status_says_next_works(here: Path, make: Callable[[Path], object]) -> None:
    make(here / "my ckpt")
    last = printed("status", "my ckpt").splitlines()[-1]
    program, *args = shlex.split(last.removeprefix("next: "))
    assert program == "daskhpc"
    lines = printed(*args).splitlines()
    assert "no results" not in lines[0]
    (saving,) = (line for line in lines if line.startswith("all of it: "))
    _, *args = shlex.split(saving.removeprefix("all of it: ").partition("   a picture: ")[0])
    assert printed(*args).startswith("saved ")


def test_plain_calls_are_shown_with_their_values(here: Path) -> None:
    called(here / "c")
    text = printed("status", "c")
    assert "files that it wrote are not written again" in text
    first, header, *rows, last = printed("results", "c").splitlines()
    assert first == "program.py:5 Parallel: 3 calls; all in the order in which they ended"
    assert header.split() == ["value", "seconds", "host"]
    assert [row.split()[:-2] for row in rows] == [["4"], ["a", "text"], ["{'loss':", "0.5}"]]
    assert last == "all of it: daskhpc results c --csv c.csv"
    printed("results", "c", "--csv", "c.csv")
    assert list(pd.read_csv("c.csv")["value"]) == ["4", "a text", "{'loss': 0.5}"]


def test_a_folder_of_journals_names_them(here: Path) -> None:
    for name in ("precision_macro", "recall_macro"):
        finished_search(here / "checkpoint" / name)
    result = typed("status", "checkpoint")
    assert result.exit_code == EXIT_FAILED
    assert "found: no journal.json in it, but in 2 of its folders" in result.stderr
    todo = result.stderr.splitlines()[-1]
    assert todo == f"  try:   one of those: {here}/checkpoint/precision_macro, {here}/checkpoint/recall_macro"
    assert "finished" in printed("status", todo.split()[-1])
    assert (
        f"its folder: {here}/checkpoint/recall_macro" in typed("status", "checkpoint/recall_macro/journal.json").stderr
    )


@pytest.mark.parametrize("command", [("status",), ("results",), ("journal", "check")])
def test_a_folder_that_is_no_journal_is_an_error(here: Path, command: tuple[str, ...]) -> None:
    missing = "found: no such folder" if command[0] == "journal" else "There is no checkpoint folder 'nowhere'"
    for name, found in ((".", "found: no journal.json"), ("nowhere", missing)):
        result = typed(*command, name)
        assert result.exit_code == EXIT_FAILED
        assert result.stderr.startswith("daskhpc: ")
        assert found in result.stderr


def test_status_imports_nothing_slow(here: Path) -> None:
    with Journal.open(here / "ckpt", "search") as journal:
        begin(journal, "a-0", known=1, replayed=0)
        about = {"call": "a-0", "params": {"C": 1.0, "model": {1, 2}}, "split": 0, "splits": 1, "score": 0.5}
        journal.append(key(0), True, {"test_scores": 0.5}, 0.1, "host", about)
    program = (
        "import sys\nfrom daskhpc.cli import main\nmain(['status', 'ckpt'], standalone_mode=False)\n"
        "print(*[n for n in ('numpy', 'pandas', 'sklearn', 'dask', 'distributed') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_results_print_the_best_candidates_and_how_to_save_all(here: Path) -> None:
    search = finished_search(here / "ckpt")
    first, header, best, *_, last = printed("results", "ckpt", "--top", "2").splitlines()
    assert first == "ckpt: 6 candidates; the first 2 by mean_test_score"
    assert header.split() == ["C", "gamma", "mean_test_score", "std_test_score", "rank_test_score"]
    assert best.split()[2] == f"{max(search.cv_results_['mean_test_score']):.5g}"
    assert "daskhpc results ckpt --csv ckpt.csv" in last


def test_results_that_are_unfinished_say_so(here: Path) -> None:
    with Journal.open(here / "ckpt", "search") as journal:
        append(journal, "a-0", fits()[:4])
    assert "2 candidates, 1 of them not yet on all 3 splits" in printed("results", "ckpt")


def test_results_of_a_sweep_by_a_column(here: Path) -> None:
    swept(here / "s")
    lines = printed("results", "s", "--score", "loss", "--top", "1").splitlines()
    assert lines[0] == "s: 12 calls, 1 failed; the first 1 by loss"
    assert lines[2].split()[:2] == ["2.75", "5.5"]
    result = typed("results", "s", "--score", "speed")
    assert result.exit_code == EXIT_FAILED
    assert "--score x | loss | seconds" in result.stderr


def test_columns_that_do_not_fit_the_terminal_are_left_out(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished_search(here / "ckpt")
    monkeypatch.setenv("COLUMNS", "50")
    lines = printed("results", "ckpt").splitlines()
    assert lines[1].split() == ["C", "gamma", "mean_test_score", "std_test_score"]
    assert max(map(len, lines[1:8])) <= 50
    assert "(columns that do not fit: 1; the saved table has all)" in lines[-2]


def test_results_are_saved_as_files_and_as_a_picture(here: Path) -> None:
    pytest.importorskip("matplotlib")
    search = finished_search(here / "ckpt")
    assert printed("results", "ckpt", "--csv", "a.csv", "--plot", "a.svg") == "saved a.csv\nsaved a.svg\n"
    saved = pd.read_csv("a.csv")
    assert list(saved) == list(search.cv_results_)
    assert list(saved["mean_test_score"]) == list(search.cv_results_["mean_test_score"])
    assert "<svg" in Path("a.svg").read_text()
    assert sorted(os.listdir()) == ["a.csv", "a.svg", "ckpt"]


@pytest.mark.parametrize("option", ["--csv", "--parquet"])
def test_what_a_saved_table_does_not_have_is_said(here: Path, option: str) -> None:
    called(here / "c")
    assert printed("results", "c", option, "calls") == "saved calls\n"
    with Journal.open(here / "c", "calls") as journal:
        begin(journal, "a-1", place="program.py:9 GridSearchCV.fit", known=15, replayed=0)
        append(journal, "a-1", fits())
        end(journal, "a-1", known=15)
    said = printed("results", "c", option, "searches").splitlines()
    assert said == ["saved searches", "not in the table: program.py:5 Parallel: 3 calls, no search"]


def test_results_as_parquet_keep_what_they_hold(here: Path) -> None:
    pytest.importorskip("pyarrow")
    search = finished_search(here / "ckpt")
    printed("results", "ckpt", "--parquet", "a.parquet")
    saved = pd.read_parquet("a.parquet")
    assert list(saved["mean_test_score"]) == list(search.cv_results_["mean_test_score"])
    assert saved["param_gamma"][2] == "scale"


def test_parquet_without_pyarrow_is_an_error(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swept(here / "s")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = typed("results", "s", "--parquet", "a.parquet")
    assert (result.exit_code, os.listdir()) == (EXIT_FAILED, ["s"])
    assert "pip install pyarrow" in result.stderr


def test_a_table_that_cannot_be_written_is_an_error(here: Path) -> None:
    swept(here / "s")
    result = typed("results", "s", "--csv", "nowhere/a.csv")
    assert result.exit_code == EXIT_FAILED
    assert "nowhere" in result.stderr


def test_journals_are_checked(here: Path) -> None:
    finished_search(here / "one")
    with Journal.open(here / "one", "search") as journal:
        append(journal, "b-0", fits({"C": [5.0]})[:1])
    text = printed("journal", "check", "one")
    assert text.startswith("one: 19 results, 2 segments, ")
    assert text.endswith("; no damage\n")


def test_a_check_of_a_damaged_journal_has_exit_code_1(here: Path) -> None:
    swept(here / "s")
    (segment,) = (here / "s" / "segments").iterdir()
    data = bytearray(segment.read_bytes())
    data[data.index(b'"index":5')] ^= 1
    segment.write_bytes(data)
    result = typed("journal", "check", "s")
    assert result.exit_code == 1
    assert "; damaged\n" in result.output
    assert "the checksum does not match" in result.output


def swept_with(folder: Path, value: object) -> None:
    with Journal.open(folder, "sweep") as journal:
        journal.note("plan", {"parameters": ["x"], "total": 3})
        begin(journal, "a-0", place="sweep.py:5 sweep", known=3, replayed=0)
        for index in range(3):
            about = {"call": "a-0", "index": index, "params": {"x": index}}
            journal.append(key(index), True, value, 0.1, "node2", about)
        end(journal, "a-0", known=3)


def test_a_picture_of_a_sweep_shows_its_last_number(here: Path) -> None:
    swept_with(here / "s", {"loss": 0.5, "label": "a"})
    assert printed("results", "s", "--plot", "s.svg") == "saved s.svg\n"
    assert "<!-- loss -->" in (here / "s.svg").read_text()
    result = typed("results", "s", "--plot", "s.svg", "--score", "label")
    assert "try:   --score loss | seconds" in result.stderr


@pytest.mark.parametrize("value", [None, {}, "text", [1, 2]], ids=repr)
def test_a_sweep_without_numbers_says_what_can_be_drawn(here: Path, value: object) -> None:
    swept_with(here / "s", value)
    result = typed("results", "s", "--plot", "s.svg")
    assert result.stderr.splitlines()[0] == "daskhpc: No result of the sweep is a number that can be drawn."
    (todo,) = (line for line in result.stderr.splitlines() if line.startswith("  try:"))
    option, name, *_ = todo.removeprefix("  try:   ").replace(",", "").split()
    assert printed("results", "s", "--plot", "s.svg", option, name) == "saved s.svg\n"


def test_status_says_that_the_files_of_a_sweep_are_not_written_again(here: Path) -> None:
    swept(here / "s")
    assert "files that it wrote are not written again" in printed("status", "s")


def test_a_search_of_which_every_fit_failed_goes_on_only_if_it_is_asked_to(here: Path) -> None:
    with Journal.open(here / "f", "search") as journal:
        begin(journal, "a-0", known=6, replayed=0)
        append(journal, "a-0", fits({"C": [-1.0, -2.0]}))
        end(journal, "a-0", known=6)
    last = printed("status", "f").splitlines()[-1]
    command, _, rest = last.removeprefix("next: daskhpc ").partition(";")
    assert "retry_failed=True" in rest
    assert printed(*shlex.split(command)).count("InvalidParameterError") == 6


def test_a_program_that_kept_nothing_is_told_which_calls_are_kept(here: Path) -> None:
    with Journal.open(here / "c", "calls"):
        pass
    assert "without n_jobs are not kept" in printed("status", "c").splitlines()[-1]
