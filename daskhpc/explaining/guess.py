"""How large a value is, and how large what is made of it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

SMALL = 128.0
"""Bytes of a number or a short tuple."""

TEXT_COPIES = 2.0
"""Bytes of lines in memory for each byte in a file."""


@dataclass(frozen=True, slots=True)
class Guess:
    """A value that a task gives or takes.

    Parameters
    ----------
    nbytes : float or None
        None where nothing is known.
    exact : bool
        Whether that is so and not an estimate.
    shape : tuple of int, optional
        Of an array.
    itemsize : int
        Of an array.
    items : tuple of Guess
        Of a tuple or list.
    lazy : bool
        A file or an array within one, which is read when it is used.
    reads : float
        Bytes that are read from files to make it.
    spare : float
        Bytes that are held beside it while it is made, without what it is made of.
    reduced : bool
        Whether axes were reduced, which the chunks that Dask records of such an array do not say.
    """

    nbytes: float | None
    exact: bool = False
    shape: tuple[int, ...] | None = None
    itemsize: int = 8
    items: tuple[Guess, ...] = ()
    lazy: bool = False
    reads: float = 0.0
    spare: float = 0.0
    reduced: bool = False


NOTHING = Guess(0.0, exact=True)
UNKNOWN = Guess(None)


def array(shape: Sequence[int], itemsize: int, exact: bool = True) -> Guess:
    """An array in memory."""
    return Guess(float(math.prod(shape) * itemsize), exact, tuple(shape), itemsize)


def made(task: Any, arguments: Sequence[Guess], literals: Sequence[Any]) -> Guess:
    """What a task gives, from what it takes.

    Parameters
    ----------
    task : dask.Task
    arguments : sequence of Guess
    literals : sequence
        The same arguments as they stand in the task.

    Notes
    -----
    Slices, concatenations, products, factorizations and the chunks of reductions are known; anything else is taken to
    be as large as the largest of what it takes.
    """
    name = function_name(task.func)
    reduced = _reduced(task, arguments)
    result = reduced or _RULES.get(name, _largest)(arguments, literals)
    lazy = any(argument.lazy for argument in arguments)
    if name == "read_block_from_file" and len(literals) > 2 and isinstance(literals[2], int):
        result = Guess(float(literals[2]))
    reads = sum(argument.reads for argument in arguments) + (result.nbytes or 0.0 if lazy else 0.0)
    largest = max((argument.nbytes or 0.0 for argument in _flat(arguments)), default=0.0)
    spare = max((argument.spare for argument in arguments), default=0.0)
    spare = max(spare, COPIES.get(name, 0.0) * max(largest, result.nbytes or 0.0))
    return replace(result, lazy=False, reads=reads, spare=spare, reduced=reduced is not None)


def function_name(function: Any) -> str:
    """The name of a function; of what it wraps, where it is a partial one."""
    while hasattr(function, "func") and not hasattr(function, "__name__"):
        function = function.func
    return str(getattr(function, "__name__", getattr(function, "_name", type(function).__name__)))


def _reduced(task: Any, arguments: Sequence[Guess]) -> Guess | None:
    """The chunk of a reduction: its axes are of length 1."""
    axes, source = task.kwargs.get("axis"), arguments[0] if arguments else NOTHING
    if task.kwargs.get("keepdims") is not True or axes is None or source.shape is None:
        return None
    reduced = {axis % len(source.shape) for axis in (axes if isinstance(axes, tuple) else (axes,))}
    shape = [1 if axis in reduced else length for axis, length in enumerate(source.shape)]
    return replace(array(shape, source.itemsize, exact=False), reduced=True)


def joined(arguments: Sequence[Guess], literals: Sequence[Any] = ()) -> Guess:
    """All of it together."""
    flat = list(_flat(arguments))
    if any(argument.nbytes is None for argument in flat):
        return UNKNOWN
    return Guess(sum(argument.nbytes or 0.0 for argument in flat), all(argument.exact for argument in flat))


def _flat(arguments: Sequence[Guess]) -> list[Guess]:
    return [leaf for each in arguments for leaf in (_flat(each.items) if each.items else [each])]


def _largest(arguments: Sequence[Guess], literals: Sequence[Any]) -> Guess:
    flat = [argument for argument in _flat(arguments) if argument is not NOTHING]
    known = [argument for argument in flat if argument.nbytes is not None]
    if not known or len(known) < len(flat):
        return UNKNOWN
    best = max(known, key=lambda argument: argument.nbytes or 0.0)
    return replace(best, exact=False, lazy=False, reads=0.0)


def _together(arguments: Sequence[Guess], literals: Sequence[Any]) -> Guess:
    return replace(joined(arguments), items=tuple(arguments))


def _small(arguments: Sequence[Guess], literals: Sequence[Any]) -> Guess:
    return Guess(SMALL)


def _sliced(arguments: Sequence[Guess], literals: Sequence[Any]) -> Guess:
    source, index = arguments[0], literals[1]
    index = getattr(index, "value", index)
    if source.items and isinstance(index, int) and index < len(source.items):
        return source.items[index]
    if source.shape is None:
        return replace(source, exact=False, reads=0.0)
    shape = slice_shape(source.shape, index)
    if shape is None:
        return replace(source, exact=False, reads=0.0, shape=None)
    return array(shape, source.itemsize, source.exact)


def slice_shape(shape: Sequence[int], index: Any) -> tuple[int, ...] | None:
    """The shape of ``x[index]``, None where that needs the values."""
    index = index if isinstance(index, tuple) else (index,)
    if Ellipsis in [each for each in index if each is Ellipsis]:
        place = next(i for i, each in enumerate(index) if each is Ellipsis)
        taken = sum(each is not None for each in index) - 1
        index = (*index[:place], *[slice(None)] * (len(shape) - taken), *index[place + 1 :])
    result: list[int] = []
    left = list(shape)
    for each in index:
        if each is None:
            result.append(1)
            continue
        if not left:
            return None
        length = left.pop(0)
        if isinstance(each, slice):
            result.append(len(range(*each.indices(length))))
        elif hasattr(each, "__len__"):
            if str(getattr(each, "dtype", "")) == "bool":
                return None
            result.append(len(each))
    return (*result, *left)


def _random(arguments: Sequence[Guess], literals: Sequence[Any]) -> Guess:
    """Random numbers, whose shape stands in the task."""
    shape = getattr(literals[3], "value", literals[3]) if len(literals) > 3 else None
    if not isinstance(shape, tuple) or not all(isinstance(length, int) for length in shape):
        return UNKNOWN
    return array(shape, 8, exact=False)


def _qr(arguments: Sequence[Guess], literals: Sequence[Any]) -> Guess:
    source = arguments[0]
    if source.shape is None or len(source.shape) != 2:
        return UNKNOWN
    (m, n), k = source.shape, min(source.shape)
    return _several(array((m, k), source.itemsize), array((k, n), source.itemsize))


def _svd(arguments: Sequence[Guess], literals: Sequence[Any]) -> Guess:
    source = arguments[0]
    if source.shape is None or len(source.shape) != 2:
        return UNKNOWN
    (m, n), k, size = source.shape, min(source.shape), source.itemsize
    return _several(array((m, k), size), array((k,), size), array((k, n), size))


def _several(*items: Guess) -> Guess:
    return Guess(sum(item.nbytes or 0.0 for item in items), items=items)


def _dot(arguments: Sequence[Guess], literals: Sequence[Any]) -> Guess:
    left, right = arguments[:2]
    if left.shape is None or right.shape is None or len(left.shape) != 2 or len(right.shape) != 2:
        return _largest(arguments, literals)
    return array((left.shape[0], right.shape[1]), max(left.itemsize, right.itemsize))


def _product(arguments: Sequence[Guess], literals: Sequence[Any]) -> Guess:
    """Dask's own product of two chunks, which has an axis of length 1 to sum over."""
    result = _dot(arguments, literals)
    if result.shape is None:
        return result
    return array((*result.shape[:-1], 1, result.shape[-1]), result.itemsize, exact=False)


