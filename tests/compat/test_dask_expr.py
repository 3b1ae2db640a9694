"""What daskhpc.compat.dask_expr needs of Dask's dataframe expressions is there, and means what it did."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.dataframe as dd
import dask.datasets
import pandas as pd
import pytest

from daskhpc.compat import dask_expr
from daskhpc.compat.dask import expression_of, optimized_graph


def frame(pieces: int = 4) -> Any:
    return dd.from_pandas(pd.DataFrame({"a": range(40), "b": 1.0, "c": "text"}), npartitions=pieces)


def test_frames_within_an_expression() -> None:
    expression = optimized_graph(expression_of([frame().a + 1])).expression
    kinds = dask_expr.kinds_of(dask_expr.frames_in(expression))
    assert {"Add", "FromPandas"} <= kinds, "also those that were fused"


RULES: dict[str, tuple[Callable[[Any], Any], tuple[str, float]]] = {
    "head": (lambda df: df.head(3, npartitions=2, compute=False), ("at most", 3.0)),
    "sum": (lambda df: df.a.sum(), ("at most", 1.0)),
    "groups": (lambda df: df.groupby("a").b.mean(), ("same", 0.0)),
    "group chunk": (lambda df: df.groupby("a").b.sum(), ("groups", 1.0)),
    "concat": (lambda df: dd.concat([df, df]), ("sum", 0.0)),
    "merge": (lambda df: df.merge(df, on="a"), ("same", 0.0)),
    "elementwise": (lambda df: df.b + 1, ("same", 0.0)),
}


@pytest.mark.parametrize("name", RULES)
def test_rules_of_rows(name: str) -> None:
    make, rule = RULES[name]
    assert dask_expr.rows_rule(make(frame()).expr) == rule


def test_rules_of_the_rows_of_a_lowered_reduction() -> None:
    found = {
        type(node).__name__: dask_expr.rows_rule(node)
        for node in dask_expr.frames_in(optimized_graph(expression_of([frame().groupby("a").b.sum()])).expression)
    }
    assert ("groups", 4.0) in found.values()
    assert ("one partition", 4.0) in found.values()


def test_which_expressions_keep_all_rows() -> None:
    df = frame()
    kept = [dask_expr.keeps_all_rows(each.expr) for each in (df.b + 1, df.repartition(npartitions=2), df[df.a > 1])]
    assert kept[:2] == [True, True]
    assert not kept[2] or kept[2] is None


def test_the_source_in_memory() -> None:
    source = dask_expr.pandas_source(frame()[["a", "b"]].optimize(fuse=False).expr)
    assert isinstance(source, dask_expr.PandasSource)
    assert (list(source.frame.columns), source.rows) == (["a", "b"], 40)
    assert dask_expr.pandas_source((frame() + frame()).expr) is None


def test_the_pandas_frame_below() -> None:
    lazy = frame()
    for chosen in (lazy, lazy[["a", "b"]], lazy[lazy["a"] > 0]):
        assert "a" in dask_expr.pandas_below(chosen)
    assert dask_expr.pandas_below(lazy + lazy) is dask_expr.pandas_below(lazy.astype(str)) is None


@pytest.mark.parametrize("filesystem", ["fsspec", "arrow"])
def test_the_source_in_parquet_files(filesystem: str, tmp_path: Path) -> None:
    frame().to_parquet(tmp_path)
    lazy = dd.read_parquet(tmp_path, filesystem=filesystem, columns=["a", "b"])
    source = dask_expr.parquet_source(lazy.optimize(fuse=False).expr, 3)
    if source is None:  # Dask reads several small files in one partition
        (below,) = dask_expr.fused_from(lazy.optimize(fuse=False).expr)
        source = dask_expr.parquet_source(below, 3)
    assert isinstance(source, dask_expr.ParquetSource)
    assert sum(footer.num_rows for footer in source.footers) * source.files_per_footer == 40
    assert {"a", "b"} <= set(source.columns)
    assert "c" not in source.columns


def test_the_source_in_text_files(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n" + "1,2\n" * 1000)
    lazy = dd.read_csv(str(tmp_path / "x.csv"), blocksize=1000)
    nodes = dask_expr.frames_in(optimized_graph(expression_of([lazy])).expression)
    assert {file.path for node in nodes for file in dask_expr.open_files(node)} == {str(tmp_path / "x.csv")}


def test_the_values_that_a_reader_is_mapped_over() -> None:
    mapped = dd.from_map(lambda number: frame().compute(), [1, (2, [3])], meta=frame().compute())
    assert [value for node in mapped.expr.walk() for value in dask_expr.mapped_values(node)] == [1, 2, 3]
    made = dd.from_delayed([dask.delayed(frame().compute)()], meta=frame().compute())
    assert [value for node in made.expr.walk() for value in dask_expr.mapped_values(node)] == []


def test_a_persisted_frame_tells_its_keys() -> None:
    with dask.config.set(scheduler="sync"):
        held = frame().persist()
    keys = [key for node in dask_expr.frames_in(held.expr) for key in dask_expr.persisted_keys(node)]
    assert len(keys) == 4
    assert set(keys) <= set(held.__dask_graph__())
    assert dask_expr.persisted_keys(frame().expr) == []


def test_rows_of_a_made_timeseries() -> None:
    lazy = dask.datasets.timeseries("2000-01-01", "2000-01-03", freq="1h", partition_freq="1D").optimize(fuse=False)
    assert [rows for node in dask_expr.frames_in(lazy.expr) if (rows := dask_expr.timeseries_rows(node))] == [48]


def test_texts_of_arrow() -> None:
    assert str(dask_expr.with_arrow_texts(pd.DataFrame({"c": ["x"]})).c.dtype) in ("string", "str")


def test_what_an_expression_is() -> None:
    lazy = frame()
    assert dask_expr.is_frame(lazy.expr)
    assert not dask_expr.is_frame(da.ones(3).sum())
    assert dask_expr.is_dataframe(lazy.a)
    assert not dask_expr.is_dataframe(da.ones(3))
    assert str(lazy.__dask_keys__()[0][0]) == dask_expr.name_of(lazy.optimize(fuse=False).expr)
    assert list(dask_expr.empty_frame(lazy).columns) == ["a", "b", "c"]
    assert dask_expr.partitions(lazy.expr) == 4
    assert dask_expr.fused_from(lazy.expr) == ()


EAGER: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "set_index": (lambda df: df.set_index("b"), True),
    "set_index with divisions": (lambda df: df.set_index("a", divisions=[0, 20, 39]), False),
    "sort_values": (lambda df: df.sort_values("b").c, True),
    "the first of sort_values": (lambda df: df.sort_values("b").head(2, compute=False), False),
    "repartition by size": (lambda df: df.repartition(partition_size="1MB"), True),
    "repartition": (lambda df: df.repartition(npartitions=2), False),
}


@pytest.mark.parametrize("name", EAGER)
def test_nothing_is_computed_to_optimize(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("Dask computes something")

    make, eager = EAGER[name]
    lazy = make(frame())
    monkeypatch.setattr("dask.base.compute", refuse)
    monkeypatch.setattr("dask.compute", refuse)
    expression, first = dask_expr.without_eager_steps(expression_of([lazy]))
    assert bool(first) is eager
    assert optimized_graph(expression).tasks


def test_a_stand_in_does_not_change_what_the_user_computes() -> None:
    df = dd.from_pandas(pd.DataFrame({"a": range(40, 0, -1), "b": range(40)}), npartitions=4)
    indexed, ordered = df.set_index("a"), df.sort_values("a")
    for lazy in (indexed, ordered):
        optimized_graph(dask_expr.without_eager_steps(expression_of([lazy]))[0])
    assert list(indexed.compute().b) == list(range(39, -1, -1))
    assert list(ordered.compute().a) == list(range(1, 41))


def test_names_that_are_gone_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = frame().groupby("a").b.sum()
    original = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if "dask_expr" in name and not name.startswith("daskhpc"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert dask_expr.rows_rule(lazy.expr) is None
    assert dask_expr.keeps_all_rows(lazy.expr) is None
