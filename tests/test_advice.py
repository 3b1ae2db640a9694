"""What an error says to try is tried, as it is printed: the same call with it works."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import dask
import dask.array as da
import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.stats
import xarray as xr
from sklearn.linear_model import LinearRegression

import daskhpc
from daskhpc import arrays, bags, cubes, frames
from daskhpc.errors import DaskhpcError

ARRAY = da.ones((4, 4), chunks=2)


class Advice(NamedTuple):
    """A call, keywords that are refused, and which of the ways that the error names is taken."""

    call: Callable[..., Any]
    wrong: dict[str, Any]
    taken: str = r"([\w.]+=.*?)(?:, or .*|; .*)?"


def save(**options: Any) -> Any:
    arrays.save_array(ARRAY, "x.zarr", overwrite=True)
    return arrays.save_array(ARRAY, "x.zarr", **options)


def read_csv(text: str) -> Callable[..., Any]:
    def read(**options: Any) -> Any:
        Path("x.csv").write_text(text)
        return frames.read_csv("x.csv", **options).compute()

    return read


def read_records(read: Callable[..., Any], text: str) -> Callable[..., Any]:
    def read_them(**options: Any) -> Any:
        Path("x.jsonl").write_text(text)
        return read("x.jsonl", **options).compute()

    return read_them


def resample(rule: str) -> Any:
    frame = pd.DataFrame({"t": pd.date_range("2020", periods=3), "v": [1.0, 2.0, 3.0]}).set_index("t")
    return frames.resample(dask.dataframe.from_pandas(frame, npartitions=1), rule)


def sweep(**options: Any) -> Any:
    with joblib.parallel_config("sequential"):
        return daskhpc.sweep(lambda x=0, **others: x, progress=False, **options)


def open_cube(**options: Any) -> Any:
    for number in range(2):
        values = np.arange(2) + 2 * number
        xr.Dataset({"v": ("time", values * 1.0)}, {"time": values}).to_netcdf(f"x{number}.nc", engine="h5netcdf")
    return cubes.open_dataset("x*.nc", **options)


def score(**options: Any) -> Any:
    X = np.arange(8.0)[:, None]
    fitted = daskhpc.ParallelPostFit(LinearRegression(), scoring=lambda model, X, y: 1.0).fit(X, X[:, 0])
    return fitted.score(da.from_array(X, chunks=(4, 1)), da.from_array(X[:, 0], chunks=4), **options)


MIXED = '{"a": 1}\n{"a": "x"}\n'
TORN = '{"a": 1}\n{"a"\n'
ADVICE = {
    "an array that is there": Advice(save, {}, r".*save_array\(\.\.\., (.*?)\).*"),
    "a separator": Advice(read_csv("a;b\n1,5;2,5\n"), {}, r"(sep=';'), .*"),
    "a line that is too long": Advice(read_csv("a,b\n1,2\n1,2,3\n"), {}, r".*read_csv\(\.\.\., (.*)\)"),
    "two lines of names": Advice(read_csv("a,b\n1,2\n"), {"header": [0, 1]}),
    "records of several kinds, as text": Advice(read_records(frames.read_json_lines, MIXED), {}, r"(.*?) for text.*"),
    "records of several kinds": Advice(
        read_records(frames.read_json_lines, MIXED), {}, r".* or (.*?) for the values.*"
    ),
    "a record that is torn": Advice(read_records(bags.read_json_lines, TORN), {}, r".*, or (.*)"),
    "a rule": Advice(resample, {"rule": "XX"}, r"(rule='\w+').*"),
    "a sweep over nothing": Advice(sweep, {"space": {}}),
    "a sweep over a number": Advice(sweep, {"space": {"x": 3}}, "(.*)"),
    "a sweep over a distribution": Advice(sweep, {"space": {"x": scipy.stats.uniform(0, 1)}}),
    "what a sweep does with errors": Advice(sweep, {"space": {"x": [1]}, "errors": "x"}),
    "chunks of a cube": Advice(open_cube, {"chunks": 7}),
    "a lazy score": Advice(score, {"compute": False}),
}


@pytest.mark.parametrize("case", ADVICE)
def test_what_is_advised_works(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call, wrong, taken = ADVICE[case]
    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(DaskhpcError) as refused:
            call(**wrong)
        found = re.fullmatch(taken, refused.value.todo)
        assert found is not None, refused.value
        text = found[1] if "=" in found[1].split("[")[0] else f"space={found[1]}"
        call(**{**wrong, **eval(f"dict({text})")})


def test_a_setting_that_is_advised_is_one() -> None:
    with pytest.raises(DaskhpcError) as refused:
        daskhpc.start(nthread=1)  # type: ignore[call-arg]
    daskhpc.settings.Settings.resolve({refused.value.todo: 1})
