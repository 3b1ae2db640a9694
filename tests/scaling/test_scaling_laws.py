"""The arithmetic of scaling studies, with exact inputs and with the published times of a Monte Carlo pi."""

from __future__ import annotations

import re

import pytest

from daskhpc.errors import SettingsError
from daskhpc.scaling_study.advice import advice, remarks, trend
from daskhpc.scaling_study.laws import (
    Point,
    Timing,
    amdahl_speedup,
    fit_amdahl,
    gustafson_fraction,
    gustafson_speedup,
    karp_flatt,
    rows,
)
from daskhpc.scaling_study.measuring import StudyWorker, in_order
from daskhpc.scaling_study.plan import Turn, calls_per_time, counts, left, turns

PUBLISHED = {1: 400.0, 4: 102.0, 8: 60.0, 16: 31.0}


def points(times: dict[int, float] | dict[int, list[float]], threads: int = 1, cpu: float = 1.0) -> list[Point]:
    """Points with the times of each number of workers, which compute for a share `cpu` of them."""
    listed = {n: seconds if isinstance(seconds, list) else [seconds] for n, seconds in times.items()}
    return [
        Point(n, n * threads, tuple(Timing(s, cpu * s * n * threads) for s in seconds)) for n, seconds in listed.items()
    ]


def test_the_published_times() -> None:
    table = rows(points(PUBLISHED))
    assert [round(row.speedup, 3) for row in table] == [1.0, 3.922, 6.667, 12.903]
    assert [round(row.efficiency, 3) for row in table] == [1.0, 0.98, 0.833, 0.806]
    assert [row.serial_fraction and round(row.serial_fraction, 4) for row in table] == [None, 0.0067, 0.0286, 0.016]
    assert [row.core_seconds for row in table] == [400, 408, 480, 496]
    fit = fit_amdahl(points(PUBLISHED))
    assert fit is not None
    assert round(fit.serial, 5) == 0.01798
    assert [round(residual, 3) for residual in fit.residuals] == [-0.032, 0.066, -0.023]
    said = remarks(points(PUBLISHED), table, fit)
    assert "serial fraction of 0.018" in said[0]
    assert "+6.6 %, at 8 workers" in said[0]
    assert advice(table) == "Use 16 workers: their efficiency is 0.81. More were not measured."


@pytest.mark.parametrize("serial", [0.0, 0.01, 0.3, 1.0])
def test_exact_laws_are_found_again(serial: float) -> None:
    strong = points({n: 100 / amdahl_speedup(serial, n) for n in (1, 2, 3, 8, 100)})
    assert [row.serial_fraction for row in rows(strong)[1:]] == pytest.approx([serial] * 4, abs=1e-12)
    fit = fit_amdahl(strong)
    assert fit is not None
    assert (fit.serial, fit.lowest, fit.highest) == pytest.approx((serial,) * 3, abs=1e-12)
    assert fit.residuals == pytest.approx([0] * 4, abs=1e-12)
    for n in (2, 3, 8, 100):
        assert gustafson_fraction(gustafson_speedup(serial, n), n) == pytest.approx(serial, abs=1e-12)
        assert karp_flatt(amdahl_speedup(serial, n), n) == pytest.approx(serial, abs=1e-12)


def test_weak_scaling() -> None:
    table = rows(points({1: 10.0, 2: 10.5, 4: 12.5}), weak=True)
    assert [row.efficiency for row in table] == pytest.approx([1, 10 / 10.5, 0.8])
    assert [row.speedup for row in table] == pytest.approx([1, 20 / 10.5, 3.2])
    assert table[2].serial_fraction == pytest.approx((4 - 3.2) / 3)


def test_the_base_is_the_first_point_also_if_it_has_more_workers_than_one() -> None:
    table = rows(points({2: 100.0, 8: 25.0}))
    assert (table[1].speedup, table[1].efficiency, table[1].serial_fraction) == (4, 1, 0)


def test_medians_ranges_and_shares() -> None:
    (row,) = rows(points({2: [3.0, 1.0, 2.0]}, threads=4, cpu=0.5))
    assert (row.seconds, row.lowest, row.highest, row.core_seconds, row.busy) == (2, 1, 3, 16, 0.5)


def test_the_range_of_the_fit_is_that_of_its_repeats() -> None:
    fit = fit_amdahl(points({1: [100.0] * 3, 2: [55.0, 60.0, 50.0]}))
    assert fit is not None
    assert (fit.serial, fit.lowest, fit.highest) == pytest.approx((0.1, 0.0, 0.2))
    assert fit_amdahl(points({1: 100.0})) is None


