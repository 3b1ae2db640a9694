"""Trainings that were ended go on exactly: weights to the last bit, every sample once; files are whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest
import torch
from waiting import until

from daskhpc.ddp import RankContext, context, load, train
from daskhpc.ddp.checkpoints import check_states, file_name, files, prune, read, save
from daskhpc.errors import SettingsError, TrainingError

ROUNDS = int(os.environ.get("DDP_ROUNDS", "1"))


@pytest.fixture(scope="module")
def undisturbed(_two_workers: Any) -> Any:
    _two_workers.wait_for_workers(2, timeout=120)
    with _two_workers.as_current():
        return train(programs.noisy, 3, progress=False)


def test_a_killed_training_restarts_with_the_same_end(client: Any, undisturbed: Any, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    fault = {"fault": "SIGKILL 15 1", "save_every": 4, "kept": str(tmp_path / "happened")}
    result = train(programs.noisy, 3, **fault, checkpoint=folder, keep=1, max_restarts=1, progress=False)
    assert result.restarts == 1
    assert np.array_equal(result[0], undisturbed[0])
    assert [path.name for path in files(folder)] == ["epoch-0002.pt", "epoch-0003.pt"]
    assert result.checkpoint == folder / "epoch-0003.pt"
    ours, theirs = (t.sort_values(["rank", "step"], ignore_index=True) for t in (result.log, undisturbed.log))
    assert ours.drop(columns="time").equals(theirs.drop(columns="time"))
    assert np.array_equal(flat(load(folder)["model"]), result[0])
    assert set(load(folder, best=True)) == {"model", "optimizer", "scheduler"}
    assert not [name for name in read(folder / "epoch-0003.pt")["state"]["model"] if name.startswith("module.")]
    assert read(folder / "epoch-0003.pt")["best"] == {"file": "epoch-0002.pt", "metric": 1e9}


def test_a_lost_workers_rank_goes_to_the_one_that_replaces_it(
    client: Any, undisturbed: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fault = {"fault": "worker 15 1", "save_every": 4, "kept": str(tmp_path / "happened")}
    result = train(programs.noisy, 3, **fault, checkpoint=tmp_path / "kept", max_restarts=1)
    assert result.restarts == 1
    assert np.array_equal(result[0], undisturbed[0])
    assert " was lost with its Dask worker: " in (shown := capfd.readouterr().err)
    assert " Restart 1 of 1, from epoch-0002.pt.\n" in shown


def test_a_lost_workers_rank_runs_on_a_living_worker(client: Any, tmp_path: Path) -> None:
    """The other worker, or the lost one's successor if that is there first."""
    result = train(programs.lost_once, str(tmp_path / "lost"), world_size=1, max_restarts=1, progress=False)
    assert result.restarts == 1
    client.wait_for_workers(2, timeout=120)
    assert result[0] in client.run(os.getpid).values()


