"""The order of samples and their shares."""

from __future__ import annotations

import itertools
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import IterableDataset
from torch.utils.data.distributed import DistributedSampler

import daskhpc
from daskhpc.ddp import rank_context
from daskhpc.ddp.evaluation import shares as ranges
from daskhpc.ddp.loaders import shares
from daskhpc.errors import SettingsError


@given(st.integers(1, 50), st.integers(1, 7), st.booleans())
def test_shares_are_those_of_torch(count: int, world_size: int, drop_last: bool) -> None:
    order = list(range(count))
    for rank in range(world_size):
        sampler = DistributedSampler(order, world_size, rank, shuffle=False, drop_last=drop_last)  # type: ignore[arg-type]
        if drop_last and count < world_size:
            continue  # torch refuses it
        assert shares(order, 0, rank, world_size, drop_last) == list(sampler)


@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 5))
def test_what_is_left_goes_to_any_number_of_ranks(count: int, batch: int, before: int, after: int, steps: int) -> None:
    order = list(range(count))
    done = steps * batch * before
    begun = [shares(order, 0, rank, before)[: steps * batch] for rank in range(before)]
    left = [shares(order, done, rank, after) for rank in range(after)]
    if done <= count:
        assert sorted(itertools.chain(*begun)) == order[:done]
        every = sorted(set(itertools.chain(*begun, *left)))
        assert every == order
        assert len({len(own) for own in left}) == 1
        assert sum(map(len, left)) - (count - done) < after


@given(st.integers(0, 100), st.integers(1, 9))
def test_ranges_of_an_evaluation_cover_each_batch_once(batches: int, count: int) -> None:
    assert [index for own in ranges(batches, count) for index in own] == list(range(batches))


def test_what_cannot_be_shared_out_is_refused() -> None:
    class Stream(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> object:
            return iter([1])

    run = daskhpc.ddp.context()
    with pytest.raises(SettingsError, match="a length and an index"):
        run.loader(Stream(), 4)
    with pytest.raises(SettingsError, match="order of samples"):
        run.loader([1, 2], 4, sampler=[0])


def test_a_pass_outside_of_epochs_and_its_length() -> None:
    loader = daskhpc.ddp.context().loader(list(range(10)), 4, shuffle=False)
    assert [batch.tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader) == 3
    assert len(daskhpc.ddp.context().loader(list(range(10)), 4, drop_last=True)) == 2


def test_a_pass_that_the_program_left_is_over() -> None:
    """As with torch's DataLoader, each iteration begins anew; only a restored one goes on."""
    loader = daskhpc.ddp.context().loader(list(range(6)), 2, shuffle=False)
    assert next(iter(loader)).tolist() == [0, 1]
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4, 5]]
    assert loader.state() == {"passes": 2, "samples_done": 0, "seed": 0}
    loader.restore({"passes": 1, "samples_done": 2, "seed": 0}, 0)
    assert [[batch.tolist() for batch in loader] for _ in range(2)] == [[], [[2, 3], [4, 5]]]


def test_outside_a_training_the_context_keeps_no_data() -> None:
    """A process that calls many functions, as in a sweep, would keep the data of all."""

    def fit() -> Any:
        run = daskhpc.ddp.context()
        data = Indices()
        batches = run.loader(data, 2)
        for _ in run.epochs(2):
            for _batch in batches:
                run.log(loss=1)
        return weakref.ref(data)

    before = len(daskhpc.ddp.context()._rows)
    assert fit()() is None
    assert len(daskhpc.ddp.context()._rows) == before


class Indices(list[int]):
    def __init__(self) -> None:
        super().__init__(range(4))


def test_ranks_of_torchrun_that_have_not_joined_do_not_train_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_context, "_installed", [])
    for name, value in {"TORCHELASTIC_RUN_ID": "a", "RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match="rank 1 of 2, without a process group"):
        daskhpc.ddp.context()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert daskhpc.ddp.context().world_size == 1
