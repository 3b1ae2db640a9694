"""What daskhpc needs of cloudpickle beyond its public names."""

from __future__ import annotations

import io
import pickle
import sys
import types
from collections import ChainMap
from collections.abc import Callable
from types import CodeType
from typing import Any, ClassVar

import cloudpickle
from cloudpickle import cloudpickle as _inner

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


# A class of ``__main__`` travels by value. Within one run cloudpickle knows it again by a number of its own. Another
# run of the program has other numbers: an object that the first has saved would be of another class, equal to nothing.


def loads(data: bytes) -> Any:
    """Unpickle what an earlier run of the program may have pickled: an object of its class is of this run's class."""
    return _Unpickler(io.BytesIO(data)).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        return _OF_CLASSES.get(name, found) if module == _inner.__name__ else found


def _programs_own(module: str | None, name: str, bases: tuple[Any, ...]) -> type | None:
    """The class of this name at the top of the program; None if it has none."""
    found = vars(sys.modules["__main__"]).get(name) if module == "__main__" else None
    if not isinstance(found, type) or (found.__module__, found.__qualname__) != (module, name):
        return None
    return found if found.__bases__ == types.resolve_bases(bases) or _inner._get_bases(found) == bases else None


def _make_class(kind: Any, name: str, bases: tuple[Any, ...], more: dict[str, Any], *others: Any) -> Any:
    own = _programs_own(more.get("__module__"), name, bases)
    return own or _inner._make_skeleton_class(kind, name, bases, more, *others)


def _make_enum(bases: tuple[Any, ...], name: str, qualname: str, members: Any, module: str, *others: Any) -> Any:
    own = _programs_own(module, qualname, bases)
    return own or _inner._make_skeleton_enum(bases, name, qualname, members, module, *others)


def _fill_class(made: type, state: Any) -> Any:
    own = vars(sys.modules["__main__"]).get(made.__qualname__) is made
    return made if own else _inner._class_setstate(made, state)


_OF_CLASSES = {
    "_make_skeleton_class": _make_class,
    "_make_skeleton_enum": _make_enum,
    "_class_setstate": _fill_class,
}
