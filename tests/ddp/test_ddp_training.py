"""Trainings over real workers: places, mathematics, log, data, torchrun's scripts, several at once, leftovers."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import programs
import psutil
import pytest
from waiting import until

import daskhpc
from daskhpc.ddp import train
from daskhpc.ddp.attempt import Attempt
from daskhpc.ddp.progress_lines import TrainingView
from daskhpc.errors import SettingsError, TrainingError

ENVIRONMENT = """
import json, os, sys
import torch, torch.distributed as dist
dist.init_process_group("gloo")
one = torch.ones(1); dist.all_reduce(one)
names = ("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_", "WORLD_SIZE", "LOCAL_WORLD", "GROUP_WORLD", "MASTER_", "TORCH",
         "PMI", "SLURM_", "OMPI_")
found = {k: v for k, v in os.environ.items() if k.startswith(names)}
with open(f"{sys.argv[1]}-{dist.get_rank()}", "w") as file:
    json.dump({"env": found, "sum": one.item(), "argv": sys.argv[1:]}, file)
dist.destroy_process_group()
"""


def test_ranks_are_processes_of_their_own(client: Any, capfd: pytest.CaptureFixture[str]) -> None:
    workers = client.run(os.getpid)
    result = train(programs.place, client=client)
    assert [r["ranks"] for r in result] == [(0, 2, 0, 2, 0), (1, 2, 1, 2, 0)]
    assert len({r["pid"] for r in result} | set(workers.values())) == 4
    assert {r["mean"] for r in result} == {2 / 3}
    assert {(r["threads"], r["device"]) for r in result} == {(1, "cpu")}
    assert all(r["launched"] for r in result), "what Lightning and Accelerate ask before they look for Slurm or MPI"
    assert {ip for r in result for ip, _ in r["listening"]} == {"127.0.0.1"}
    rows = result.log[["rank", "loss"]].sort_values(["rank", "loss"])
    assert rows.to_numpy().tolist() == [[0, 0.25], [0, 0.5], [1, 1.5]]
    assert (result.restarts, result.checkpoint, result.world_size) == (0, None, 2)
    assert not any(client.run(lambda: "torch" in sys.modules).values())
    shown = capfd.readouterr()
    assert "this is rank 0\n" in shown.out
    assert "and its errors 0\n" in shown.err
    until(lambda: not any(psutil.pid_exists(r["pid"]) for r in result))


def test_what_is_shown_and_what_a_log_costs(client: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def redirect() -> None:
        sys.stderr = io.StringIO()

    def restore() -> str:
        written: Any = sys.stderr
        sys.stderr = sys.__stderr__
        return str(written.getvalue())

    client.run(redirect)
    try:
        result = train(programs.talkative, 20_000, checkpoint=tmp_path / "kept")
    finally:
        logs = client.run(restore)
    assert max(result) < 100e-6, "more than 1 % of a step of 10 ms"
    assert len(result.log) == 2 * (20_000 + 4)
    shown = capfd.readouterr()
    assert "global batch 8 = 4 on each of 2 ranks, of 16 samples\n" in shown.err
    assert "epoch 1 of 2 done   loss 0.125   saved\n" in shown.err
    assert "epoch 2 of 2 done   loss 0.125   saved\n" in shown.err
    assert shown.out == "rank 0 has a batch\n" * 4
    host = os.uname().nodename.split(".")[0]
    assert sorted(logs.values()) == ["", f"[rank 1 {host}] rank 1 has a batch\n" * 4]


def test_two_ranks_train_as_one_process_with_the_same_global_batch(client: Any) -> None:
    two = train(programs.curve, 64, 8, 5, client=client, progress=False)
    one = train(programs.curve, 64, 16, 5, client=client, progress=False, world_size=1)[0]
    np.testing.assert_allclose(two[0]["losses"], one["losses"], rtol=1e-5)
    np.testing.assert_allclose(two[0]["first"], one["first"], rtol=1e-6, atol=1e-7)
    assert np.array_equal(two[0]["weights"], two[1]["weights"])
    orders = [two[0]["seen"][epoch] + two[1]["seen"][epoch] for epoch in range(5)]
    assert all(sorted(order) == list(range(64)) for order in orders)
    assert len({tuple(order) for order in orders}) == 5
    assert two[0]["batches"] == 4
    assert len(two.log) == 2 * 5 * 4
    assert two.log.step.max() == 20
    assert two.log.epoch.max() == 4


def test_a_script_for_torchrun_runs_unchanged(client: Any, tmp_path: Path) -> None:
    import json

    script = tmp_path / "a script.py"
    script.write_text(ENVIRONMENT)
    foreign = {"SLURM_PROCID": "5", "PMI_RANK": "5", "OMPI_COMM_WORLD_SIZE": "9", "SLURM_JOB_ID": "4711"}
    client.run(lambda: os.environ.update(foreign))
    try:
        train(script, tmp_path / "ours", client=client, progress=False)
    finally:
        client.run(lambda: [os.environ.pop(name) for name in foreign] and None)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", script, tmp_path / "theirs"]
    subprocess.run(torchrun, check=True, timeout=200, capture_output=True)
    for rank in range(2):
        ours, theirs = (json.loads((tmp_path / f"{name}-{rank}").read_text()) for name in ("ours", "theirs"))
        assert (ours["sum"], ours["argv"]) == (2.0, [str(tmp_path / "ours")])
        assert ours["env"].pop("SLURM_JOB_ID") == "4711"
        differ = {"MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_ERROR_FILE"}
        # The last one torch sets in any process that has loaded its compiler, as this one may have.
        differ |= {"TORCHELASTIC_SIGNALS_TO_HANDLE", "TORCHINDUCTOR_CACHE_DIR"}
        assert {k: v for k, v in ours["env"].items() if k not in differ} == {
            k: v for k, v in theirs["env"].items() if k not in differ
        }


WITH_A_CONTEXT = """
import sys
import torch, daskhpc
torch.distributed.init_process_group("gloo")
run = daskhpc.ddp.context()
model = run.prepare(torch.nn.Linear(2, 1))
batches = run.loader(torch.utils.data.TensorDataset(torch.ones(8, 2)), 2)
for epoch in run.epochs(2, model=model):
    for (x,) in batches:
        model(x).sum().backward()
