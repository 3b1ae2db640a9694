"""Results, errors with their remote traceback, and calls that took their worker down."""

from __future__ import annotations

import pickle
import traceback
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import check_scoring
from sklearn.model_selection import _validation

from daskhpc.errors import DaskhpcError
from daskhpc.parallel.call_process import _call, error_record
from daskhpc.parallel.call_queue import Call
from daskhpc.parallel.outcome import Batch, RemoteTracebackError, WorkerDiedError, failed_alone, read
from daskhpc.parallel.parcel import Template


class Two(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(a)
        self.a, self.b = a, b


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class Keyword(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(code)


class Turned(Exception):
    """Comes out of pickle as something else."""

    def __reduce__(self) -> Any:
        return (str, ("text",))


class Holding(Exception):
    def __init__(self) -> None:
        super().__init__("held")
        self.thing = open
        self.unpicklable = (i for i in range(1))


class Stopped(BaseException):
    pass


ERRORS: list[tuple[BaseException, type[BaseException]]] = [
    (ValueError("no"), ValueError),
    (KeyError("k"), KeyError),
    (OSError(2, "gone", "file"), FileNotFoundError),
    (UnicodeDecodeError("utf-8", b"a", 0, 1, "why"), UnicodeDecodeError),
    (DaskhpcError("happened", "found", "todo"), DaskhpcError),
    (Two(1, 2), RuntimeError),
    (Keyword(code=1), RuntimeError),
    (Holding(), RuntimeError),
    (Mute(), Mute),
    (SystemExit(3), SystemExit),
    (KeyboardInterrupt(), KeyboardInterrupt),
    (StopIteration(1), StopIteration),
    (GeneratorExit(), GeneratorExit),
    (Stopped(), Stopped),
    (MemoryError(), MemoryError),
    (RecursionError("deep"), RecursionError),
    (ExceptionGroup("several", [ValueError(1), KeyError(2)]), ExceptionGroup),
]


def outcome_of(function: Any, note: str = "") -> tuple[bool, Any]:
    """What becomes of a call on its way to the client."""
    ok, record = _call(None, ({-1: function}, {}, (-1,), 0, 0), {}, note)  # type: ignore[arg-type]
    found = read(record)
    assert ok or not found.ok
    return found.ok, found.value


@pytest.mark.parametrize(("error", "kind"), ERRORS, ids=[type(error).__name__ for error, _ in ERRORS])
def test_errors_arrive_with_their_remote_traceback(error: BaseException, kind: type[BaseException]) -> None:
    def culprit() -> None:
        raise error

    ok, found = outcome_of(culprit)
    assert not ok
    assert type(found) in (kind, type(error))  # where Dask has taught pickle about exceptions, more of them arrive
    assert isinstance(found.__cause__, RemoteTracebackError)
    assert "in culprit" in str(found.__cause__)
    if type(found) is not type(error):
        assert type(error).__name__ in str(found)
    if not isinstance(error, Mute):
        assert "culprit" in "".join(traceback.format_exception(found))


def test_an_error_that_comes_out_of_pickle_as_something_else() -> None:
    def culprit() -> None:
        raise Turned("odd")

    ok, found = outcome_of(culprit)
    assert not ok
    assert isinstance(found, BaseException)
    assert "Turned" in repr(found)


def test_the_chain_of_causes_is_in_the_text() -> None:
    def culprit() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    _, found = outcome_of(culprit)
    assert "KeyError: 'first'" in str(found.__cause__)


def test_values_arrive() -> None:
    assert outcome_of(lambda: {"a": [1, None]}) == (True, {"a": [1, None]})
    ok, value = outcome_of(lambda: np.arange(3))
    assert ok
    value[0] = 5


def test_a_value_that_cannot_be_pickled() -> None:
    ok, error = outcome_of(lambda: (i for i in range(1)))
    assert not ok
    assert isinstance(error, TypeError)


class Broken:
    def __reduce__(self) -> Any:
        return (int, ("not a number",))


def test_a_value_that_cannot_be_read() -> None:
    ok, error = outcome_of(Broken)
    assert not ok
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("record", [b"", b"nonsense", pickle.dumps(1)], ids=repr)
def test_a_record_that_nobody_understands(record: bytes) -> None:
    found = read(record)
    assert not found.ok
    assert isinstance(found.value, Exception)


def test_a_note_is_part_of_the_error() -> None:
    ok, error = outcome_of(lambda: 1 / 0, "The folder is not there.")
    assert not ok
    assert error.__notes__ == ["The folder is not there."]
    assert "The folder is not there." in str(error.__cause__)
    assert outcome_of(lambda: 1, "The folder is not there.") == (True, 1)


def test_errors_lose_their_frames_before_they_travel() -> None:
    def culprit(big: bytes) -> None:
        raise ValueError(len(big))

    with pytest.raises(ValueError, match="1048576") as raised:
        culprit(bytes(1 << 20))
    assert len(error_record(raised.value)) < 10_000
    assert raised.value.__traceback__ is None


# Batches.


def test_a_batch_is_delivered_when_all_are_back() -> None:
    got: list[Batch] = []
    batch = Batch(3, got.append)
    assert [batch.put(i, True, i * 10) for i in (2, 0, 1)] == [False, False, True]
    batch.deliver()
    assert got == [batch]
    assert batch.get() == [0, 10, 20]


def test_a_batch_fails_at_once() -> None:
    batch = Batch(3, print)
    error = ValueError("no")
    assert not batch.put(0, True, 1)
    assert batch.put(1, False, error)
    assert not batch.put(2, True, 2)
    assert not batch.put(2, False, KeyError())
    with pytest.raises(ValueError, match="no") as raised:
        batch.get()
    assert raised.value is error


def test_a_batch_of_nothing_but_none() -> None:
    batch = Batch(1, print)
    assert batch.put(0, True, None)
    assert batch.get() == [None]


# Calls that took their worker down.


def victim(*args: Any, **kwargs: Any) -> None:
    pass


def template(fit: bool) -> Template:
    return Template(0, {}, {}, fit)


def test_what_took_its_worker_down_is_an_error() -> None:
    ok, error = failed_alone(Call(0, victim, (1,), {}, template(False)), "node7", "killed by signal 9")
    assert not ok
    assert isinstance(error, WorkerDiedError)
    for part in ("victim", "node7", "killed by signal 9"):
        assert part in str(error)
    assert error.todo
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)


def test_a_cause_that_nobody_knows() -> None:
    _, error = failed_alone(Call(0, victim, (), {}), "node7", "")
    assert "killed or crashed on node7" in str(error)


def fit_call(error_score: Any) -> Call:
    model = LogisticRegression()
    named = {"scorer": check_scoring(model), "train": np.arange(3), "test": np.arange(2), "error_score": error_score}
    return Call(0, _validation._fit_and_score, (model, np.ones((5, 2)), np.ones(5)), named, template(True))


def test_a_fit_that_took_its_worker_down_is_a_failed_fit() -> None:
    ok, result = failed_alone(fit_call(-1.0), "node7", "out of memory")
    assert ok
    assert result["test_scores"] == -1.0
    for part in ("WorkerDiedError", "out of memory", "node7"):
        assert part in result["fit_error"]


def test_a_fit_whose_errors_are_raised() -> None:
    ok, error = failed_alone(fit_call("raise"), "node7", "out of memory")
    assert not ok
    assert isinstance(error, WorkerDiedError)
    assert "_fit_and_score" in str(error)