def _lines(arguments: Sequence[Guess], literals: Sequence[Any]) -> Guess:
    """Lines of a text file as Python texts."""
    result = _largest(arguments, literals)
    return result if result.nbytes is None else Guess(TEXT_COPIES * result.nbytes)


def _stacked(arguments: Sequence[Guess], literals: Sequence[Any]) -> Guess:
    """Rows of matrices below each other."""
    result, flat = joined(arguments), _flat(arguments)
    shapes = [argument.shape for argument in flat if argument.shape is not None]
    if len(shapes) < len(flat) or not shapes or any(len(shape) != 2 for shape in shapes):
        return result
    return array((sum(shape[0] for shape in shapes), shapes[0][1]), flat[0].itemsize, result.exact)


_RULES: dict[str, Callable[[Sequence[Guess], Sequence[Any]], Guess]] = {
    **dict.fromkeys(("getitem", "getter", "getter_nofancy", "getter_inline"), _sliced),
    **dict.fromkeys(("concatenate", "concatenate3", "concatenate_shaped", "concatenate_axes"), joined),
    **dict.fromkeys(("concat", "_concat", "finalize", "_dask_postcompute"), joined),
    **dict.fromkeys(("tuple", "list", "dict", "to_container", "_identity_cast"), _together),
    "vstack": _stacked,
    **dict.fromkeys(("qr", "_wrapped_qr"), _qr),
    "svd": _svd,
    "_apply_random_func": _random,
    "_matmul": _product,
    "file_to_blocks": _lines,
    **dict.fromkeys(("dot", "matmul"), _dot),
    **dict.fromkeys(("_shuffle_transfer", "assign_index_merge_transfer", "rechunk_transfer"), _small),
    **dict.fromkeys(("p2p_barrier", "barrier", "len", "count", "_shuffle_group", "maybe_buffered_partd"), _small),
    **dict.fromkeys(("percentile_lookup", "percentile", "merge_percentiles", "empty_safe_aggregate"), _small),
    "empty_safe_apply": _small,
}

COPIES = {
    **dict.fromkeys(("qr", "_wrapped_qr", "svd", "moment_chunk"), 2.0),
    **dict.fromkeys(("percentile", "percentile_lookup", "sort", "partition"), 1.0),
    **dict.fromkeys(
        ("concat", "_concat", "merge_chunk", "merge_unpack", "_var_chunk", "_read_csv", "ParquetFunctionWrapper"), 2.0
    ),
    **dict.fromkeys(("_shuffle_transfer", "assign_index_merge_transfer"), 4.0),
    "rechunk_transfer": 1.0,
}
"""Copies that a function makes while it runs, of the larger of what it takes and gives."""