print(run.device, run.steps, type(model).__name__, file=open(f"{sys.argv[1]}-{run.rank}", "w"))
"""


def test_a_script_has_all_of_the_context(client: Any, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(WITH_A_CONTEXT)
    done = train(script, tmp_path / "said", checkpoint=tmp_path / "kept", client=client, progress=False)
    said = [(tmp_path / f"said-{rank}").read_text() for rank in range(2)]
    assert said == ["cpu 4 DistributedDataParallel\n"] * 2
    assert done.checkpoint == tmp_path / "kept" / "epoch-0002.pt"
    script.write_text(WITH_A_CONTEXT.replace("torch.distributed.init_process_group", "str"))
    with pytest.raises(TrainingError, match="opens its process group itself"):
        train(script, tmp_path / "said", client=client, progress=False)


class Full(io.StringIO):
    """A file on a disk without room."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_a_rank_prints_and_cannot_be_written_ends_the_training(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OSError, match="No space left"):
        train(programs.talkative, 1, client=client)


def test_what_cannot_be_encoded_or_shown_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, "ascii"))
    monkeypatch.setattr(sys, "stderr", Full())
    view = TrainingView(True)
    view.told({"kind": "output", "rank": 0, "lines": ["10 °C"]})
    view.say("epoch 1 done")
    assert buffer.getvalue() == b"10 ?C\n"


