"""Parallel with a checkpoint: calls whose results are there are not made again."""

from __future__ import annotations

import os
import random
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config
from open_files import open_files
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from waiting import meet, until

from daskhpc.errors import JournalError, SettingsError
from daskhpc.journal.reader import JournalReader
from daskhpc.parallel import checkpoints
from daskhpc.parallel import run as engine
from daskhpc.parallel.call_queue import Call


def made(folder: str, value: Any) -> Any:
    """Leaves a file for each call."""
    Path(folder, f"{os.getpid()}-{random.getrandbits(64)}").touch()
    return value


def draw(folder: str) -> float:
    made(folder, None)
    return random.random()


def fail_at_three(folder: str, value: int, kept: str) -> int:
    """Three fails when the results of the three others are saved."""
    made(folder, value)
    if value == 3:
        until(lambda: len(JournalReader(kept)) == 3)
        raise ValueError("three")
    return value


def three_fails(folder: str, value: int) -> int:
    made(folder, value)
    if value == 3:
        raise ValueError("three")
    return value


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    (tmp_path / "calls").mkdir()
    return tmp_path / "calls"


@pytest.fixture
def count(calls: Path) -> Callable[[], int]:
    """How many calls were made since the last time."""

    def since() -> int:
        files = list(calls.iterdir())
        for file in files:
            file.unlink()
        return len(files)

    return since


@pytest.fixture
def kept(tmp_path: Path) -> Callable[..., Any]:
    """Calls in the backend with a checkpoint."""

    def run(items: Any, n_jobs: int | None = -1, folder: Any = tmp_path / "kept", **options: Any) -> Any:
        with parallel_config(backend="daskhpc", checkpoint=folder):
            return Parallel(n_jobs=n_jobs, **options)(items)

    return run


VALUES = [1, 1.0, True, "1", None, float("nan"), -0.0, (1, [2]), {"a": np.float32(3)}, np.arange(5), np.arange(9e4)]


@pytest.mark.parametrize("cluster", [True, False])
def test_what_comes_back_is_what_went_in(
    cluster: bool, request: pytest.FixtureRequest, calls: Path, kept: Any, count: Any
) -> None:
    if cluster:
        request.getfixturevalue("client")
    for expected in (len(VALUES), 0):
        found = kept([delayed(made)(str(calls), value) for value in VALUES], n_jobs=2)
        assert count() == expected
        for one, other in zip(found, VALUES, strict=True):
            assert type(one) is type(other)
            np.testing.assert_equal(one, other)
    assert np.signbit(found[6])
    assert type(found[8]["a"]) is np.float32


def test_new_calls_are_made_and_the_others_not(client: Any, calls: Path, kept: Any, count: Any) -> None:
    assert kept(delayed(made)(str(calls), i) for i in range(10)) == list(range(10))
    assert count() == 10
    assert kept(delayed(made)(str(calls), i) for i in range(5, 15)) == list(range(5, 15))
    assert count() == 5


def test_equal_calls_are_calls_of_their_own(client: Any, calls: Path, kept: Any, count: Any) -> None:
    first = kept(delayed(draw)(str(calls)) for _ in range(6))
    assert len(set(first)) == 6
    assert count() == 6
    assert kept(delayed(draw)(str(calls)) for _ in range(6)) == first
    assert count() == 0


def test_a_generator_of_results(client: Any, calls: Path, kept: Any, count: Any) -> None:
    for expected in (8, 0):
        found = kept((delayed(made)(str(calls), i) for i in range(8)), return_as="generator")
        assert list(found) == list(range(8))
        assert count() == expected


def test_what_was_found_before_an_error_is_kept(
    client: Any, calls: Path, kept: Any, count: Any, tmp_path: Path
) -> None:
    folder = str(tmp_path / "kept")
    with pytest.raises(ValueError, match="three"):
        kept([delayed(fail_at_three)(str(calls), i, folder) for i in (0, 1, 2, 3)])
    assert count() == 4
    assert kept([delayed(fail_at_three)(str(calls), i, folder) for i in (0, 1, 2)]) == [0, 1, 2]
    assert count() == 0
    with pytest.raises(ValueError, match="three"):  # an error is not kept
        kept([delayed(fail_at_three)(str(calls), 3, folder)] * 2)


def fail_beside_ended_calls(folder: str, value: int) -> int:
    """Zero fails when another process has ended two calls of a task and is in the third; no third one ends."""
    before = len([*Path(folder).glob(f"{os.getpid()}-*")])
    Path(folder, f"{os.getpid()}-{before}-{value}").touch()
    if value == 0:
        until(lambda: [*Path(folder).glob("*-2-*")])
        raise ValueError("zero")
    until(lambda: before < 2 and not [*Path(folder).glob(f"{os.getpid()}-*-0")], 600.0)
    return value


