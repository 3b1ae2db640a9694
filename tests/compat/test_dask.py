"""What daskhpc needs of Dask's collections beyond their public names is still there."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from daskhpc.compat.dask import (
    FileBlock,
    OptimizedGraph,
    TaskStep,
    alias,
    compute_in_order,
    expression_of,
    in_dependency_order,
    is_reference,
    known_release,
    optimized_graph,
    task,
    task_steps,
)
from daskhpc.errors import DaskhpcError

DRAWS = """
import random
from daskhpc.compat.dask import isolate_dask_rng
from dask.sizeof import sizeof
isolate_dask_rng()
before = random.getstate()
sizeof([object() for _ in range(100_000)])
sizeof({i: str(i) for i in range(100_000)})
assert random.getstate() == before
import dask.sizeof, distributed.comm.core, distributed.utils_comm
assert all(isinstance(m.random, random.Random) for m in (dask.sizeof, distributed.comm.core, distributed.utils_comm))
"""


def test_dask_draws_from_a_generator_of_its_own() -> None:
    """If this fails, see which modules of Dask draw from Python's global generator in threads of their own."""
    result = subprocess.run([sys.executable, "-c", DRAWS], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


def test_results_come_in_the_order_of_the_collections() -> None:
    frame = dd.from_pandas(pd.DataFrame({"a": range(6)}), npartitions=2)
    collections = [da.ones(4, chunks=2).sum(), frame.a.sum(), da.arange(4, chunks=2).max(), dask.delayed(len)("ab")]
    with dask.config.set(scheduler="sync"), pytest.warns(UserWarning, match="mixed collections"):
        assert [float(each) for each in compute_in_order(dask.compute, collections)] == [4, 15, 3, 2]


def test_the_graph_is_the_one_that_is_computed() -> None:
    x = da.ones((4, 4), chunks=2) + 1
    graph = optimized_graph(expression_of([x]))
    assert isinstance(graph, OptimizedGraph)
    (output,) = graph.outputs
    order = in_dependency_order(graph.tasks, graph.outputs)
    assert order[-1] == output
    assert len(order) == len(graph.tasks) == 5
    values: dict[object, object] = {}
    for key in order:
        values[key] = graph.tasks[key]({needed: values[needed] for needed in graph.tasks[key].dependencies})
    np.testing.assert_array_equal(np.asarray(values[output]).reshape(4, 4), np.full((4, 4), 2.0))


def test_a_release_without_these_names_is_refused() -> None:
    with pytest.raises(DaskhpcError, match="an older release of Dask"), known_release():
        importlib.import_module("dask._no_such_module")


def test_what_is_there_already_is_not_needed() -> None:
    graph = optimized_graph(expression_of([da.ones(4, chunks=2).sum(split_every=2)]))
    order = in_dependency_order(graph.tasks, graph.outputs)
    there = {order[0]}
    assert in_dependency_order(graph.tasks, graph.outputs, there) == order[1:]


def test_steps_of_a_fused_task_name_their_collections() -> None:
    x = da.ones((4, 4), chunks=2)
    total = (x + 1).sum(axis=0)
    graph = optimized_graph(expression_of([total]))
    fused = [
        steps for key, node in graph.tasks.items() if len(steps := task_steps(key, node)) > 1 and "sum" in str(key)
    ]
    assert all(isinstance(step, TaskStep) for steps in fused for step in steps)
    names = {str(step.key[0] if isinstance(step.key, tuple) else step.key) for steps in fused for step in steps}
    assert any(name.startswith(x.name) for name in names), names
    assert {steps[-1].reduced for steps in fused} >= {(0,)}, "the first step of a reduction tells its axes"


def test_data_in_a_task_is_found() -> None:
    value = np.ones(1000)
    graph = optimized_graph(expression_of([dask.delayed(np.sum)(value)]))
    data = [each for key, node in graph.tasks.items() for step in task_steps(key, node) for each in step.data]
    assert any(each is value for each in data)


def test_blocks_of_files_are_found(tmp_path: object) -> None:
    path = f"{tmp_path}/a.txt"
    with open(path, "w") as file:
        file.write("a line of text\n" * 100)
    graph = optimized_graph(expression_of([db.read_text(path, blocksize=500)]))
    data = [each for key, node in graph.tasks.items() for step in task_steps(key, node) for each in step.data]
    blocks = [each for each in data if isinstance(each, FileBlock)]
    assert len(blocks) == 3
    assert all(block.nbytes is not None and block.file.path == path for block in blocks)


def test_tasks_and_aliases_make_a_graph() -> None:
    tasks = {"one": task("one", int, "1"), "same": alias("same", "one")}
    assert Delayed("same", HighLevelGraph.from_collections("same", tasks)).compute() == 1


def test_a_future_in_a_graph_is_a_reference(client: Any) -> None:
    futures = client.scatter({"a-model": 1})
    lazy = Delayed("a-model", HighLevelGraph.from_collections("a-model", futures))
    assert is_reference(lazy.dask["a-model"])
    assert not is_reference(dask.delayed(1, name="a-number").dask["a-number"])