@pytest.mark.parametrize(
    ("times", "sentence"),
    [
        ({1: 80.0, 8: 12.0, 16: 9.0}, "Use 8 workers: 16 are 1.3 times as fast, for 1.5 times the core-hours."),
        ({1: 80.0, 2: 79.0}, "Use 1 worker: 2 are not faster."),
        ({1: 80.0}, "Measure more than 1 worker: one point has no speed-up."),
    ],
)
def test_the_advice(times: dict[int, float], sentence: str) -> None:
    assert advice(rows(points(times))) == sentence


@pytest.mark.parametrize(
    ("times", "change"),
    [
        ({1: [100.0] * 2, 2: [50.0, 51.0], 8: [20.0, 21.0]}, "growing"),
        ({1: [100.0] * 2, 2: [60.0, 61.0], 8: [15.0, 15.1]}, "falling"),
        ({1: [100.0] * 2, 2: [52.0, 56.0], 8: [16.0, 19.0]}, "constant"),
    ],
)
def test_how_the_serial_fraction_changes(times: dict[int, list[float]], change: str) -> None:
    assert trend(points(times), rows(points(times))) == change
    said = " ".join(remarks(points(times), rows(points(times)), fit_amdahl(points(times))))
    words = {"growing": "e grows from", "falling": "e falls from", "constant": "no number of workers is more than"}
    assert words[change] in said


def test_what_is_said_of_a_base_of_several_workers() -> None:
    four = points({4: [100.0] * 2, 8: [52.0, 56.0], 32: [16.0, 19.0]})
    said = " ".join(remarks(four, rows(four), fit_amdahl(four), plain_seconds=400.0))
    assert re.search(r"no number of workers is more than \d+ times as fast as 4 workers\.", said)
    assert "4 workers take 0.25 times as long as plain Python." in said


def test_what_makes_a_table_hard_to_believe() -> None:
    noisy = points({1: [0.4, 0.3], 2: [0.1, 0.1]}, cpu=0.5)
    said = " ".join(remarks(noisy, rows(noisy), None, plain_seconds=0.2, equal_results=False))
    for words in ("1.75 times as long as plain Python", "more than 2 times", "differ by 29 %", "below 0.5 s"):
        assert words in said
    assert "computed for 50 % of the time" in said
    assert "Give it a seed" in said
    others = [Point(1, 1, (Timing(10, 10, 0.5, 0.5),)), Point(2, 2, (Timing(5, 10, 0.1, 0),))]
    assert "up to 10 % of a core" in " ".join(remarks(others, rows(others), None))
    quiet = points({1: 10.0, 2: 5.0})
    assert remarks(quiet, rows(quiet), None) == []
    slower = points({1: 10.0, 2: 11.0})
    assert remarks(slower, rows(slower), fit_amdahl(slower))[0].startswith("More workers are not faster")


def test_every_turn_comes_once_and_repeats_take_turns() -> None:
    every = turns([0, 1, 2, 4], 5)
    assert sorted(every) == [Turn(n, repeat) for n in (0, 1, 2, 4) for repeat in range(5)]
    assert [turn.repeat for turn in every] == sorted(turn.repeat for turn in every)
    assert len({tuple(t.workers for t in every if t.repeat == repeat) for repeat in range(5)}) > 1
    assert left(every, every[:7]) == every[7:]


def test_numbers_of_workers() -> None:
    assert counts(None, 1) == [1]
    assert counts(None, 8) == [1, 2, 4, 8]
    assert counts([8, 2], 8) == [2, 8]
    for wrong in ([], [0], [9], [True], ["2"]):
        with pytest.raises(SettingsError, match=r"workers=\[1, 2, 4, 8\]"):
            counts(wrong, 8)  # type: ignore[arg-type]
    assert [calls_per_time(seconds) for seconds in (0.0, 0.2, 0.5, 3.0)] == [1000, 3, 1, 1]


def test_the_order_of_workers() -> None:
    names = [("node2", "3"), ("node1", "2"), ("node10", "5"), ("node1", "11")]
    workers = [StudyWorker(f"tcp://{name}", name, host, 1) for host, name in names]
    assert [worker.name for worker in in_order(workers, "compact")] == ["2", "11", "3", "5"]
    assert [worker.name for worker in in_order(workers, "spread")] == ["2", "3", "5", "11"]
