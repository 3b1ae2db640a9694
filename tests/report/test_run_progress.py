"""How far a run is, from its journal alone."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from report.made import GRID, PLACE, SECONDS, append, begin, end, finished_search, fits, key, unclosed

from daskhpc.journal.journal import Journal
from daskhpc.journal.reader import JournalReader
from daskhpc.report import status_text
from daskhpc.report.record_texts import last_error
from daskhpc.report.run_progress import SILENT_SECONDS, RunProgress, run_progress

BAD = {"C": [-1.0], "gamma": ["scale"]}


def look(folder: Path, now: float | None = None) -> RunProgress:
    return run_progress(JournalReader(folder), time.time() if now is None else now)


def lines(folder: Path, now: float | None = None) -> list[str]:
    return status_text.summary("ckpt", look(folder, now), time.time() if now is None else now)


def test_a_search_that_runs_says_how_much_is_left_and_what_is_best(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "search") as journal:
        begin(journal, "a-0", known=21, replayed=0)
        append(journal, "a-0", [*fits()[:5], *fits(BAD)[:2]])
    with Journal.open(tmp_path, "search") as journal:
        begin(journal, "b-0", known=21, replayed=7)
        append(journal, "b-0", fits()[5:11])
        assert journal.sync(SECONDS)
        found = look(tmp_path)
    assert (found.state, found.known_alive, found.records) == ("running", True, 13)
    (place,) = found.places
    assert (place.place, place.known, place.done, place.replayed) == (PLACE, 21, 13, 7)
    assert place.rate is not None
    assert place.left == pytest.approx(8 / place.rate)
    assert place.best is not None
    assert place.best.splits_done == 3
    assert place.best.params == {"C": "1.0", "gamma": "'scale'"}
    assert (place.failed, [count for _, count in place.causes]) == (2, [2])
    assert place.causes[0][0].startswith("InvalidParameterError: The 'C' parameter")
    assert [(failure.split, failure.params["C"]) for failure in found.failures] == [(0, "-1.0"), (1, "-1.0")]


def test_candidates_count_by_their_mean_once_one_has_all_splits(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "search") as journal:
        begin(journal, "a-0", known=9, replayed=0)
        for candidate, scores in enumerate([(0.5, 0.6, 0.7), (0.9, 0.9), (0.1, 0.9, float("nan"))]):
            for split, score in enumerate(scores):
                about = {"call": "a-0", "params": {"k": candidate}, "split": split, "splits": 3, "score": score}
                journal.append(key(candidate, split), True, {}, 0.1, "host", about)
        assert journal.sync(SECONDS)
        best = look(tmp_path).places[0].best
    assert best is not None
    assert (best.score, best.params) == (pytest.approx(0.6), {"k": "0"})


def test_a_finished_search_is_finished_also_when_copied(tmp_path: Path) -> None:
    finished_search(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    for name in ("one", "other"):
        found = look(tmp_path / name)
        assert (found.state, found.writers, found.places[0].done, found.places[0].open) == ("finished", (), 18, 0)
    assert lines(tmp_path / "one")[-1] == "next: daskhpc results ckpt"


def test_a_search_without_its_final_results_was_stopped(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "search") as journal:
        begin(journal, "a-0", known=18, replayed=0)
        append(journal, "a-0", fits())
        end(journal, "a-0", known=18)
    unclosed(tmp_path)
    assert look(tmp_path).state == "stopped"
    assert (
        lines(tmp_path)[-1] == "next: start the same program again, or submit the same job again: it goes on from here"
    )


def test_a_process_of_another_machine_counts_as_alive_until_it_is_silent_for_long(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "search") as journal:
        begin(journal, "a-0", known=18, replayed=0)
        append(journal, "a-0", fits()[:2])
    unclosed(tmp_path, system="other", host="node7")
    now = time.time()
    found = look(tmp_path, now)
    assert (found.state, found.writers, found.known_alive) == ("running", ("node7",), False)
    assert "being written by node7 (last" in lines(tmp_path, now)[0]
    assert "being written by node7, or it was killed there" in lines(tmp_path, now + 300)[0]
    assert look(tmp_path, now + SILENT_SECONDS + 60).state == "stopped"


def test_a_failure_that_succeeded_later_is_none(tmp_path: Path) -> None:
    for number, ok in ((0, False), (1, True), (2, False)):
        with Journal.open(tmp_path, "sweep") as journal:
            begin(journal, f"p{number}-0", place="s.py:1 sweep", known=1, replayed=0)
            value = 1.0 if ok else ValueError("no")
            journal.append(key(0), ok, value, 0.1, "host", {"call": f"p{number}-0", "index": 0, "params": {}})
            end(journal, f"p{number}-0", known=1)
    found = look(tmp_path)
    assert (found.records, found.failures, found.places[0].failed, found.places[0].done) == (1, (), 0, 1)


def test_the_calls_of_a_program_are_told_by_place_and_the_earliest_only_counted(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "calls") as journal:
        for number in range(30):
            begin(journal, f"old-{number}", place="old.py:1 Parallel", known=1, replayed=0)
        for number in range(40):
            name = f"new-{number}"
            begin(journal, name, place=f"prog.py:{number // 2} Parallel", known=2, replayed=1)
            journal.append(key(number), True, number, 0.1, "host", {"call": name})
            if number < 39:
                end(journal, name, known=2, replayed=1)
        assert journal.sync(SECONDS)
        found, text = look(tmp_path), lines(tmp_path)
    assert [place.place for place in found.places] == [f"prog.py:{number} Parallel" for number in range(20)]
    assert found.places[0].times == 2
    assert "5 earlier places in the program, 20 calls done" in text[1]
    assert "4 of 4 done (2 from before), begun 2 times" in text[-3]
    assert len(text) <= 20


def test_nothing_of_a_payload_is_read(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "search") as journal:
        begin(journal, "a-0", known=1, replayed=0)
        params = {"model": {1, 2}, "C": np.float64(0.5), "both": [1, {2}]}
        about = {"call": "a-0", "params": params, "split": 0, "splits": 1, "score": 0.5}
        journal.append(key(0), True, {"estimator": {3}}, 0.1, "host", about)
    for path in (tmp_path / "payloads").rglob("*"):
        if path.is_file():
            path.unlink()
    best = look(tmp_path).places[0].best
    assert best is not None
    assert best.params == {"model": "(object)", "C": "0.5", "both": "(objects)"}


def test_a_journal_without_anything_is_empty(tmp_path: Path) -> None:
    Journal.open(tmp_path, "search").close()
    assert look(tmp_path).state == "empty"
    assert "nothing in it yet" in lines(tmp_path)[0]


def test_damaged_records_are_counted(tmp_path: Path) -> None:
    finished_search(tmp_path, {"C": [1.0], "gamma": GRID["gamma"][:1]})
    (segment,) = (tmp_path / "segments").iterdir()
    data = bytearray(segment.read_bytes())
    data[data.index(b'"split":1')] ^= 1
    segment.write_bytes(data)
    assert look(tmp_path).damages == 1
    assert "  records that cannot be read: 1, see daskhpc journal check ckpt" in lines(tmp_path)


@pytest.mark.parametrize(
    ("trace", "said"),
    [
        ('Traceback (most recent call last):\n  File "a.py", line 1\n    f()\nValueError: no\n', "ValueError: no"),
        ('  File "a.py", line 1\n    f()\na.b.MyError: one\n  found: two\n  try:   three\n', "MyError: one"),
        ("ValueError: \x1b[31mred", "ValueError:  [31mred"),
        ("", "no cause"),
    ],
)
def test_the_cause_of_a_failure_is_the_line_that_names_it(trace: str, said: str) -> None:
    assert last_error(trace) == said
