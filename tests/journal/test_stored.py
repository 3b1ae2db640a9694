"""Journals of every format that daskhpc has written are read for ever; ``stored/make.py`` made these."""

from __future__ import annotations

import operator
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.datasets import make_classification
from sklearn.svm import SVC

import daskhpc
from daskhpc.errors import JournalError
from daskhpc.journal.calls import call_key
from daskhpc.journal.check import check
from daskhpc.journal.reader import JournalReader
from daskhpc.journal.tokens import Tokens, token
from daskhpc.report import results, run_progress, tables

STORED = Path(__file__).parent / "stored"
FORMATS = [pytest.param(path, id=path.name) for path in sorted(STORED.glob("format-*"))]


@pytest.fixture(params=FORMATS)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy, which this user alone can read."""
    shutil.copytree(request.param, tmp_path / "journals")
    for path in (tmp_path / "journals").iterdir():
        path.chmod(0o700)
    return tmp_path / "journals"


def test_there_is_a_journal_of_the_format_of_today() -> None:
    from daskhpc.journal.segment import FORMAT

    assert (STORED / f"format-{FORMAT}").is_dir()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
def test_every_value_comes_back_exactly(stored: Path) -> None:
    journal = JournalReader(stored / "values")
    found = [journal.get(f"{number:032x}") for number in range(8)]
    values: list[Any] = [result.value for result in found if result is not None]
    assert [result.about for result in found if result is not None] == [{"number": number} for number in range(8)]
    assert values[0] is None
    assert np.isnan(values[1].pop("nan"))
    assert (
        repr(values[1])
        == "{'zero': -0.0, 'deep': [1, (2, True)], 'large': 1267650600228229401496703205376, 3: b'bytes'}"
    )
    assert (values[2].dtype.str, values[2].flags.f_contiguous) == (">i2", True)
    assert values[2].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert (type(values[3]), values[3]) == (np.float32, np.float32(0.1))
    assert values[4] == "\ud800 surrogate"
    assert (values[5] == np.arange(3000.0)).all()
    assert (type(values[6]), values[6].C) == (SVC, 2.0)
    assert type(values[7]) is ValueError
    assert [result.ok for result in found if result is not None] == [True] * 7 + [False]
    assert check(stored / "values").damages == ()


def test_the_tables_of_a_search_a_sweep_and_a_program_are_read(stored: Path) -> None:
    search = results(stored / "search")
    assert search["param_C"].tolist() == [1.0, 2.0]
    assert search["split1_test_score"].tolist() == [0.6, 0.6]
    failed = results(stored / "failed")
    assert failed["mean_test_score"].isna().tolist() == [False, True]
    sweep = results(stored / "sweep")
    assert sweep["area"].dropna().tolist() == [0.5, 1.5]
    assert sweep["error"].dropna().tolist() == ["ArithmeticError: too high"] * 2
    assert tables.read(stored / "calls").others == {"make.py:50 Parallel": 3, "make.py:51 Parallel": 3}


def test_how_far_they_are_is_read(stored: Path) -> None:
    for name, records in {"search": 6, "failed": 4, "sweep": 4, "calls": 6}.items():
        found = run_progress.run_progress(JournalReader(stored / name), 0.0)
        assert (found.state, found.records, found.damages) == ("finished", records, 0), name


def test_a_search_goes_on_in_a_stored_journal_or_is_refused_by_name(stored: Path) -> None:
    X, y = make_classification(60, random_state=0)
    before = JournalReader(stored / "search")
    search = daskhpc.GridSearchCV(SVC(), {"C": [1.0, 2.0]}, cv=3, checkpoint=stored / "search")
    if before.manifest.parts["scikit-learn"]["text"] != sklearn.__version__:
        with pytest.raises(JournalError, match="scikit-learn: from"):
            search.fit(X, y)
        return
    search.fit(X, y)
    after = JournalReader(stored / "search")
    assert len(after) == len(before) == 6
    assert after.notes("call")[-1].data["replayed"] == 6
    assert search.cv_results_["split1_test_score"].tolist() == [0.6, 0.6]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "c3d8523c272c18fb5f79164a38c7d984"),
        ((1.0, True, None), "7803acde84bb51285a0b4ffb4902dc84"),
        ({"a": [b"x", {1, 2}]}, "c56f226e67bd168f698bbefd2c95178d"),
        (np.arange(2000.0), "59691eb3aa12a3c14c21e5e69c1e0f45"),
        (np.array(["a", "bc"]), "8a9a7504884b1de4b5833e63aa0c0c67"),
        (pd.DataFrame(np.eye(3)), "c9f4f145d2f078f1cf5df53802c91a57"),
        (pd.DataFrame(np.eye(3), index=[3, 1, 7]), "5819835234877fec6233b1f3489ecfbd"),
        (sp.csr_array(np.eye(3)), "0acea38f0ef3955f8f9770f201b9efe9"),
        (len, "b43833cfbecfead84b625f318cf26038"),
        (operator.add, "ee9b6072b8104609bad2055e762e7fdb"),
    ],
)
def test_tokens_of_values_and_of_the_standard_library_stay_as_they_were(value: Any, expected: str) -> None:
    assert token(value).hex() == expected
    assert call_key(operator.add, (1, 2.0), {"k": "v"}, Tokens()) == "bd6e4984e51fb307ca777635ffb9209b"