def test_an_exception_at_the_start_is_not_repeated(client: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no such tile"):
        train(programs.raises_at_once, str(tmp_path / "begun"), world_size=1, max_restarts=3, progress=False)
    assert (tmp_path / "begun").read_text() == "begun\n"


def flat(state: dict[str, Any]) -> Any:
    return np.concatenate([value.numpy().ravel() for value in state.values()])


@pytest.mark.parametrize("number", range(ROUNDS))
def test_another_run_goes_on_from_a_random_step(client: Any, undisturbed: Any, tmp_path: Path, number: int) -> None:
    draw = random.Random(number)
    fault = f"{draw.choice(['SIGKILL', 'exit', 'raise'])} {draw.randint(1, 17)} {draw.randint(0, 1)}"
    kept = {"save_every": draw.choice([None, 1, 5]), "checkpoint": tmp_path / "kept", "progress": False}
    with pytest.raises(TrainingError):
        train(programs.noisy, 3, fault=fault, kept=str(tmp_path / "happened"), **kept)
    result = train(programs.noisy, 3, **kept)
    assert np.array_equal(result[0], undisturbed[0]), fault


def test_two_ranks_then_one_see_every_sample_once(client: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="ended before its time"):
        train(programs.counted, str(tmp_path), 1, "raise", checkpoint=tmp_path / "kept", progress=False)
    assert files(tmp_path / "kept")[-1].name == "epoch-0000-step-00000004.pt"
    train(programs.counted, str(tmp_path), 2, checkpoint=tmp_path / "kept", progress=False, world_size=1)
    seen: Counter[str] = Counter()
    for name in ("2-0", "2-1"):
        seen.update(" ".join((tmp_path / name).read_text().splitlines()[:4]).split())
    seen.update((tmp_path / "1-0").read_text().split())
    assert seen == Counter(f"{epoch}:{index}" for epoch in range(2) for index in range(26))


def test_an_object_that_could_not_be_read_back_is_refused_by_name(client: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"The state of 'strange' cannot be saved") as caught:
        train(programs.unreadable, checkpoint=tmp_path, progress=False)
    assert "strange['nested'][0]['odd'] is" in str(caught.value.__cause__)


LIMITED = """
import sys, time
from pathlib import Path
sys.path[:0] = {path!r}
import programs, daskhpc
from daskhpc.cluster.timelimit import TimeLimit, TimeLimitWatcher
from distributed import Client, LocalCluster

class InTheMiddle:
    # The time limit is near as soon as the ranks are in the middle of an epoch.
    margin, patience, grace, source = 60.0, 20.0, 10.0, "a test"

    @property
    def end(self):
        return time.time() // 0.25 * 0.25 + self.margin + (-1 if Path("middle").exists() else 0.5)

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        if "limit" in sys.argv:
            TimeLimitWatcher(InTheMiddle())
        result = daskhpc.ddp.train(programs.lasting, 0.2, str(Path("middle").absolute()), checkpoint="kept")
        print("weights", result[0].tobytes().hex())
"""


def test_at_the_time_limit_all_ranks_save_at_the_same_step_and_go_on(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(LIMITED.format(path=[*map(str, Path(__file__).parents[:2])]))

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, program, *args], cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False
        )

    ended = run("limit")
    assert ended.returncode == 75, ended.stderr
    (kept,) = files(tmp_path / "kept")[-1:]
    content = read(kept)
    assert 0 < content["step"] < 200
    assert content["loaders"] == [{"passes": 0, "samples_done": 2 * content["step"] % 200, "seed": 0}]
    status = subprocess.run(
        [Path(sys.executable).with_name("daskhpc"), "status", "kept"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "submit the same job again" in status.stdout, status.stdout
    assert f"  epochs  {content['epoch']} of 2 done" in status.stdout, status.stdout
    again, fresh = run(), None
    assert again.returncode == 0, again.stderr
    (tmp_path / "kept").rename(tmp_path / "old")
    fresh = run()
    assert again.stdout == fresh.stdout
    assert "weights" in again.stdout


@pytest.mark.parametrize("number", range(5 * ROUNDS))
def test_a_loop_that_saves_is_killed(tmp_path: Path, number: int) -> None:
    """The folder always has a whole checkpoint that is one of the last two."""
    child = os.fork()
    if not child:
        try:
            for epoch in range(1, 100000):
                save(tmp_path, file_name(epoch), {"format": 1, "state": {"model": {"w": torch.full((20000,), epoch)}}})
                prune(tmp_path, 2, None)
        finally:
            os._exit(1)
    try:
        until(lambda: files(tmp_path))
        time.sleep(random.Random(number).random() * 0.3)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    found = files(tmp_path)
    assert 1 <= len(found) <= 3
    for path in found:
        assert float(load(path)["model"]["w"].sum()) == 20000 * int(path.stem.removeprefix("epoch-"))


def test_what_load_refuses(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such checkpoint"):
        load(tmp_path / "nothing.pt")
    with pytest.raises(SettingsError, match="no checkpoint in the folder"):
        load(tmp_path)
    torch.save({"model": Path("x")}, tmp_path / "bad.pt")
    with pytest.raises(TrainingError, match="cannot be read as data"):
        load(tmp_path / "bad.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(TrainingError, match="no checkpoint"):
        load(tmp_path / "list.pt")


def test_a_training_does_not_go_on_from_a_checkpoint_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, file_name(1), {"state": {}})
    assert read(tmp_path / file_name(1), own=True) == {"state": {}}
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(TrainingError, match=r"not trusted[\s\S]*this process runs as user 12345"):
        read(tmp_path / file_name(1), own=True)
    assert read(tmp_path / file_name(1)) == {"state": {}}, "what load() is asked for by name may be anybody's"


def test_states_that_are_data_are_fine() -> None:
    check_states({"a": {"b": [1, 2.0, "x", None, torch.ones(2)]}})


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    names = [file_name(1), file_name(1, 9), file_name(2), file_name(10)]
    for name in reversed(names):
        (tmp_path / name).touch()
    (tmp_path / "epoch-7.pt").touch()  # of another program
    assert [path.name for path in files(tmp_path)] == names
    prune(tmp_path, 1, names[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == [names[0], names[3], "epoch-7.pt"]
    assert files(tmp_path / "nowhere") == []


def test_a_metric_of_numpy_or_torch_can_be_read_back_and_nan_is_not_the_best(tmp_path: Path) -> None:
    metrics = [float("nan"), np.float64(0.25), torch.tensor(0.75), np.float32(0.5)]
    run = alone(tmp_path)
    for epoch in run.epochs(4, model=torch.nn.Linear(1, 1)):
        run.metric = metrics[epoch]
    last = read(files(tmp_path)[-1])
    assert (last["metric"], last["best"]) == (0.5, {"file": "epoch-0003.pt", "metric": 0.75})
    assert set(load(tmp_path, best=True)) == {"model"}


def test_a_file_of_another_program_is_no_checkpoint(tmp_path: Path) -> None:
    save(tmp_path, file_name(3), torch.nn.Linear(1, 1).state_dict())
    run = alone(tmp_path, resume=str(tmp_path / file_name(3)))
    with pytest.raises(TrainingError, match=r"of another program[\s\S]*epoch-0003.pt"):
        run.resume(model=torch.nn.Linear(1, 1))


def test_a_second_loop_over_epochs_would_lose_its_checkpoints(tmp_path: Path) -> None:
    """Its files would have the names of the first one's, and be older than those."""
    run = alone(tmp_path)
    for _ in run.epochs(3, model=torch.nn.Linear(1, 1)):
        pass
    with pytest.raises(SettingsError, match="has one loop of epochs"):
        next(run.epochs(2, model=torch.nn.Linear(1, 1)))


def alone(folder: Path, **settings: Any) -> RankContext:
    """The context of a training's only rank, in this process."""
    settings = {"checkpoint": str(folder), "keep": 2, **settings}
    return RankContext(context().place, torch.device("cpu"), None, settings)


def starts_of_epochs(mark: str) -> None:
    """A row before the first batch of each epoch; ends once in the second one."""
    run = context()
    model = torch.nn.Linear(1, 1)
    batches = run.loader(programs.Points(8), 4)
    for epoch in run.epochs(3, model=model):
        run.log(lr=0.5**epoch, time=-epoch)  # a column that the log has itself
        for _ in batches:
            if run.steps == 3 and not os.path.exists(mark):
                Path(mark).touch()
                run.link.report()
                os._exit(3)


def test_a_restart_logs_nothing_twice(client: Any, tmp_path: Path) -> None:
    keep = {"checkpoint": tmp_path / "kept", "max_restarts": 1, "world_size": 1, "progress": False}
    result = train(starts_of_epochs, str(tmp_path / "ended"), **keep)
    assert result.restarts == 1
    assert result.log.epoch.tolist() == [0, 1, 2]
    assert result.log.log_time.tolist() == [0, -1, -2]
