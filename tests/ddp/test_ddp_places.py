"""Which workers become ranks, in which order, with which backend and environment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daskhpc.ddp.places import WorkerPlace, choose, environment, torch_backend, unused_gpus
from daskhpc.ddp.rank_task import _gpus
from daskhpc.errors import SettingsError


def worker(name: str, node: str, **about: object) -> WorkerPlace:
    place = WorkerPlace(f"tcp://{node}:{name}", name, f"{node} boot", "10.0.0.1", "ib0", 4, 1)
    return replace(place, **about)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shown", "gpus"),
    [
        ("0,3", ("0", "3")),
        ("GPU-8932f937-d72c, MIG-GPU-1/3/0", ("GPU-8932f937-d72c", "MIG-GPU-1/3/0")),
        ("NoDevFiles", ()),
        ("-1", ()),
        ("", ()),
        ("2,-1,0", ("2",)),
    ],
)
def test_the_gpus_that_cuda_shows(shown: str, gpus: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the first word that names none; Slurm writes NoDevFiles for a job without GPUs."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert _gpus() == gpus


def test_ranks_are_ordered_by_node_then_name() -> None:
    workers = [
        worker(name, node) for name, node in (("10", "node10"), ("2", "node2"), ("11", "node2"), ("1", "node10"))
    ]
    ranks = choose(workers, None)
    assert [(r.worker.hostname, r.worker.name) for r in ranks] == [
        ("node2", "2"),
        ("node2", "11"),
        ("node10", "1"),
        ("node10", "10"),
    ]
    assert [(r.rank, r.local_rank, r.node_rank) for r in ranks] == [(0, 0, 0), (1, 1, 0), (2, 0, 1), (3, 1, 1)]
    assert {(r.local_world_size, r.world_size, r.nodes) for r in ranks} == {(2, 4, 2)}


def test_a_node_is_filled_first_and_idle_workers_are_preferred() -> None:
    workers = [worker(str(n), f"node{n % 2}", busy=n in (0, 2)) for n in range(6)]
    assert [r.worker.name for r in choose(workers, 3)] == ["1", "3", "5"]
    assert [r.worker.name for r in choose(workers, 1)] == ["1"]
    two = [worker("0", "node0", busy=True), worker("1", "node0")]
    assert choose(two, 1)[0].worker.name == "1"


@pytest.mark.parametrize(
    ("count", "found"), [(0, "0 worker processes"), (1, "1 worker process"), (2, "2 worker processes")]
)
def test_too_few_workers(count: int, found: str) -> None:
    with pytest.raises(SettingsError) as caught:
        choose([worker(str(n), "node1") for n in range(count)], 3)
    assert caught.value.found == found
    with pytest.raises(SettingsError):
        choose([], None)


def test_a_gpu_of_its_own_for_every_rank_or_none() -> None:
    shared = [worker(str(n), "node1", gpus=("0", "1")) for n in range(4)]
    assert [r.gpus for r in choose(shared, None)] == [("0", "1")] * 2
    assert torch_backend("auto", choose(shared, None)) == "cpu:gloo,cuda:nccl"
    assert torch_backend("auto", choose(shared, 3)) == "gloo"
    assert len(choose(shared, None, "gloo")) == 4
    own = [worker(str(n), f"node{n}", gpus=(str(n),)) for n in range(2)]
    assert [r.gpus for r in choose(own, None)] == [("0",), ("1",)]
    mixed = [worker("0", "node0", gpus=("0",)), worker("1", "node1")]
    assert torch_backend("auto", choose(mixed, None)) == "gloo"
    assert torch_backend("ucc", choose(mixed, None)) == "ucc"


@pytest.mark.parametrize(
    ("gpus", "world_size", "found"), [((), None, "2 ranks, 0 GPUs on 1 node"), (("0",), 2, "2 ranks, 1 GPU on 1 node")]
)
@pytest.mark.parametrize("backend", ["nccl", "cpu:gloo,cuda:nccl"])
def test_nccl_needs_a_gpu_for_each_rank(
    gpus: tuple[str, ...], world_size: int | None, found: str, backend: str
) -> None:
    workers = [worker(str(n), "node1", gpus=gpus) for n in range(2)]
    with pytest.raises(SettingsError) as caught:
        choose(workers, world_size, backend)
    assert caught.value.found == found


def test_the_environment_is_torchruns_and_no_other_launchers() -> None:
    before = {
        "SLURM_PROCID": "7",
        "SLURM_STEP_NODELIST": "n",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_JOB_ID": "4711",
        "SLURM_CPUS_PER_TASK": "4",
        "PMI_RANK": "3",
        "PMIX_RANK": "3",
        "OMPI_COMM_WORLD_SIZE": "9",
        "GLOO_SOCKET_IFNAME": "eth1",
    }
    changes = environment(choose([worker("0", "node1")], 1)[0], before, "abc", 4, 1, 2)
    removed = {name for name, value in changes.items() if value is None}
    assert removed == set(before) - {"SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "GLOO_SOCKET_IFNAME"}
    assert "GLOO_SOCKET_IFNAME" not in changes
    assert changes["NCCL_SOCKET_IFNAME"] == "ib0"
    assert (changes["OMP_NUM_THREADS"], changes["TORCHELASTIC_RESTART_COUNT"]) == ("4", "1")
    assert changes["BLIS_NUM_THREADS"] == "4"  # as every library that a worker caps


def test_gpus_without_a_rank_are_told() -> None:
    gpus = ("0", "1", "2", "3")
    one_process = [worker(str(n), f"node{n}", gpus=gpus) for n in range(2)]
    assert unused_gpus(one_process, choose(one_process, None)) == (
        "2 ranks for 8 GPUs, because a rank is a worker process: "
        "--processes 4, with one task on each node, starts one for each GPU"
    )
    for workers in ([worker(str(n), "node0", gpus=gpus) for n in range(5)], [worker("0", "node0")]):
        assert unused_gpus(workers, choose(workers, None)) == ""
    assert unused_gpus(one_process, choose(one_process, None, "gloo")) == ""
