"""Arrays and what is made of them, taken apart: by what they hold, not by how it lies in memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import frames
from .arrays import contents, dtype_of, hashed
from .key_parts import Attributes, Node, UnkeyableError, Unordered
from .objects import by_pickle
from .origins import named, origin

KEPT = 4096
"""Bytes from which on an array's token is kept while the array lives."""


def handler(kind: type) -> Callable[[Any], Node] | None:
    """The function that takes objects of a type apart, if they are data."""
    if not isinstance(getattr(kind, "__module__", None), str):
        return None
    for base in kind.__mro__:
        root = base.__module__.partition(".")[0]
        found = _KINDS.get(f"{root}.{base.__name__}")
        if found is not None:
            return found
    if hasattr(kind, "__dask_graph__"):
        return _dask
    return None


def _array(array: np.ndarray) -> Node:
    """An array's dtype, shape and contents; a class derived from ndarray adds itself and its attributes."""
    kind, keep = type(array), array.nbytes >= KEPT
    if kind is np.ndarray or kind is np.memmap:
        return Node("array", contents(array), keep=keep)
    own: list[Any] = [kind.__name__]
    if kind.__module__.partition(".")[0] != "numpy":
        own = [kind, Attributes(dict(getattr(array, "__dict__", {})))]
    if isinstance(array, np.ma.MaskedArray):
        own += [*contents(np.ma.getmaskarray(array)), array.fill_value]
    return Node("array of a class", [*own, *contents(np.asarray(array))], keep=keep)


def _scalar(value: np.generic) -> Node:
    return Node("numpy scalar", contents(np.asarray(value)))


def _dtype_node(dtype: np.dtype) -> Node:
    return Node("dtype", [dtype_of(dtype)])


def _random_state(state: np.random.RandomState) -> Node:
    """By its state; NumPy's global one by being that."""
    if state is np.random.get_state.__self__:  # type: ignore[attr-defined]
        return Node("global random state", [])
    return Node("random state", [type(state).__name__, dict(state.get_state(legacy=False))])


def _generator(generator: np.random.Generator) -> Node:
    return Node("generator", [generator.bit_generator])


def _bit_generator(bits: Any) -> Node:
    seeds = getattr(bits, "seed_seq", None)
    return Node("bit generator", [type(bits).__name__, bits.state, seeds])


def _seeds(seeds: np.random.SeedSequence) -> Node:
    return Node("seeds", [seeds.entropy, seeds.spawn_key, seeds.pool_size, seeds.n_children_spawned])


def _ufunc(function: Any) -> Node:
    for module in ("numpy", "scipy.special"):
        if named(module, function.__name__) is function:
            return Node("ufunc", [module, function.__name__, origin(module).version])
    # One of `np.frompyfunc` has the function of Python in no attribute.
    inside = [each for each in gc.get_referents(function) if callable(each)]
    if inside:
        return Node("ufunc of a function", [function.nin, function.nout, function.identity, inside])
    raise UnkeyableError(f"the ufunc {function.__name__}, which is neither NumPy's nor SciPy's")


def _vectorized(found: np.vectorize) -> Node:
    """By what it was made of, not by what its calls leave in it."""
    return Node("vectorize", [type(found), found.pyfunc, found.otypes, found.signature, found.excluded])


def _sparse(matrix: Any) -> Node:
    """A sparse matrix or array as it is stored: whether its indices are sorted counts."""
    form = matrix.format
    stored: Any
    if form in ("csr", "csc", "bsr"):
        count = int(matrix.indptr[-1])  # there may be room for more
        stored = [matrix.data[:count], _narrow(matrix.indices[:count]), _narrow(matrix.indptr)]
    elif form == "coo":
        coordinates = getattr(matrix, "coords", None) or (matrix.row, matrix.col)
        stored = [matrix.data, [_narrow(numbers) for numbers in coordinates]]
    elif form == "dia":
        stored = [matrix.data, _narrow(matrix.offsets)]
    elif form == "lil":
        stored = [matrix.data, matrix.rows]
    else:
        stored = Unordered(list(matrix.items()))
    return Node("sparse", [type(matrix).__name__, form, matrix.shape, dtype_of(matrix.dtype), stored], keep=True)


def _narrow(indices: np.ndarray) -> np.ndarray:
    """Places in a matrix; SciPy has them as int32 or int64, as a matrix came about."""
    fits = indices.dtype == np.int64 and (not indices.size or int(indices.max()) < 2**31)
    return indices.astype(np.int32) if fits else indices


def _dask(collection: Any) -> Node:
    """A Dask collection by the names of what computes it; nothing is computed."""
    from dask.base import tokenize

    return Node("dask", [type(collection).__name__, tokenize(collection)])


def _tensor(tensor: Any) -> Node:
    """One of PyTorch by its values: its pickle has places in memory. A sparse one's pickle has dense ones."""
    import torch

    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        return by_pickle(tensor)
    values = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    numbers = hashed(values.view(torch.uint8).numpy())
    about = [type(tensor), str(tensor.dtype), tuple(tensor.shape), tensor.device.type, tensor.requires_grad]
    return Node("tensor", [*about, Attributes(vars(tensor)), numbers], keep=values.nbytes >= KEPT)


def _variable(variable: Any) -> Node:
    return Node("xarray variable", [variable.dims, variable.data], ["", ".data"])


def _data_array(array: Any) -> Node:
    coordinates = {name: _variable(c.variable) for name, c in array.coords.items()}
    return Node("xarray array", [array.name, _variable(array.variable), coordinates], ["", "", ".coords"], True)


def _dataset(dataset: Any) -> Node:
    values = {name: _variable(dataset.variables[name]) for name in dataset.variables}
    return Node("xarray dataset", [values, Unordered(list(dataset.coords))], ["", ""], True)


_KINDS: Mapping[str, Callable[[Any], Node]] = {
    "numpy.ndarray": _array,
    "numpy.generic": _scalar,
    "numpy.dtype": _dtype_node,
    "numpy.RandomState": _random_state,
    "numpy.Generator": _generator,
    "numpy.BitGenerator": _bit_generator,
    "numpy.SeedSequence": _seeds,
    "numpy.ufunc": _ufunc,
    "numpy.vectorize": _vectorized,
    "scipy.sparray": _sparse,
    "scipy.spmatrix": _sparse,
    "torch.Tensor": _tensor,
    "xarray.Variable": _variable,
    "xarray.DataArray": _data_array,
    "xarray.Dataset": _dataset,
    **frames.KINDS,
}
