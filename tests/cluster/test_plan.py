"""Who does what with which resources: tables over constructed nodes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from example_plans import GB, grant, plans, runtime, settings

from daskhpc.cluster.local_cluster import plan_local
from daskhpc.cluster.plan import RankPlan, plan_rank, ranks_on_host, role_of, worker_blas, worker_memory, worker_threads
from daskhpc.runtime import Grant, Sourced

ROLES = ["scheduler", "client", "worker", "worker", "worker"]
TWO_NODES = ["n1", "n2", "n1", "n2"]
LEFT = int(2 * GB * 0.9)


def test_roles_are_dask_mpis() -> None:
    assert [role_of(rank) for rank in range(5)] == ROLES
    assert [plan.role for plan in plans(["n1"] * 5)] == ROLES


@pytest.mark.parametrize(
    ("hosts", "rank", "same"),
    [
        (["a"], 0, (0,)),
        (["a", "b", "a", "b", "a"], 0, (0, 2, 4)),
        (["a", "b", "a", "b", "a"], 3, (1, 3)),
        (["a", "b", "c"], 1, (1,)),
    ],
)
def test_ranks_of_a_node(hosts: list[str], rank: int, same: tuple[int, ...]) -> None:
    assert ranks_on_host(hosts, rank) == same


def numbers(plan: RankPlan) -> tuple[int, int, int, int]:
    """Processes, threads, BLAS threads and bytes."""
    return plan.processes.value, plan.nthreads.value, plan.blas_threads.value, plan.memory_limit.value


@pytest.mark.parametrize(
    ("given", "arguments", "expected"),
    [
        pytest.param(grant(), {}, (1, 4, 1, LEFT), id="4-CPUs-and-2-GB"),
        pytest.param(grant(), {"processes": 4}, (4, 1, 1, LEFT // 4), id="four-processes-of-one"),
        pytest.param(grant(), {"processes": 2}, (2, 2, 1, LEFT // 2), id="two-of-two"),
        pytest.param(grant(), {"processes": 3}, (3, 1, 1, LEFT // 3), id="rounded-down"),
        pytest.param(grant(), {"processes": 9}, (9, 1, 1, LEFT // 9), id="more-processes-than-CPUs"),
        pytest.param(grant(), {"nthreads": 1}, (1, 1, 4, LEFT), id="BLAS-takes-what-threads-leave"),
        pytest.param(grant(8), {"nthreads": 3}, (1, 3, 2, LEFT), id="BLAS-rounded-down"),
        pytest.param(grant(8), {"nthreads": 2, "processes": 2}, (2, 2, 2, LEFT // 2), id="both"),
        pytest.param(grant(), {"nthreads": 16}, (1, 16, 1, LEFT), id="threads-as-asked"),
        pytest.param(grant(), {"blas_threads": 3}, (1, 4, 3, LEFT), id="BLAS-as-asked"),
        pytest.param(grant(), {"headroom": 0}, (1, 4, 1, 2 * GB), id="no-headroom"),
        pytest.param(grant(), {"headroom": 0.5}, (1, 4, 1, GB), id="half"),
        pytest.param(grant(), {"memory_limit": 0.5}, (1, 4, 1, LEFT // 2), id="a-fraction"),
        pytest.param(grant(), {"memory_limit": 1.0}, (1, 4, 1, LEFT), id="all"),
        pytest.param(grant(), {"memory_limit": 0.25, "processes": 2}, (2, 2, 1, LEFT // 4), id="of-the-rank"),
        pytest.param(grant(), {"memory_limit": 10**9}, (1, 4, 1, GB), id="bytes"),
        pytest.param(grant(), {"memory_limit": "3 GB", "processes": 2}, (2, 2, 1, 3 * GB), id="bytes-per-process"),
        pytest.param(grant(), {"memory_limit": 0}, (1, 4, 1, 0), id="no-limit"),
        pytest.param(grant(), {"memory_limit": "auto", "processes": 2}, (2, 2, 1, LEFT // 2), id="auto"),
        pytest.param(grant(8, per_rank=2), {}, (1, 2, 1, LEFT), id="what-the-launcher-grants-each-rank"),
        pytest.param(grant(8, bound=3), {}, (1, 3, 1, LEFT), id="never-more-than-it-is-bound-to"),
        pytest.param(grant(8, per_rank=8, bound=2), {"processes": 2}, (2, 1, 1, LEFT // 2), id="bound-below-granted"),
        pytest.param(grant(memory=0), {}, (1, 4, 1, 0), id="nobody-says-how-much-memory"),
        pytest.param(grant(memory=0), {"processes": 2}, (2, 2, 1, 0), id="nobody-says-for-two"),
    ],
)
def test_a_worker_rank_alone_on_its_node(
    given: Grant, arguments: dict[str, Any], expected: tuple[int, int, int, int]
) -> None:
    assert numbers(plans(TWO_NODES, given, **arguments)[2]) == expected


@pytest.mark.parametrize(
    ("hosts", "given", "expected"),
    [
        pytest.param(["n1"] * 4, grant(), {2: (1, 2, 1, LEFT // 2), 3: (1, 2, 1, LEFT // 2)}, id="two-on-one-node"),
        pytest.param(["n1"] * 5, grant(), {2: (1, 1, 1, LEFT // 3), 4: (1, 1, 1, LEFT // 3)}, id="three-on-four"),
        pytest.param(
            ["n1", "n2", "n1", "n2", "n1"],
            grant(8),
            {2: (1, 4, 1, LEFT // 2), 3: (1, 8, 1, LEFT), 4: (1, 4, 1, LEFT // 2)},
            id="uneven",
        ),
        pytest.param(["n1"] * 4, grant(8, per_rank=4), {2: (1, 4, 1, LEFT // 2)}, id="CPUs-by-rank-and-memory-by-node"),
        pytest.param(["n1"] * 18, grant(4), {2: (1, 1, 1, LEFT // 16)}, id="more-ranks-than-CPUs"),
    ],
)
def test_worker_ranks_share_their_node(
    hosts: list[str], given: Grant, expected: dict[int, tuple[int, int, int, int]]
) -> None:
    all_plans = plans(hosts, given)
    assert {rank: numbers(all_plans[rank]) for rank in expected} == expected
    for host in set(hosts):
        here = [p for p in all_plans if p.host == host and p.role == "worker"]
        assert sum(p.memory_limit.value * p.processes.value for p in here) <= given.node_memory.value


@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 7, 8, 64])
@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("nthreads", [None, 1, 2])
def test_threads_and_blas_stay_within_the_grant(cpus: int, processes: int, nthreads: int | None) -> None:
    plan = plans(TWO_NODES, grant(cpus), processes=processes, nthreads=nthreads)[2]
    workers, threads, blas, memory = numbers(plan)
    asked = workers * (nthreads or 1)
    assert workers * threads * blas <= max(cpus, asked)
    assert workers * memory <= LEFT


def test_the_scheduler_and_the_client() -> None:
    scheduler, client = plans(TWO_NODES, grant(8), processes=2, nthreads=3)[:2]
    assert numbers(scheduler) == (0, 1, 1, 0)
    assert numbers(client) == (0, 8, 8, 0)
    assert (scheduler.host, client.host) == ("n1", "n2")
    assert numbers(plans(TWO_NODES, grant(8, per_rank=2))[1])[1:3] == (2, 2)


@pytest.mark.parametrize(
    ("arguments", "field", "source"),
    [
        ({}, "nthreads", "SLURM_CPUS_ON_NODE"),
        ({}, "memory_limit", "cgroup memory.max, 10% headroom"),
        ({}, "processes", "default"),
        ({}, "blas_threads", "CPUs / threads"),
        ({}, "interface", "InfiniBand"),
        ({}, "local_directory", "SLURM_TMPDIR"),
        ({"processes": 2}, "processes", "argument"),
        ({"processes": 2}, "nthreads", "SLURM_CPUS_ON_NODE / 2 processes"),
        ({"processes": 2}, "memory_limit", "cgroup memory.max, 10% headroom / 2 processes"),
        ({"nthreads": 2}, "nthreads", "argument"),
        ({"memory_limit": "1GB"}, "memory_limit", "argument"),
        ({"memory_limit": 0.5}, "memory_limit", "0.5 of cgroup memory.max, 10% headroom (argument)"),
        ({"blas_threads": 2}, "blas_threads", "argument"),
        ({"interface": "eth0"}, "interface", "argument"),
        ({"local_directory": "/a b"}, "local_directory", "argument"),
    ],
)
def test_every_value_has_its_source(arguments: dict[str, Any], field: str, source: str) -> None:
    assert getattr(plans(TWO_NODES, **arguments)[2], field).source == source


def test_the_source_names_the_ranks_that_share() -> None:
    plan = plans(["n1"] * 4)[2]
    assert plan.nthreads.source == "SLURM_CPUS_ON_NODE / 2 worker ranks"
    assert plan.memory_limit.source == "cgroup memory.max / 2 worker ranks, 10% headroom"


def test_what_was_set_is_used() -> None:
    plan = plans(TWO_NODES, interface="eth0", local_directory="/it's; echo no")[2]
    assert (plan.interface.value, plan.local_directory.value) == ("eth0", "/it's; echo no")
    plan = plan_rank(runtime(interface=None), settings(), 2, (2,))
    assert (plan.interface.value, plan.local_directory.value) == (None, "/local/12")


@pytest.mark.parametrize(
    ("hosts", "without"),
    [
        (["n1", "n2", "n1", "n2"], set()),  # in turn
        (["n1", "n1", "n1"], set()),
        (["n1", "n1", "n2", "n2"], {"n1"}),  # in blocks
        (["n1", "n2", "n3", "n4"], {"n1", "n2"}),  # as many ranks as nodes
    ],
)
def test_a_node_without_a_worker_is_named(hosts: list[str], without: set[str]) -> None:
    found = {plan.host for plan in plans(hosts) if "no worker runs there, so its 4 CPUs" in "".join(plan.warnings)}
    assert found == without


def test_what_is_unwise_on_a_node_travels_with_its_plans() -> None:
    unwise = runtime(warnings=("slow disk",))
    assert plan_rank(unwise, settings(), 2, (2,)).warnings == ("slow disk",)
    assert plan_local(unwise, settings(workers=1)).warnings == ("slow disk",)


@pytest.mark.parametrize(
    ("asked", "ranks", "words"),
    [
        ({}, 1, ()),
        ({}, 8, ()),  # two threads to a CPU: a launcher may start some ranks more
        ({}, 9, ("9 workers with 9 threads in all on 4 CPUs (SLURM_CPUS_ON_NODE)",)),
        ({"nthreads": 4}, 1, ()),
        ({"nthreads": 5}, 1, ("1 worker with 5 threads in all on 4 CPUs",)),
        ({"processes": 3, "nthreads": 2}, 1, ("3 workers with 6 threads",)),
        ({"processes": 2, "blas_threads": 3}, 1, ("2 workers with 12 threads",)),
        ({"memory_limit": GB}, 2, ()),
        ({"memory_limit": "3 GB"}, 1, ("memory_limit=2.79 GiB for 1 worker", "1.86 GiB (cgroup memory.max)")),
        ({"memory_limit": GB, "processes": 3}, 1, ("for 3 workers, but the job has 1.86 GiB",)),
        ({"memory_limit": 0.5, "processes": 3}, 1, ()),
    ],
)
def test_more_than_is_granted_is_said(asked: dict[str, Any], ranks: int, words: tuple[str, ...]) -> None:
    warnings = plans(["n1"] * (ranks + 2), **asked)[2].warnings
    assert len(warnings) == bool(words)
    assert all(word in "".join(warnings) for word in words)


def test_more_workers_than_the_cpus_of_this_machine() -> None:
    assert plan_local(runtime(), settings(workers=4)).warnings == ()
    (warning,) = plan_local(runtime(), settings(workers=16)).warnings
    assert warning.startswith("16 workers with 16 threads in all on 4 CPUs")


def test_a_limit_above_the_memory_of_the_node_is_what_dask_makes_of_it() -> None:
    given = dataclasses.replace(grant(), system_memory=Sourced(GB, "RLIMIT_RSS"))
    for plan in (plans(["n1"] * 3, given, memory_limit="400GB")[2], plan_local(runtime(given=given), HUGE)):
        assert plan.memory_limit == Sourced(GB, "argument, lowered to RLIMIT_RSS")
        assert "memory_limit=372.53 GiB for 1 worker" in plan.warnings[0]


def test_fewer_blas_threads_of_the_users_environment_are_in_the_table() -> None:
    for asked, worker, client in ((1, 1, 1), (6, 4, 6), (64, 4, 8)):
        given = dataclasses.replace(grant(8), omp_threads=Sourced(asked, "OMP_NUM_THREADS"))
        ranks = plans(TWO_NODES, given, nthreads=2)
        local = plan_local(runtime(given=given), settings(workers=1, nthreads=2))
        assert [plan.blas_threads.value for plan in (ranks[1], ranks[2], local)] == [client, worker, worker]
        assert (ranks[2].blas_threads.source == "OMP_NUM_THREADS") == (asked < 4)


HUGE = settings(memory_limit="400GB", workers=1)


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        plans(TWO_NODES)[0].rank = 1  # type: ignore[misc]


CPUS, MEMORY = Sourced(6, "affinity"), Sourced(6 * GB, "/proc/meminfo")


@pytest.mark.parametrize(
    ("arguments", "threads", "memory", "blas"),
    [
        ({}, 6, 6 * GB, 1),
        ({"processes": 4}, 1, 6 * GB // 4, 1),
        ({"processes": 2, "nthreads": 1}, 1, 3 * GB, 3),
        ({"processes": 2, "memory_limit": 0.1}, 3, 6 * GB // 10, 1),
    ],
)
def test_the_three_shares_alone(arguments: dict[str, Any], threads: int, memory: int, blas: int) -> None:
    chosen = settings(**arguments)
    assert worker_threads(CPUS, chosen).value == threads
    assert worker_memory(MEMORY, chosen, Sourced(0, "not known")).value == memory
    assert worker_blas(CPUS, threads, chosen).value == blas


@pytest.mark.parametrize(
    ("arguments", "expected", "source"),
    [
        pytest.param({"workers": 2}, (2, 4, 1, GB), "argument", id="workers"),
        pytest.param({"processes": 4}, (4, 2, 1, GB // 2), "argument", id="processes"),
        pytest.param(
            {"workers": 2, "processes": 2}, (4, 2, 1, GB // 2), "argument: workers x processes", id="as-over-ranks"
        ),
        pytest.param({"nthreads": 2}, (4, 2, 1, GB // 2), "SLURM_CPUS_ON_NODE / nthreads", id="nthreads"),
        pytest.param({"nthreads": 16}, (1, 16, 1, 2 * GB), "SLURM_CPUS_ON_NODE / nthreads", id="more-than-there-are"),
        pytest.param({"workers": 2, "nthreads": 2}, (2, 2, 2, GB), "argument", id="BLAS-takes-the-rest"),
        pytest.param({"workers": 16}, (16, 1, 1, 2 * GB // 16), "argument", id="more-workers-than-CPUs"),
        pytest.param({"workers": 2, "memory_limit": "1 MB"}, (2, 4, 1, 10**6), "argument", id="bytes"),
        pytest.param({"workers": 2, "memory_limit": 0}, (2, 4, 1, 0), "argument", id="no-limit"),
        pytest.param({"workers": 2, "blas_threads": 3}, (2, 4, 3, GB), "argument", id="BLAS"),
        pytest.param({}, (4, 2, 1, GB // 2), "SLURM_CPUS_ON_NODE, as Dask divides it", id="as-Dask-divides"),
    ],
)
def test_one_machine(arguments: dict[str, Any], expected: tuple[int, int, int, int], source: str) -> None:
    plan = plan_local(runtime(given=grant(8)), settings(**arguments))
    assert numbers(plan) == expected
    assert plan.processes.source == source
    assert (plan.rank, plan.role, plan.interface.value, plan.local_directory.value) == (0, "worker", "ib0", "/local/12")


@pytest.mark.parametrize("cpus", [1, 2, 3, 5, 12, 64])
def test_one_machine_as_dask_divides_it(cpus: int) -> None:
    from distributed.deploy.utils import nprocesses_nthreads

    processes, threads, blas, memory = numbers(plan_local(runtime(given=grant(cpus)), settings()))
    assert (processes, threads) == nprocesses_nthreads(cpus)
    assert (blas, memory) == (1, 2 * GB // processes)