def test_two_trainings_at_once_both_finish(client: Any) -> None:
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.append(train(programs.place, client=client, progress=False)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
    assert [len(result) for result in results] == [2, 2]


def test_too_few_workers_are_told_at_once(client: Any) -> None:
    began = time.monotonic()
    with pytest.raises(SettingsError, match="A training of 3 ranks needs as many worker processes"):
        train(programs.place, world_size=3, client=client, start_timeout=3600)
    assert time.monotonic() - began < 200


def test_a_busy_worker_is_named_and_nothing_is_left_queued(client: Any, tmp_path: Path) -> None:
    go = tmp_path / "go"

    def hold() -> None:
        until(go.exists, 200)

    address = sorted(client.ncores())[0]
    busy = client.submit(hold, workers=[address], key="a-long-task", pure=False)
    try:
        until(lambda: client.processing()[address])
        with pytest.raises(TrainingError, match=r"Only 1 of 2 ranks could begin within 8\.0 s") as caught:
            train(programs.place, client=client, start_timeout="8 s")
        assert f"({address}) is busy with a-long-task" in caught.value.found
        until(lambda: sum(len(tasks) for tasks in client.processing().values()) == 1)
    finally:
        go.touch()
        busy.result(timeout=60)
    until(lambda: not any(client.processing().values()))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"world_size": 0}, "world_size="),
        ({"keep": 0}, "keep="),
        ({"max_restarts": -1}, "max_restarts="),
        ({"timeout": "soon"}, "A timeout"),
        ({"start_timeout": 0}, "A timeout"),
        ({"progress": "never"}, "progress="),
        ({"backend": 1}, "backend="),
        ({"env": {"NCCL_IB_DISABLE": 1}}, "env="),
    ],
)
def test_settings_that_cannot_be(client: Any, wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        train(programs.place, client=client, **wrong)


def test_without_a_client_or_a_function() -> None:
    with pytest.raises(SettingsError, match="needs the workers of a Dask client"):
        train(programs.place)


def test_what_is_no_function(client: Any) -> None:
    with pytest.raises(SettingsError, match="There is no such script"):
        train("nothing.py", client=client)
    with pytest.raises(SettingsError, match="a function or a script"):
        train(3, client=client)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="takes arguments as texts"):
        train(__file__, client=client, lr=1)


def data_of_a_node(path: str, count: int) -> dict[str, Any]:
    """An array of so many numbers once in the node's memory, and a loader with processes."""
    import torch

    run = daskhpc.ddp.context()
    before = psutil.Process().memory_full_info().pss

    def made() -> np.ndarray[Any, Any]:
        Path(f"{path}-{run.rank}").touch()
        return np.full(count, 7.0)

    array = run.shared(made)
    small = run.shared(np.arange(4))
    total = array.sum()
    run.mean(0)  # a page that both have read counts half for each
    grown = psutil.Process().memory_full_info().pss - before
    run.mean(0)
    if run.rank == 1:
        array[0] = small[3]
    run.mean(0)
    loader = run.loader(torch.utils.data.TensorDataset(torch.arange(12)), 2, num_workers=2, shuffle=False)
    batches = [batch.tolist() for (batch,) in loader]
    run.mean(0)
    return {"first": float(array[0]), "total": float(total), "grown": grown, "batches": batches}


def test_data_once_per_node_and_loaders_with_processes(client: Any, tmp_path: Path) -> None:
    count = 25_000_000 if os.environ.get("DDP_ROUNDS") is None else 125_000_000  # 200 MB or 1 GB
    found = train(data_of_a_node, str(tmp_path / "made"), count, client=client, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["made-0"]
    assert [r["first"] for r in found] == [7.0, 3.0]
    assert [r["total"] for r in found] == [7.0 * count, 7.0 * count]
    grown = sum(r["grown"] for r in found)
    print(f"{8 * count / 1e6:.0f} MB: the node's memory has grown by {grown / 1e6:.0f} MB")
    assert grown < 1.2 * 8 * count
    assert found[1]["batches"] == [[1, 3], [5, 7], [9, 11]]


def seconds_for_shared_data() -> list[float]:
    import torch

    stores: list[Any] = []
    store = torch.distributed.TCPStore
    torch.distributed.TCPStore = lambda *args, **options: stores.append(store(*args, **options)) or stores[-1]
    daskhpc.ddp.context().shared(np.ones(3))
    return [each.timeout.total_seconds() for each in stores]


def test_data_of_a_node_are_waited_for_as_long_as_the_timeout(client: Any) -> None:
    assert list(train(seconds_for_shared_data, timeout="7 min", client=client, progress=False)) == [[420.0]] * 2


OF_MAIN = """
from distributed import Client, LocalCluster
import torch, daskhpc

class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, index):
        return torch.tensor(index)

def fit():
    run = daskhpc.ddp.context()
    return [batch.tolist() for batch in run.loader(
        Numbers(), 2, shuffle=False, num_workers=1, collate_fn=lambda items: torch.stack(items),
        multiprocessing_context="forkserver")]

if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        print(daskhpc.ddp.train(fit, progress=False)[0])
"""


def test_loaders_processes_have_a_dataset_of_the_program(tmp_path: Path) -> None:
    """As Python 3.14 starts them."""
    program = tmp_path / "program.py"
    program.write_text(OF_MAIN)
    run = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=300, check=False)
    assert run.stdout == "[[0, 1], [2, 3]]\n", run.stderr


