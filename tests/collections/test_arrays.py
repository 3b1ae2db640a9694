"""daskhpc.arrays: chunks for a cluster, random numbers, files."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.array.utils import assert_eq
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpc import arrays
from daskhpc.arrays.chunks import cut
from daskhpc.chunk_size import SMALLEST
from daskhpc.errors import DaskhpcError, InputFileError, SettingsError
from daskhpc.files import without_locks
from daskhpc.windowed_array import WindowedArray

MIB = 2**20


@pytest.mark.parametrize(
    ("shape", "unit", "most", "expected"),
    [
        ((10,), (1,), 5, ((5, 5),)),
        ((11,), (1,), 5, ((4, 4, 3),)),
        ((11,), (2,), 5, ((4, 4, 3),)),
        ((100, 100), (1, 1), 2500, ((50, 50), (50, 50))),
        ((1000, 4), (1, 1), 400, ((100,) * 10, (4,))),
        ((1000, 4), (1, 4), 4, ((1,) * 1000, (4,))),
        ((6, 6), (6, 4), 1, ((6,), (4, 2))),
        ((0, 3), (1, 1), 10, ((0,), (3,))),
        ((), (), 10, ()),
    ],
)
def test_how_arrays_are_cut(shape: Any, unit: Any, most: int, expected: Any) -> None:
    assert cut(shape, unit, most) == expected


@st.composite
def shapes_units_and_limits(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    shape = draw(st.lists(st.integers(0, 10**6), max_size=4))
    unit = [draw(st.integers(1, max(1, min(n, 10**4)))) for n in shape]
    # Small enough that the test can hold the answer.
    least = math.prod(max(1, n) for n in shape) // 10**4
    return tuple(shape), tuple(unit), draw(st.integers(max(1, least), max(10**8, 2 * least)))


@given(shapes_units_and_limits())
@settings(deadline=None, max_examples=200)
def test_chunks_cover_the_array_in_whole_units_within_the_limit(drawn: Any) -> None:
    shape, unit, most = drawn
    found = cut(shape, unit, most)
    assert tuple(map(sum, found)) == shape
    for sizes, u in zip(found, unit, strict=True):
        assert all(size % u == 0 for size in sizes[:-1])
        assert max(sizes) - min(sizes[:-1] or sizes) <= 0
    largest = math.prod(max(sizes) for sizes in found)
    units = math.prod(unit)
    assert largest <= max(most, units)
    needed = -(-math.prod(max(1, -(-n // u)) for n, u in zip(shape, unit, strict=True)) // max(1, most // units))
    assert math.prod(map(len, found)) <= max(1, needed) * 2 ** (len(shape) + 1)


def test_auto_chunks_keep_what_has_to_stay_whole(client: Client) -> None:
    shape = (4_000_000, 50)
    chunks = arrays.auto_chunks(shape, "float32", whole=-1, client=client)
    assert chunks[1] == (50,)
    assert len(chunks[0]) >= 2
    assert da.ones(shape, chunks=chunks).shape == shape
    assert max(chunks[0]) * 50 * 4 <= 128 * MIB
    aligned = arrays.auto_chunks((1000, 1000, 1000), previous=(7, 1000, 10))
    assert {size % 7 for size in aligned[0][:-1]} == {0}
    assert {size % 10 for size in aligned[2][:-1]} <= {0}


def test_chunks_that_no_shape_has_are_refused() -> None:
    with pytest.raises(SettingsError, match="an axis that the array does not have"):
        arrays.auto_chunks((10, 10), whole=2)
    with pytest.raises(SettingsError, match="a size per axis"):
        arrays.auto_chunks((10, 10), previous=(5,))


def test_random_numbers_do_not_depend_on_chunks_or_cluster(client: Client) -> None:
    shape = (700, 600)
    whole = arrays.random(shape, seed=3).compute()
    assert whole.std() == pytest.approx(1, abs=0.01)
    small = arrays.random(shape, seed=3, chunks=(333, 100))
    np.testing.assert_array_equal(small.compute(), whole)
    np.testing.assert_array_equal(small[::-7, [5, 599, 0]].compute(), whole[::-7, [5, 599, 0]])
    np.testing.assert_array_equal(small[650].compute(scheduler="synchronous"), whole[650])
    assert not np.array_equal(arrays.random(shape, seed=4).compute(), whole)
    assert len(np.unique(whole)) == whole.size
    with pytest.raises(SettingsError, match="no distribution 'gauss'"):
        arrays.random(10, distribution="gauss")
    with pytest.raises(SettingsError, match="cannot draw"):
        arrays.random(10, distribution="uniform", mean=0)


def test_random_numbers_of_other_kinds() -> None:
    digits = arrays.random(1000, "int8", "integers", low=0, high=10)
    assert_eq(digits, digits)
    assert sorted(np.unique(digits.compute())) == list(range(10))
    assert arrays.random((0, 5)).compute().shape == (0, 5)
    assert arrays.random((), chunks=()).compute().shape == ()
    assert arrays.random(5).name == arrays.random(5).name != arrays.random(5, seed=1).name
    with pytest.raises(SettingsError, match="seed=-1"):
        arrays.random(5, seed=-1)


class Held(WindowedArray):
    """An array of numbers of which only windows are read."""

    def __init__(self, values: Any) -> None:
        super().__init__(values.shape, values.dtype)
        self.values = values

    def read(self, window: Any) -> Any:
        assert all(part.step >= 1 and 0 <= part.start <= part.stop for part in window)
        return self.values[window]


@pytest.mark.parametrize(
    "index",
    [
        (slice(None), slice(None)),
        (slice(2, 9, 3), -1),
        (slice(None, None, -2), slice(5, 5)),
        (3, 4),
        ([4, 1, 1], slice(1, None)),
        (slice(8, 2, -4), [2, -1]),
        (np.array([], int), slice(None)),
    ],
)
def test_a_windowed_array_indexes_as_numpy_does(index: Any) -> None:
    values = np.arange(60).reshape(10, 6)
    np.testing.assert_array_equal(Held(values)[index], values[index])
    np.testing.assert_array_equal(Held(values).to_dask((4, 5), "held")[index].compute(), values[index])


def test_no_more_is_read_than_a_slice_needs() -> None:
    read = []

    class Watched(Held):
        def read(self, window: Any) -> Any:
            read.append(window)
            return super().read(window)

    array = Watched(np.arange(60).reshape(10, 6)).to_dask((10, 6), "watched")
    with dask.config.set(scheduler="synchronous"):
        assert array[2:9:3, 4].compute().tolist() == [16, 34, 52]
    assert read == [(slice(2, 9, 3), slice(4, 5, 1))]


@pytest.fixture(params=["x.zarr", "x.h5", "x.hdf5", "stack"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    return tmp_path / "it's a $(folder); echo" / request.param


def test_what_is_saved_is_opened_again(path: Path, client: Client) -> None:
    values = np.arange(500 * 30.0).reshape(500, 30)
    arrays.save_array(da.from_array(values, chunks=((100, 150, 250), (20, 10))), path)
    array = arrays.open_array(path)
    np.testing.assert_array_equal(array.compute(), values)
    np.testing.assert_array_equal(array[7:300:9, 3].compute(), values[7:300:9, 3])
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name]
    chunked = arrays.open_array(path, chunks=(77, 30))
    assert chunked.chunks[0][0] == 77
    np.testing.assert_array_equal(chunked.sum(axis=0).compute(), values.sum(axis=0))


def test_a_path_that_is_taken_is_kept(path: Path) -> None:
    arrays.save_array(da.ones(10), path)
    with pytest.raises(DaskhpcError, match="is there already"):
        arrays.save_array(da.zeros(10), path)
    arrays.save_array(da.zeros(20), path, overwrite=True)
    assert arrays.open_array(path).compute().tolist() == [0] * 20
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name]


def test_what_replaced_an_array_is_read_while_the_old_one_is_in_memory(path: Path, client: Client) -> None:
    arrays.save_array(da.ones(10), path)
    held = arrays.open_array(path, chunks=5).persist()
    assert arrays.open_array(path, chunks=5).name == held.name
    arrays.save_array(da.zeros(10), path, overwrite=True)
    assert arrays.open_array(path, chunks=5).compute().tolist() == [0] * 10


def test_a_save_that_fails_leaves_what_was_there(path: Path) -> None:
    def fail(block: Any) -> Any:
        if block.size and block.ravel()[0] > 0:
            raise ZeroDivisionError("in a task")
        return block

    arrays.save_array(da.ones(10), path)
    broken = da.arange(100, chunks=10).map_blocks(fail, dtype=int)
    with pytest.raises(ZeroDivisionError):
        arrays.save_array(broken, path, overwrite=True)
    assert arrays.open_array(path).compute().tolist() == [1] * 10
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name]


@pytest.mark.parametrize("name", ["x.zarr", "x.h5"])
def test_a_killed_save_leaves_nothing_at_its_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    program = """
        import os, sys, dask.array as da
        from daskhpc import arrays
        def die(block, block_info=None):
            if block_info and block_info[0]["chunk-location"][0] == 3:
                os.kill(os.getpid(), 9)
            return block
        arrays.save_array(da.ones(100, chunks=10).map_blocks(die, dtype=float), sys.argv[1])
    """
    code = "\n".join(line[8:] for line in program.splitlines())
    env = {**os.environ, "DASK_SCHEDULER": "synchronous"}
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=env, timeout=200, capture_output=True)
    assert done.returncode == -9, done.stderr
    assert not path.exists()
    with pytest.raises(InputFileError, match="is not there"):
        arrays.open_array(path)


def test_what_all_blocks_need_is_computed_once_for_a_save(tmp_path: Path, client: Client) -> None:
    log = tmp_path / "calls"

    def costly(block: Any) -> Any:
        with log.open("a") as file:
            file.write("x")
        return block

    common = da.ones(100, chunks=100).map_blocks(costly, dtype=float, meta=np.ones(0))
    arrays.save_array(da.ones(1000, chunks=100) + common.sum(), tmp_path / "x.h5")
    assert log.read_text() == "x"
    assert arrays.open_array(tmp_path / "x.h5").sum().compute() == 101_000


def test_names_within_a_file(tmp_path: Path) -> None:
    import h5py
    import zarr

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"], file["group/b"] = np.arange(3), np.arange(4)
    zarr.open_group(str(tmp_path / "x.zarr"), mode="w")
    for name in ("a", "b"):
        zarr.open_array(str(tmp_path / "x.zarr" / name), mode="w", shape=(4,), dtype="f4")
    assert arrays.open_array(tmp_path / "x.h5", "group/b").compute().tolist() == [0, 1, 2, 3]
    assert arrays.open_array(tmp_path / "x.zarr", "b").shape == (4,)
    for suffix, names in ((".h5", "a, group/b"), (".zarr", "a, b")):
        with pytest.raises(InputFileError, match=names):
            arrays.open_array(tmp_path / f"x{suffix}")
        with pytest.raises(InputFileError, match="'c'"):
            arrays.open_array(tmp_path / f"x{suffix}", "c")
        arrays.save_array(da.arange(3), tmp_path / f"one{suffix}", "group/a")
        assert arrays.open_array(tmp_path / f"one{suffix}").compute().tolist() == [0, 1, 2]


def test_chunks_are_multiples_of_the_blocks_in_the_file(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("a", (10_000, 1_000), "f8", chunks=(900, 70))
    chunks = arrays.open_array(tmp_path / "x.h5").chunks
    assert {size % 900 for size in chunks[0][:-1]} | {size % 70 for size in chunks[1][:-1]} == {0}
    assert max(chunks[0]) * max(chunks[1]) * 8 > SMALLEST


def test_files_that_are_not_what_they_are_called(tmp_path: Path) -> None:
    for name in ("x.h5", "x.zarr", "x.csv"):
        (tmp_path / name).write_text("no array")
    (tmp_path / "folder").mkdir()
    for name, words in (
        ("x.h5", "cannot be opened as HDF5"),
        ("x.zarr", "cannot be opened as Zarr"),
        ("x.csv", "of no known kind"),
        ("folder", "no npy stack"),
    ):
        with pytest.raises(InputFileError, match=words):
            arrays.open_array(tmp_path / name)
    arrays.save_array(da.ones(20, chunks=5), tmp_path / "stack")
    (tmp_path / "stack/2.npy").unlink()
    with pytest.raises(InputFileError, match=r"lacks 1 of its 4 files.\n.*2\.npy"):
        arrays.open_array(tmp_path / "stack")


@pytest.mark.parametrize("name", ["x.zarr", "x.h5", "x"])
def test_python_objects_are_refused_before_anything_is_computed(tmp_path: Path, name: str) -> None:
    def never(block: Any) -> Any:
        raise AssertionError("a block was computed")

    objects = da.ones(20, chunks=5).map_blocks(never, dtype=object, meta=np.empty(0, object))
    with pytest.raises(InputFileError, match="Python objects"):
        arrays.save_array(objects, tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["x.zarr", "x.h5", "x"])
def test_masks_are_refused_before_anything_is_computed(tmp_path: Path, name: str) -> None:
    def never(block: Any) -> Any:
        raise AssertionError("a block was computed")

    masked = da.ones(20, chunks=5).map_blocks(never, meta=np.ma.empty(0))
    with pytest.raises(InputFileError, match=r"a mask would be lost.\n.*MaskedArray"):
        arrays.save_array(masked, tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["x.zarr", "x.h5", "x"])
def test_values_that_do_not_fit_the_type_that_dask_guessed_are_refused(tmp_path: Path, name: str) -> None:
    numbers = da.from_array(np.array([1.0, np.nan, 300, 2.5]), chunks=2)
    texts = numbers.map_blocks(lambda block: np.array([f"n{value}" for value in block], "S"))
    ids = da.arange(4, chunks=2).map_blocks(lambda block: np.array([2**60 + n for n in block]), meta=np.empty(0))
    for array in (texts, ids, numbers.map_blocks(np.asarray, meta=np.empty(0, "i8"))):
        assert array.dtype != array.blocks[-1].compute().dtype
        with pytest.raises(InputFileError, match="values would change"):
            arrays.save_array(array, tmp_path / name)
    arrays.save_array(numbers.map_blocks(np.asarray, meta=np.empty(0, "f4")), tmp_path / name)
    np.testing.assert_array_equal(arrays.open_array(tmp_path / name), numbers.compute())


def test_the_pickle_of_an_npy_stack_runs_no_code(tmp_path: Path) -> None:
    """The file ``info`` may be another user's."""

    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    arrays.save_array(da.ones(20, chunks=5).astype([("a", "f4"), ("b", "S3")]), tmp_path / "stack")
    assert arrays.open_array(tmp_path / "stack").dtype.names == ("a", "b")
    for bad in (Evil(), {"chunks": ((5,) * 4,), "axis": 0, "dtype": Evil()}, np.int64, b"", 3):
        (tmp_path / "stack/info").write_bytes(bad if isinstance(bad, bytes) else pickle.dumps(bad))
        with pytest.raises(InputFileError, match="no npy stack"):
            arrays.open_array(tmp_path / "stack")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(("package", "path"), [("h5py", "x.h5"), ("zarr", "x.zarr")])
def test_a_package_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, path: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputFileError, match=r"not installed\n.*pip install 'daskhpc\[files\]'"):
        arrays.save_array(da.ones(3), tmp_path / path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_told_from_a_writer() -> None:
    text = "[Errno {0}] Unable to synchronously open file (unable to lock file, errno = {0}, error message = '...')"
    assert without_locks(OSError(text.format(38)))
    assert without_locks(OSError(text.format(37)))
    assert not without_locks(OSError(text.format(11)))
    assert not without_locks(OSError("truncated file: eof = 96"))


def test_unknown_sizes_are_not_saved(tmp_path: Path) -> None:
    array = da.arange(10, chunks=5)
    with pytest.raises(DaskhpcError, match="compute_chunk_sizes"):
        arrays.save_array(array[array > 3], tmp_path / "x.zarr")
    with pytest.raises(InputFileError, match="of no known kind"):
        arrays.save_array(array, tmp_path / "x.csv")
