"""Predictions for whole datasets: every sample once, in order, also if a worker is lost; tables of classes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest
import torch
from waiting import until

import daskhpc
from daskhpc.ddp import evaluate, train
from daskhpc.ddp.saving import plain
from daskhpc.errors import SettingsError


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
def test_equal_to_one_process_for_every_count(client: Any, count: int) -> None:
    model, data = programs.network(dropout=0.5), programs.Points(count)
    model.train()
    found = evaluate(model, data, batch_size=64 if count == 1000 else 1)
    assert model.training
    with torch.inference_mode():
        model.eval()
        expected = [model(torch.stack([data[i][0] for i in range(s, min(s + 64, count))])) for s in range(0, count, 64)]
    if count == 1000:
        torch.set_num_threads(1)
        assert np.array_equal(found, torch.cat(expected).numpy())
    else:
        np.testing.assert_allclose(found.ravel(), torch.cat(expected).numpy().ravel() if expected else [], rtol=1e-6)
    assert not any(client.run(lambda: "torch" in __import__("sys").modules).values())


class Killing(programs.Points):
    """Kills a Dask worker, once, from the process that predicts for it."""

    def __init__(self, count: int, mark: str) -> None:
        super().__init__(count)
        self.mark = mark

    def __getitem__(self, index: int) -> Any:
        if index == self.count // 2 and not os.path.exists(self.mark):
            Path(self.mark).touch()
            import psutil

            server = psutil.Process().parent()
            assert server is not None
            os.kill(server.ppid(), signal.SIGKILL)
        return super().__getitem__(index)


def test_a_lost_worker_costs_nothing(client: Any, tmp_path: Path) -> None:
    model, data = programs.network(), Killing(200, str(tmp_path / "killed"))
    found = evaluate(model, data, batch_size=10)
    assert (tmp_path / "killed").exists()
    assert np.array_equal(found, evaluate(model, programs.Points(200), batch_size=10))
    client.wait_for_workers(2, timeout=120)


def within_training(count: int) -> Any:
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))  # a buffer, which DDP sends around
    run = daskhpc.ddp.context()
    model[1].running_mean.fill_(0.5 * run.rank)  # rank 0's count, as in a checkpoint
    model = run.prepare(model)
    return evaluate(model, programs.Points(count), batch_size=4)


def test_ranks_share_an_evaluation(client: Any) -> None:
    found = train(within_training, 11, progress=False)
    expected = within_training(11)
    assert np.array_equal(found[0], expected)
    assert np.array_equal(found[1], expected)


class Failing(torch.nn.Module):
    def forward(self, x: Any) -> Any:
        raise ValueError("no such class")

    def labels(self, x: Any) -> Any:
        return x.sum(1).round().long()


def test_a_method_and_an_error(client: Any) -> None:
    found = evaluate(Failing(), programs.Points(5), method="labels", batch_size=2)
    assert (found.dtype, found.shape) == (np.int64, (5,))
    with pytest.raises(ValueError, match="no such class"):
        evaluate(Failing(), programs.Points(5))
    until(lambda: not any(client.run(programs.children).values()), 120)  # idle ones of other tests end after a minute


class LostSample(Exception):
    def __init__(self, index: int, path: str) -> None:
        super().__init__(f"sample {index} is not in {path}")


class Lossy(programs.Points):
    def __getitem__(self, index: int) -> Any:
        raise LostSample(index, "a file")


def test_an_error_of_the_program_s_own_kind(client: Any) -> None:
    with pytest.raises(LostSample, match="sample 0 is not in a file") as caught:
        evaluate(programs.network(), Lossy(5))
    assert caught.traceback[-1].name == "__getitem__"


def test_what_cannot_be_evaluated() -> None:
    with pytest.raises(SettingsError, match="a length and an index"):
        evaluate(torch.nn.Identity(), iter([1]))
    with pytest.raises(SettingsError, match="batch_size="):
        evaluate(torch.nn.Identity(), [1], batch_size=0)


def test_crosstab() -> None:
    table = daskhpc.report.crosstab([0, 1, 1, 2], np.array([0, 1, 0, 1]), names=["sea", "river", "forest", "golf"])
    assert table.to_numpy().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert list(table.columns) == list(table.index) == ["sea", "river", "forest", "golf"]
    assert (table.index.name, table.columns.name) == ("actual", "predicted")
    with pytest.raises(ValueError, match="2 actual and 1 predicted"):
        daskhpc.report.crosstab([1, 2], [1])
    for number in (-1, 2):
        with pytest.raises(ValueError, match="none of 0 to 1"):
            daskhpc.report.crosstab([0, number], [0, 1], names=["sea", "river"])


def test_what_the_program_has_frozen_stays_frozen() -> None:
    """A fine-tuning that keeps its BatchNorm in evaluation mode evaluates between two epochs."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    model[1].eval()
    evaluate(model, programs.Points(4))
    assert [module.training for module in model.modules()] == [True, True, False]


def test_a_model_with_several_outputs_is_refused() -> None:
    class Two(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x, 2 * x

        def second(self, x: Any) -> Any:
            return self(x)[1]

    with pytest.raises(SettingsError, match=r"one array of predictions[\s\S]*tuple"):
        evaluate(Two(), programs.Points(4), batch_size=2)
    assert evaluate(Two(), programs.Points(4), batch_size=2, method="second").shape == (4, 2)


def test_a_model_is_found_within_compile_and_ddp_in_any_order() -> None:
    dist = torch.distributed
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = torch.nn.Linear(2, 1)
        ddp = torch.nn.parallel.DistributedDataParallel
        assert plain(torch.compile(ddp(model))) is model
        assert plain(ddp(torch.compile(model))) is model
    finally:
        dist.destroy_process_group()