def test_calls_that_ended_in_tasks_that_an_error_stops_are_kept(
    client: Any, calls: Path, kept: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds in ("_SAVE_SECONDS", "_LEAVE_SECONDS"):  # for which such results are waited for
        monkeypatch.setattr(engine, seconds, 200.0)
    (tmp_path / "met").mkdir()
    with parallel_config(backend="daskhpc"):  # both processes are there
        Parallel(n_jobs=2)([delayed(meet)(tmp_path / "met", 2)] * 2)
    with pytest.raises(ValueError, match="zero"):
        kept([delayed(fail_beside_ended_calls)(str(calls), i) for i in range(8)], n_jobs=2, pre_dispatch="all")
    third, *_ = calls.glob("*-2-*")
    ended = {int(file.name.split("-")[2]) for file in calls.glob(f"{third.name.split('-')[0]}-[01]-*")}
    assert {record.result().value for record in JournalReader(tmp_path / "kept").records()} >= ended


@pytest.mark.parametrize("cluster", [True, False])
def test_a_program_that_tries_again_makes_what_is_left(
    cluster: bool, request: pytest.FixtureRequest, calls: Path, tmp_path: Path, count: Any
) -> None:
    if cluster:
        request.getfixturevalue("client")

    def items(*numbers: int) -> Any:
        return [delayed(three_fails)(str(calls), i) for i in numbers]

    with parallel_config(backend="daskhpc", checkpoint=tmp_path / "kept", n_jobs=2):
        assert Parallel(batch_size=1)(items(0, 1)) == [0, 1]
        count()
        with pytest.raises(ValueError, match="three"):
            Parallel(batch_size=1, pre_dispatch=1)(items(0, 1, 2, 3))
        assert count() == 4, "the first two a second time"
        with pytest.raises(ValueError, match="three"):
            Parallel(batch_size=1, pre_dispatch=1)(items(0, 1, 2, 3))
        assert count() == 1
        assert Parallel()(items(0, 1, 2)) == [0, 1, 2]
        assert count() == 0
        assert Parallel()(items(2)) == [2]
        assert count() == 1


@pytest.mark.filterwarnings("ignore")
def test_a_loop_that_was_left_has_had_its_results(client: Any, calls: Path, tmp_path: Path) -> None:
    with parallel_config(backend="daskhpc", checkpoint=tmp_path / "kept", n_jobs=2):
        found = Parallel(return_as="generator")(delayed(draw)(str(calls)) for _ in range(4))
        first = next(found)
        found.close()
        assert first not in Parallel()(delayed(draw)(str(calls)) for _ in range(4))


@pytest.mark.parametrize("cluster", [True, False])
def test_a_journal_that_takes_nothing_ends_the_calls(
    cluster: bool, request: pytest.FixtureRequest, calls: Path, tmp_path: Path, kept: Any
) -> None:
    if cluster:
        request.getfixturevalue("client")

    def items() -> Any:
        for i in range(200):
            if i == 20:
                checkpoints.opened(tmp_path / "kept", "calls").close()
            yield delayed(made)(str(calls), i)

    with pytest.raises(RuntimeError, match="closed"):
        kept(items(), n_jobs=2)
    checkpoints.close_all()


def test_what_has_no_key_is_named(client: Any, calls: Path, kept: Any) -> None:
    with pytest.raises(JournalError, match=r"args\[1\]\['a'\](?s:.*)lock(?s:.*)without checkpoint"):
        kept([delayed(made)(str(calls), {"a": threading.Lock()})] * 2)


@pytest.mark.parametrize("cluster", [True, False])
def test_what_has_no_key_ends_the_calls_whichever_thread_makes_it(
    cluster: bool, request: pytest.FixtureRequest, calls: Path, kept: Any
) -> None:
    if cluster:
        request.getfixturevalue("client")
    values = [*range(20), threading.Lock()]
    with pytest.raises(JournalError, match="lock"):
        kept((delayed(made)(str(calls), value) for value in values), n_jobs=2)


def made_when(folder: str, value: int, go: Path) -> int:
    until(lambda: value == 0 or go.exists())
    return int(made(folder, value))


def test_a_loop_over_results_with_calls_of_its_own_keeps_both(tmp_path: Path, calls: Path, count: Any) -> None:
    def run() -> list[int]:
        with parallel_config(backend="daskhpc", checkpoint=tmp_path / "kept", n_jobs=2):
            items = (delayed(made_when)(str(calls), i, tmp_path / "go") for i in range(6))
            found = Parallel(return_as="generator", pre_dispatch=1)(items)
            first = next(found)
            assert Parallel()(delayed(made)(str(calls), -i) for i in range(2, 4)) == [-2, -3]
            (tmp_path / "go").touch()
            return [first, *found]

    assert run() == [0, 1, 2, 3, 4, 5]
    assert count() == 8
    checkpoints.opened(tmp_path / "kept", "calls").sync()
    assert run() == [0, 1, 2, 3, 4, 5]
    assert count() == 0
    ended = [note.data for note in JournalReader(tmp_path / "kept").notes("call") if "ended" in note.data]
    assert sorted((data["known"], data["replayed"]) for data in ended) == [(2, 0), (2, 2), (6, 0), (6, 6)]


def test_a_parallel_that_is_used_again_after_another(tmp_path: Path, calls: Path) -> None:
    def items(start: int, stop: int) -> Any:
        return (delayed(made)(str(calls), i) for i in range(start, stop))

    with parallel_config(backend="daskhpc", checkpoint=tmp_path / "kept", n_jobs=2), Parallel() as parallel:
        assert parallel(items(0, 3)) == [0, 1, 2]
        assert Parallel()(items(3, 5)) == [3, 4]
        assert Parallel(n_jobs=1)(items(5, 6)) == [5]
        assert parallel(items(6, 10)) == [6, 7, 8, 9]
    checkpoints.opened(tmp_path / "kept", "calls").sync()
    ended = [note.data["known"] for note in JournalReader(tmp_path / "kept").notes("call") if "ended" in note.data]
    assert ended == [2, 3, 4]


def test_serial_calls_and_those_that_share_memory_are_joblibs(client: Any, tmp_path: Path, kept: Any) -> None:
    """They may have effects in this process, which no journal has."""
    seen: list[int] = []
    for _ in range(2):
        kept((delayed(seen.append)(i) for i in range(3)), n_jobs=1)
        kept((delayed(seen.append)(i) for i in range(3)), require="sharedmem")
        kept((delayed(seen.append)(i) for i in range(3)), prefer="threads")
    assert len(seen) == 18


def test_forests_are_not_kept_and_cross_validation_is(client: Any, tmp_path: Path) -> None:
    X, y = load_iris(return_X_y=True)
    folder = tmp_path / "kept"
    with parallel_config(backend="daskhpc", checkpoint=folder, n_jobs=-1):
        RandomForestClassifier(random_state=0, n_jobs=-1).fit(X, y)
        first = cross_val_score(LogisticRegression(max_iter=500), X, y, cv=4, n_jobs=-1)
        assert len(JournalReader(folder)) == 4
        again = cross_val_score(LogisticRegression(max_iter=500), X, y, cv=4, n_jobs=-1)
    assert list(first) == list(again)
    places = [note.data["place"] for note in JournalReader(folder).notes("call") if "place" in note.data]
    assert [place.split()[1] for place in places] == ["cross_val_score", "cross_val_score"]
    assert all(place.startswith("test_checkpoints.py:") for place in places)


def test_a_plain_call_has_its_place(client: Any, tmp_path: Path, kept: Any) -> None:
    kept([delayed(abs)(-1), delayed(abs)(-2)])
    (place,) = [n.data["place"] for n in JournalReader(tmp_path / "kept").notes("call") if "place" in n.data]
    assert place.startswith("test_checkpoints.py:")
    assert place.endswith(" Parallel")


def test_an_array_that_changed_is_another(client: Any, calls: Path, kept: Any, count: Any) -> None:
    data = np.zeros(100_000)
    with parallel_config(backend="daskhpc", checkpoint=calls.parent / "kept"):
        for value in (0.0, 1.0):
            data[5] = value
            Parallel(n_jobs=2)(delayed(made)(str(calls), (data, i)) for i in range(2))
            assert count() == 2


def test_the_programs_own_checkpoint(
    client: Any, calls: Path, count: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "program", None)
    keeper = checkpoints.checkpoint_program(str(tmp_path / "kept"), False)
    assert keeper.journal.manifest.kind == "calls"
    for expected in (3, 3, 0):
        if not expected:  # the program is run again
            checkpoints.checkpoint_program(str(tmp_path / "kept"), False)
            with parallel_config(backend="daskhpc"):
                Parallel(n_jobs=-1)(delayed(made)(str(calls), i) for i in range(3))
        with parallel_config(backend="daskhpc"):
            Parallel(n_jobs=-1)(delayed(made)(str(calls), i) for i in range(3))
        assert count() == expected
    with parallel_config(backend="daskhpc", checkpoint=False):
        Parallel(n_jobs=-1)(delayed(made)(str(calls), i) for i in range(3))
    assert count() == 3


def test_a_folder_of_another_kind(client: Any, tmp_path: Path) -> None:
    checkpoints.opened(tmp_path / "kept", "sweep", {})
    with pytest.raises(JournalError, match="sweep"), parallel_config(backend="daskhpc", checkpoint=tmp_path / "kept"):
        Parallel(n_jobs=-1)(delayed(abs)(i) for i in range(3))


def test_options_have_names() -> None:
    with pytest.raises(SettingsError, match="checkpoint="):
        joblib.parallel_config(backend="daskhpc", chekpoint="there")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_options_of_the_backend_are_none_of_parallel(n_jobs: int, tmp_path: Path) -> None:
    """joblib 1.4 refuses them itself, and later ones hand them on."""
    with pytest.raises((SettingsError, TypeError), match="checkpoint"):
        Parallel(n_jobs, backend="daskhpc", checkpoint=tmp_path, progress=False)([delayed(abs)(1)])


def test_threads_that_make_the_same_call_have_results_of_their_own(tmp_path: Path) -> None:
    keeper = checkpoints.Checkpoint(checkpoints.opened(tmp_path / "kept", "calls"))
    keys: list[str] = []
    together = threading.Barrier(4)

    def ask() -> None:
        part = keeper.begin("Parallel")
        for number in range(300):
            call = Call((), abs, (number,), {})
            together.wait(100)
            keeper.recall(call, part)
            keys.append(call.key)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
    finally:
        sys.setswitchinterval(interval)
    assert len({*keys}) == len(keys) == 1200


def test_a_call_that_is_made_when_its_parallel_was_taken_back_is_not_counted(tmp_path: Path) -> None:
    """joblib's thread may be on its way to the next call when the program is interrupted."""
    keeper = checkpoints.Checkpoint(checkpoints.opened(tmp_path / "kept", "calls"))
    late, again = Call((), abs, (1,), {}), Call((), abs, (1,), {})
    interrupted = keeper.begin("Parallel")
    keeper.take_back(interrupted)
    keeper.recall(late, interrupted)
    keeper.recall(again, keeper.begin("Parallel"))
    assert again.key == late.key


def test_a_journal_is_opened_while_another_thread_begins_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = checkpoints.opened(tmp_path / "kept", "calls")
    threads: list[threading.Thread] = []

    class Keepers(weakref.WeakSet[checkpoints.Checkpoint]):
        def __iter__(self) -> Iterator[checkpoints.Checkpoint]:
            for keeper in super().__iter__():
                yield keeper
                threads.append(threading.Thread(target=checkpoints.Checkpoint, args=(journal,)))
                threads[-1].start()
                threads[-1].join(0.2)  # it may have to wait until this is over

    keepers = Keepers()
    monkeypatch.setattr(checkpoints, "_keepers", keepers)
    kept = [checkpoints.Checkpoint(journal) for _ in range(2)]
    checkpoints.opened(tmp_path / "another", "calls")
    for thread in threads:
        thread.join(100)
    assert len(threads) >= len(kept)


def test_few_journals_stay_open(tmp_path: Path) -> None:
    """Those that are in use, and some that may be used again."""
    checkpoints.close_all()
    used = checkpoints.Checkpoint(checkpoints.opened(tmp_path / "used", "calls"))
    for number in range(checkpoints.MOST_OPEN + 5):
        with parallel_config(backend="daskhpc", checkpoint=tmp_path / str(number)):
            assert Parallel(n_jobs=2)(delayed(abs)(value) for value in (-1, -2)) == [1, 2]
    checkpoints.opened(tmp_path / "one more", "calls")
    assert len(open_files(str(tmp_path))) <= 2 * checkpoints.MOST_OPEN
    part = used.begin("still open")
    used.end(part, aborted=False)
    assert open_files(str(tmp_path / "used"))


@pytest.mark.parametrize(("given", "found"), [(None, max(1, joblib.cpu_count() // 2)), (3, 3)])
def test_threads_of_processes_without_a_cluster(
    given: int | None, found: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with parallel_config(backend="daskhpc", checkpoint=tmp_path / "kept", n_jobs=2, inner_max_num_threads=given):
        assert Parallel()(delayed(os.getenv)("OMP_NUM_THREADS", str(i)) for i in (0, 1)) == [str(found)] * 2
