"""Tables of journals are those that scikit-learn gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from report.made import GRID, SECONDS, append, begin, finished_search, fit, fits, grid_search, key
from sklearn.svm import SVC

import daskhpc.report
from daskhpc.journal.journal import Journal
from daskhpc.report.tables import flat, read

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal.open(tmp_path / "search", "search") as made:
        begin(made, "a-0")
        yield made


def table(journal: Journal) -> pd.DataFrame:
    assert journal.sync(SECONDS)
    return daskhpc.report.results(journal.folder)


def without_times(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[[name for name in frame if not str(name).endswith("_time")]]


def test_a_finished_search_has_its_own_cv_results(tmp_path: Path) -> None:
    search = finished_search(tmp_path)
    pd.testing.assert_frame_equal(daskhpc.report.results(tmp_path), pd.DataFrame(search.cv_results_))


def test_all_fits_put_together_are_the_cv_results(journal: Journal) -> None:
    grid = [GRID, {"kernel": ["linear"], "C": [3]}]
    append(journal, "a-0", fits(grid))
    found, expected = table(journal), pd.DataFrame(grid_search(grid).cv_results_)
    assert list(found) == [*expected, "splits_done"]
    pd.testing.assert_frame_equal(without_times(found[list(expected)]), without_times(expected), check_exact=True)
    assert (found["splits_done"] == 3).all()


def test_several_scores_have_columns_each(journal: Journal) -> None:
    scoring = ["accuracy", "f1_macro"]
    for params, split in fits():
        about = {"call": "a-0", "params": params, "split": split, "splits": 3}
        journal.append(key(params, split), True, fit(params, split, scoring), 0.1, "host", about)
    expected = pd.DataFrame(grid_search(scoring=scoring).cv_results_)
    pd.testing.assert_frame_equal(without_times(table(journal)[list(expected)]), without_times(expected))


def test_an_unfinished_search_has_means_over_what_is_there(journal: Journal) -> None:
    append(journal, "a-0", [*fits()[:3], fits()[4]])
    found, done = table(journal), fit(*fits()[4])["test_scores"]
    assert list(found["splits_done"]) == [3, 1]
    assert found.loc[1, "mean_test_score"] == done
    assert found.loc[1, ["split0_test_score", "split2_test_score"]].isna().all()
    assert set(found["rank_test_score"]) == {1, 2}


def test_a_failed_fit_makes_its_candidate_the_last(journal: Journal) -> None:
    append(journal, "a-0", [*fits({"C": [-1.0], "gamma": [0.1]}), *fits()])
    found = table(journal)
    assert np.isnan(found.loc[0, "mean_test_score"])
    assert found.loc[0, "rank_test_score"] == 7


def test_records_newer_than_the_results_count(tmp_path: Path) -> None:
    finished_search(tmp_path)
    with Journal.open(tmp_path, "search") as journal:
        append(journal, "b-0", fits({"C": [5.0], "gamma": [0.1]}))
    assert len(daskhpc.report.results(tmp_path)) == 7


def _value(params: dict[str, Any], score: float) -> dict[str, Any]:
    return {"test_scores": score, "fit_time": 0.1, "score_time": 0.1, "fit_error": None}


def test_candidates_differ_by_type_and_objects_are_the_same_by_what_they_show(journal: Journal) -> None:
    values = [1, 1.0, np.float64(1.0), True, "1", SVC(C=1), SVC(C=2), SVC(C=1)]
    for number, value in enumerate(values):
        about = {"call": "a-0", "params": {"x": value}, "split": int(number == 7), "splits": 2}
        journal.append(key(number), True, _value({}, number / 10), 0.1, "host", about)
    found = table(journal)
    assert len(found) == 7
    assert list(found["splits_done"]) == [1, 1, 1, 1, 1, 2, 1]


def test_a_candidate_fitted_on_a_split_again_has_another_row(journal: Journal) -> None:
    for rung in range(2):
        for split in range(2):
            about = {"call": f"a-{rung}", "params": {"x": 1}, "split": split, "splits": 2}
            journal.append(key(rung, split), True, _value({}, rung), 0.1, "host", about)
    assert list(table(journal)["mean_test_score"]) == [0, 1]


def test_a_sweep_has_a_row_per_call_in_its_order(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "sweep") as journal:
        journal.note("plan", {"parameters": ["x", "loss"], "total": 3})
        for index in (2, 0, 1):
            value = {"loss": index / 2, "steps": index} if index != 1 else ValueError("no")
            about = {"call": "a-0", "index": index, "params": {"loss": "l1", "x": np.int64(index)}}
            journal.append(key(index), index != 1, value, 0.25, "node3", about)
    found = daskhpc.report.results(tmp_path)
    assert list(found) == ["x", "loss", "result_loss", "steps", "seconds", "host", "error"]
    assert list(found["x"]) == [0, 1, 2]
    assert found.loc[2, "result_loss"] == 1.0
    assert np.isnan(found.loc[1, "steps"])
    assert found.loc[1, "error"] == "ValueError: no"
    assert found.loc[0, "error"] is None or pd.isna(found.loc[0, "error"])


def test_a_sweep_of_plain_values_has_a_column_value(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "sweep") as journal:
        for index in range(3):
            journal.append(key(index), True, index**2, 0.1, "h", {"index": index, "params": {"x": index}})
    assert list(daskhpc.report.results(tmp_path)["value"]) == [0, 1, 4]


def test_a_program_has_a_table_per_search_and_counts_of_other_calls(tmp_path: Path) -> None:
    with Journal.open(tmp_path, "calls") as journal:
        begin(journal, "a-0", place="one")
        begin(journal, "a-1", place="two")
        begin(journal, "a-2", place="three")
        append(journal, "a-0", fits()[:6])
        append(journal, "a-1", fits({"C": [7.0]}))
        journal.append(key("x"), True, 5, 0.1, "h", {"call": "a-2"})
    found = read(tmp_path)
    assert found.others == {"three": 1}
    assert {place: len(frame) for place, frame in found.tables.items()} == {"one": 2, "two": 1}
    assert list(found.frame["place"]) == ["one", "one", "two"]
    assert next(iter(found.frame)) == "place"


def test_results_whose_payload_is_gone_are_left_out_with_a_warning(journal: Journal) -> None:
    about = {"call": "a-0", "params": {"x": 1}, "split": 0, "splits": 2}
    journal.append(key(0), True, _value({}, 0.5), 0.1, "host", about)
    journal.append(key(1), True, {**_value({}, 0.5), "estimator": {1}}, 0.1, "host", {**about, "split": 1})
    assert journal.sync(SECONDS)
    for path in (journal.folder / "payloads").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.warns(UserWarning, match=r"1 results in .* cannot be read back"):
        found = table(journal)
    assert list(found["splits_done"]) == [1]


def test_a_journal_without_results_has_an_empty_table(tmp_path: Path) -> None:
    for kind in ("search", "sweep", "calls"):
        Journal.open(tmp_path / kind, kind).close()
        assert len(daskhpc.report.results(tmp_path / kind)) == 0


def test_what_files_cannot_hold_becomes_text() -> None:
    frame = flat(pd.DataFrame({"a": [1.0, 2.0], "b": [SVC(C=2), None], "c": ["x", None], "d": [{"x": 1}, {}]}))
    assert frame["b"][0] == "SVC(C=2)"
    assert frame["d"][0] == "{'x': 1}"
    assert frame["a"].dtype == float
    assert frame["c"][0] == "x"
