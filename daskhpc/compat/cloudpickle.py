"""What daskhpc needs of cloudpickle beyond its public names."""

from __future__ import annotations

import io
import pickle
from collections import ChainMap
from collections.abc import Callable
from types import CodeType
from typing import Any, ClassVar

import cloudpickle

_NO_FILE = "<dynamic-code>"  # cloudpickle 3.1 and later write this in place of a function's file


def dumps(value: Any, buffer_callback: Callable[[pickle.PickleBuffer], Any] | None = None) -> bytes:
    """Pickle as cloudpickle does, and keep the file of each function: a traceback then names the user's file and line.

    Parameters
    ----------
    value : object
    buffer_callback : callable, optional
        As of `pickle.dumps`.
    """
    sink = io.BytesIO()
    _Pickler(sink, protocol=5, buffer_callback=buffer_callback).dump(value)
    return sink.getvalue()


def _with_its_file(code: CodeType) -> tuple[Any, ...]:
    make, arguments, *others = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return make, tuple(code.co_filename if given == _NO_FILE else given for given in arguments), *others


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    dispatch_table: ClassVar = ChainMap({CodeType: _with_its_file}, cloudpickle.Pickler.dispatch_table)
