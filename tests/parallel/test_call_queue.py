"""Which calls go next: each once, the long ones first, groups to their owners, tasks of the right size."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from daskhpc.parallel.call_queue import LONGEST_TASK, SHORTEST_TASK, Call, CallQueue, Costs

MOST_BYTES = 4 << 20


def call(place: Any = 0, kind: Any = None, group: Any = None, nbytes: int = 0) -> Call:
    return Call(place, print, (), {}, kind=kind, group=group, nbytes=nbytes)


def filled(*calls: Call) -> CallQueue:
    queue = CallQueue()
    for each in calls:
        queue.add(each)
    return queue


def taken(queue: CallQueue, worker: str = "a", slots: int = 2) -> list[Any]:
    return [each.place for each in queue.take(worker, slots)[0]]


def all_of(queue: CallQueue, workers: str = "ab", slots: int = 2) -> list[Call]:
    """Everything, the workers taking turns."""
    found: list[Call] = []
    while queue.waiting:
        calls = [each for worker in workers for each in queue.take(worker, slots)[0]]
        assert calls, "calls wait and nobody gets them"
        found += calls
    return found


def test_costs() -> None:
    costs = Costs()
    assert costs.of("a") is None
    costs.learn("a", 1.0)
    costs.learn("a", 3.0)
    assert (costs.of("a"), costs.of("b")) == (2.0, 2.0)
    costs.learn("b", 8.0)
    assert (costs.of("a"), costs.of("b"), costs.of("c")) == (2.0, 8.0, 4.0)
    assert costs.known("b")
    assert not costs.known("c")
    costs.learn("free", 0.0)
    assert costs.of("free") == 0.0


def test_an_empty_pool() -> None:
    queue = CallQueue()
    assert queue.take("a", 2)[0] == []
    assert queue.one() is None
    assert queue.drain() == []
    assert queue.remaining() is None


@pytest.mark.parametrize("seed", range(12))
def test_every_call_is_taken_once(seed: int) -> None:
    choose = random.Random(seed)
    queue, out, made = CallQueue(), [], 0
    done: Counter[int] = Counter()
    grouped = choose.random() < 0.7
    for _ in range(1500):
        step = choose.random()
        if step < 0.35 and made < 400:
            for _ in range(choose.randrange(1, 12)):
                kind = choose.choice([None, choose.randrange(6)])
                group = (choose.randrange(3), f"s{choose.randrange(4)}") if grouped and choose.random() < 0.6 else None
                queue.add(call(made, kind, group, choose.choice([0, 0, 1 << 20])))
                made += 1
        elif step < 0.75:
            calls, seconds = queue.take(choose.choice("abc"), 3)
            assert seconds > 0 or not calls
            out.append(calls)
        elif out:
            calls = out.pop(choose.randrange(len(out)))
            ended = choose.randrange(len(calls) + 1)
            for each in calls[:ended]:
                queue.learn(each, choose.expovariate(20), choose.choice([0.0, 0.0, 0.2]))
                done[each.place] += 1
            for each in reversed(calls[ended:]):
                queue.add(each, front=True)
        assert queue.waiting == made - sum(done.values()) - sum(map(len, out))
    rest = [each.place for calls in out for each in calls] + [each.place for each in queue.drain()]
    done.update(rest)
    assert done == Counter(range(made))
    assert queue.waiting == 0


def test_one_by_one() -> None:
    queue = filled(*(call(i) for i in range(5)), call(5, group=("g",)))
    found = [queue.one() for _ in range(6)]
    assert sorted(each.place for each in found if each is not None) == list(range(6))
    assert queue.one() is None


def test_in_the_order_in_which_they_came() -> None:
    assert [each.place for each in all_of(filled(*(call(i) for i in range(100))))] == list(range(100))


def test_what_is_given_back_goes_first() -> None:
    queue = filled(*(call(i) for i in range(100)))
    calls, _ = queue.take("a", 2)
    for each in reversed(calls):
        queue.add(each, front=True)
    assert taken(queue)[0] == 0


def test_each_kind_is_tried_before_any_goes_on() -> None:
    queue = filled(*(call((kind, i), kind) for kind in range(10) for i in range(5)))
    first = [place[0] for _ in range(20) for place in taken(queue, slots=10)][:10]
    assert sorted(first) == list(range(10))


def test_the_first_tasks_are_small() -> None:
    queue = filled(*(call(i) for i in range(1000)))
    assert 1 <= len(queue.take("a", 2)[0]) <= 4
    few = filled(*(call(i) for i in range(3)))
    assert [len(few.take(worker, 2)[0]) for worker in "ab"] == [2, 1]


@pytest.mark.parametrize(
    ("calls", "slots", "tasks"), [(15, 14, [2] + [1] * 13), (5, 2, [3, 2]), (3, 14, [1] * 3), (28, 14, [2] * 14)]
)
def test_few_calls_are_dealt_out_evenly(calls: int, slots: int, tasks: list[int]) -> None:
    """No slot has nothing to do while another has two calls more than it."""
    queue = filled(*(call(i) for i in range(calls)))
    assert [len(queue.take("a", slots)[0]) for _ in tasks] == tasks
    assert not queue.waiting


def test_what_comes_back_before_any_call_has_ended_goes_one_by_one() -> None:
    """They take long: two in one task would wait for each other while a slot becomes free."""
    queue = filled(*(call(i) for i in range(6)))
    sent = [queue.take("a", 2)[0] for _ in range(2)]
    assert [len(calls) for calls in sent] == [3, 3]
    for each in [*sent[0][1:], *sent[1][1:]]:
        queue.add(each, front=True, anybody=True)
    assert [len(queue.take("a", 2)[0]) for _ in range(4)] == [1] * 4


def test_quick_calls_that_are_known_are_dealt_out_at_once() -> None:
    queue = filled(*(call(i) for i in range(5)))
    queue.costs.expected = 0.005
    assert [len(queue.take(worker, 2)[0]) for worker in "abab"] == [3, 1, 1, 0]
    many = filled(*(call(i) for i in range(20)))
    many.costs.expected = 0.005
    assert [len(many.take(worker, 2)[0]) for worker in "ab"] == [3, 3], "they are tried first"


def test_the_last_calls_go_one_by_one_unless_they_are_short() -> None:
    """As many calls as slots: a task of two would leave a slot idle."""
    for seconds, tasks in ((0.06, [1] * 6), (0.001, [5, 1])):
        queue = filled(*(call(i) for i in range(7)))
        queue.learn(queue.take("a", 14)[0][0], seconds)
        assert [len(queue.take("a", 14)[0]) for _ in tasks] == tasks


def learnt(costs: dict[str, float], calls: int = 5) -> CallQueue:
    """A queue of some calls of each kind, one of which has ended."""
    queue = filled(*(call(kind, kind) for kind in costs for _ in range(calls)))
    tried: list[Call] = []
    while len(tried) < len(costs):
        tried += queue.take("a", 1000)[0]
    for each in tried:
        queue.learn(each, costs[each.place])
    return queue


@pytest.mark.parametrize(
    ("seconds", "calls", "exhausted", "ahead"),
    [
        (None, 1, True, True),  # nothing is known: at the start
        (0.05, 1, True, True),
        (1.0, 4, True, False),
        (1.0, 5, True, True),
        (1.0, 1, False, True),
    ],
)
def test_the_last_calls_wait_for_a_free_slot_unless_they_are_quick(
    seconds: float | None, calls: int, exhausted: bool, ahead: bool
) -> None:
    queue = filled(*(call() for _ in range(calls)))
    if seconds is not None:
        queue.learn(call(), seconds)
    assert queue.goes_ahead(2, exhausted) is ahead


def test_the_long_ones_go_first() -> None:
    queue = learnt({"short": 0.1, "long": 10.0, "middle": 1.0})
    order = [each.place for each in all_of(queue)]
    assert order == ["long"] * 4 + ["middle"] * 4 + ["short"] * 4


def test_the_long_ones_go_first_also_among_kinds_that_came_later() -> None:
    """A kind that nobody knew passed for an average one; it goes by its own cost once that is known."""
    queue = learnt({"long": 10.0, "middle": 2.0})
    for _ in range(5):
        queue.add(call("late", "late"))
    calls, _ = queue.take("a", 2)
    assert [each.place for each in calls] == ["late"]
    queue.learn(calls[0], 0.1)
    order = [each.place for each in all_of(queue)]
    assert order == ["long"] * 4 + ["middle"] * 4 + ["late"] * 4


def test_kinds_learnt_one_after_the_other_go_by_their_cost() -> None:
    """As in a search whose results come back while other candidates are tried for the first time."""
    costs: dict[Any, float] = dict(enumerate((5.0, 0.1, 3.0, 0.2, 4.0, 0.3)))
    queue = filled(*(call(kind, kind) for kind in costs for _ in range(4)))
    for _ in costs:
        (each,) = queue.take("a", 1000)[0]
        queue.learn(each, costs[each.kind])
    order = [costs[each.kind] for each in all_of(queue)]
    assert order == sorted(order, reverse=True)


def test_a_kind_that_comes_again() -> None:
    queue = learnt({"long": 10.0, "short": 0.1}, calls=2)
    assert [each.place for each in all_of(queue)] == ["long", "short"]
    for place in ("short", "long"):
        queue.add(call(place, place))
    assert [each.place for each in all_of(queue)] == ["long", "short"]


def sized(cost: float, count: int) -> CallQueue:
    queue = filled(*(call(i) for i in range(count)))
    queue.costs.learn(None, cost)
    return queue


@pytest.mark.parametrize("cost", [0.001, 0.003, 0.02])
def test_tasks_are_long_at_first_and_short_near_the_end(cost: float) -> None:
    queue = sized(cost, 20_000)
    lengths = []
    while queue.waiting:
        calls, seconds = queue.take("a", 2)
        lengths.append(len(calls) * cost)
        assert seconds >= lengths[-1] - cost
    assert lengths[0] == pytest.approx(LONGEST_TASK, abs=1.1 * cost)
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-2] <= SHORTEST_TASK + cost
    assert max(lengths) <= LONGEST_TASK + cost


def test_while_others_come_what_a_worker_gets_ahead_is_not_dealt_out() -> None:
    assert len(sized(0.02, 18).take("a", 2)[0]) == 9
    assert len(sized(0.02, 18).take("a", 2, spare=True)[0]) == 18
    assert len(sized(0.02, 100).take("a", 2, spare=True)[0]) == 20


def test_long_calls_go_alone() -> None:
    assert len(sized(1.0, 100).take("a", 2)[0]) == 1


def test_calls_that_take_no_time_at_all() -> None:
    queue = sized(0.0, 20_000)
    calls, _ = queue.take("a", 2)
    assert 1 < len(calls) <= 5000
    assert len(all_of(queue)) == 20_000 - len(calls)


@pytest.mark.parametrize("known", [True, False])
def test_tasks_do_not_carry_much(known: bool) -> None:
    queue = filled(*(call(i, nbytes=MOST_BYTES) for i in range(1000)))
    if known:
        queue.costs.learn(None, 0.001)
    calls, _ = queue.take("a", 2)
    assert sum(each.nbytes for each in calls) <= 2 * MOST_BYTES


# Groups.


def groups(*keys: Any, calls: int = 5) -> CallQueue:
    queue = filled(*(call(key, group=key) for key in keys for _ in range(calls)))
    queue.costs.learn(None, LONGEST_TASK)  # one call is a task
    return queue


def test_a_group_stays_with_its_owner() -> None:
    queue = groups(("g",), ("h",))
    pairs = [(taken(queue, "a"), taken(queue, "b")) for _ in range(5)]
    assert pairs == [([("g",)], [("h",)])] * 5


def test_the_next_group_is_the_nearest() -> None:
    queue = groups((0, "x", "p"), (1, "x", "p"), (0, "y", "q"), (0, "x", "q"), calls=1)
    assert [taken(queue)[0] for _ in range(4)] == [(0, "x", "p"), (0, "x", "q"), (0, "y", "q"), (1, "x", "p")]


def test_the_largest_group_is_helped() -> None:
    queue = groups(("small",), calls=2)
    for _ in range(9):
        queue.add(call(("large",), group=("large",)))
    assert {*taken(queue, "a"), *taken(queue, "b")} == {("large",), ("small",)}
    assert taken(queue, "c") == [("large",)]


def test_no_help_where_it_costs_more_than_it_saves() -> None:
    queue = groups(("g",), calls=4)
    (first,), _ = queue.take("a", 2)
    queue.learn(first, 0.1, saved=100.0)
    assert taken(queue, "b") == []
    assert len(all_of(queue, "a")) == 3


def test_help_where_it_pays() -> None:
    queue = groups(("g",), calls=50)
    (first,), _ = queue.take("a", 2)
    queue.learn(first, 0.4, saved=1.0)
    assert taken(queue, "b")
    assert taken(queue, "a")
    assert len(all_of(queue)) > 40


def test_calls_without_a_group_where_no_group_wants_help() -> None:
    queue = groups(("g",), calls=4)
    (first,), _ = queue.take("a", 2)
    queue.learn(first, 0.1, saved=100.0)
    queue.add(call("free"))
    assert taken(queue, "b") == ["free"]


def test_everything_is_drained_also_what_is_owned() -> None:
    queue = groups(("g",), ("h",), calls=4)
    (first,), _ = queue.take("a", 2)
    queue.take("b", 2)
    queue.learn(first, 0.1, saved=100.0)
    assert len(queue.drain()) == 6
    assert queue.waiting == 0


def test_one_call_of_an_owned_group_without_a_worker() -> None:
    queue = groups(("g",), calls=3)
    (first,), _ = queue.take("a", 2)
    queue.learn(first, 0.1, saved=100.0)
    assert queue.one() is not None


def test_a_lost_worker_owns_nothing() -> None:
    """What it had begun is too little to be worth helping with, and it never comes for it."""
    queue = groups(("g",), calls=4)
    (first,), _ = queue.take("lost", 2)
    queue.learn(first, 0.1, saved=100.0)
    queue.lost("lost")  # type: ignore[attr-defined]
    assert len(all_of(queue, "b")) == 3


def test_a_group_that_comes_again() -> None:
    queue = groups(("g",), calls=1)
    assert taken(queue, "a") == [("g",)]
    assert taken(queue, "b") == []
    queue.add(call("again", group=("g",)), front=True)
    assert taken(queue, "b") == ["again"]


def test_nothing_that_was_given_back_waits_for_ever() -> None:
    """Calls of several groups come back to a worker that has gone on to another one, and helping is not worth it."""
    queue = groups(("g",), ("h",), ("i",), calls=3)
    calls = all_of(queue, "a")
    queue.learn(calls[0], 0.1, saved=100.0)
    assert {each.group for each in calls} == {("g",), ("h",), ("i",)}
    for each in reversed(calls[1:]):
        queue.add(each, front=True)
    assert taken(queue, "b") == []
    assert len(all_of(queue)) == 8


def test_what_is_for_anybody_does_not_wait_for_its_owner() -> None:
    queue = groups(("g",), calls=4)
    calls = [queue.take("a", 2)[0][0] for _ in range(2)]
    queue.learn(calls[0], 0.1, saved=100.0)
    assert taken(queue, "b") == []
    queue.add(calls[1], front=True, anybody=True)
    assert len(all_of(queue, "b")) == 3


@pytest.mark.parametrize("seed", range(20))
def test_groups_given_back_at_random_end(seed: int) -> None:
    choose = random.Random(seed)
    queue = groups(*((split, prefix) for split in range(3) for prefix in range(3)), calls=5)
    done: list[Any] = []
    while queue.waiting:
        tasks = [queue.take(worker, 2)[0] for worker in "abc"]
        assert any(tasks), "calls wait and nobody gets them"
        for calls in tasks:
            keep = choose.randint(0, len(calls))
            for each in calls[:keep]:
                queue.learn(each, choose.random(), saved=choose.choice([0.0, 50.0]))
            done += calls[:keep]
            for each in reversed(calls[keep:]):
                queue.add(each, front=True, anybody=choose.random() < 0.3)
    assert len(done) == 45


# Work per call: the same however many there are.


def nothing(_i: int) -> None:
    return None


def test_a_hundred_thousand_calls() -> None:
    queue = filled(*(call(i, i // 10) for i in range(100_000)))
    first, _ = queue.take("a", 2)
    for each in first:
        queue.learn(each, 0.002)
    assert len(all_of(queue)) > 90_000