def test_memory_beyond_the_workers_limit_is_told(client: Any) -> None:
    def greedy() -> None:
        kept = [np.ones(5_000_000) for _ in range(60)]  # 2.4 GB, however late somebody looks
        time.sleep(600)
        del kept

    with pytest.raises(TrainingError, match=r"Rank 0 of 1 on .* used too much memory.*GiB of 2.00 GiB"):
        train(greedy, client=client, world_size=1)


def test_a_program_that_is_interrupted_leaves_no_rank(client: Any, tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    def forever() -> None:
        with open(pids, "a") as file:
            print(os.getpid(), file=file)
        time.sleep(600)

    def interrupt() -> None:
        until(lambda: pids.exists() and len(pids.read_text().split()) == 2, 200)
        os.kill(os.getpid(), 2)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        train(forever, client=client)
    thread.join()
    until(lambda: not any(psutil.pid_exists(int(pid)) for pid in pids.read_text().split()))
    until(lambda: not any(client.processing().values()))


LEAVES = """
import atexit, sys, threading
file = open(sys.argv[1], "w")
file.write("written\\n")
threading.Thread(target=lambda: (threading.main_thread().join(60), file.write("by a thread\\n"))).start()
def last():
    file.write("at exit\\n")
atexit.register(last)
"""


def test_a_script_ends_as_a_program_of_python_does(client: Any, tmp_path: Path) -> None:
    """Its threads are waited for, its exit handlers run, and a file that it left open is complete."""
    script = tmp_path / "script.py"
    script.write_text(LEAVES)
    train(script, tmp_path / "file", client=client, world_size=1, progress=False)
    assert (tmp_path / "file").read_text() == "written\nby a thread\nat exit\n"


class TouchedWhenSent:
    """A value that notes that it is on its way."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        Path(self.path).touch()
        return str, ("sent",)


def later(path: str) -> Any:
    """Rank 1 needs the store when rank 0 has returned."""
    import torch.distributed as dist

    if daskhpc.ddp.context().rank == 0:
        return TouchedWhenSent(path)
    until(Path(path).exists, 120)
    store = dist.TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), None, False, timeout=timedelta(seconds=60)
    )
    store.set("a", "value")
    return store.get("a").decode()


def test_the_store_serves_until_all_ranks_are_done(client: Any, tmp_path: Path) -> None:
    assert list(train(later, str(tmp_path / "sent"), client=client, progress=False)) == ["sent", "value"]


def prepared() -> Any:
    return {"model": daskhpc.ddp.context().prepare(programs.network())}


def test_a_model_that_is_returned_can_be_used_without_a_process_group(client: Any) -> None:
    found = train(prepared, client=client, progress=False)
    assert [type(each["model"]).__name__ for each in found] == ["Sequential"] * 2


def test_the_start_timeout_begins_when_the_workers_are_reserved(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another training may have them until then."""
    go, reserve = tmp_path / "go", Attempt._reserve

    def hold() -> None:
        until(go.exists, 200)

    async def late(attempt: Attempt) -> None:
        await asyncio.sleep(2)
        await reserve(attempt)

    monkeypatch.setattr(Attempt, "_reserve", late)
    busy = client.submit(hold, workers=[min(client.ncores())], pure=False)
    try:
        until(lambda: any(client.processing().values()))
        began = time.monotonic()
        with pytest.raises(TrainingError, match="Only 1 of 2 ranks could begin within 8"):
            train(programs.place, client=client, start_timeout="8 s", progress=False)
        assert time.monotonic() - began >= 10
    finally:
        go.touch()
        busy.result(timeout=60)


def test_workers_that_are_threads_of_one_process_are_one_rank() -> None:
    from distributed import Client, LocalCluster

    options = {"processes": False, "n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster, set_as_default=False) as threads:
        assert len(train(programs.place, client=threads, progress=False)) == 1
        with pytest.raises(SettingsError, match="needs as many worker processes"):
            train(programs.place, client=threads, world_size=2)
