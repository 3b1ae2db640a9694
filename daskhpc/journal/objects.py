"""Any object taken apart: estimators by their attributes, the rest by what its pickle holds."""

from __future__ import annotations

import copyreg
import fractions
import os
import pathlib
import random
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from ..compat.numba import compiles, what_is_compiled
from ..compat.pydantic import DECORATOR, what_is_decorated
from ..compat.python import libraries_of, library_name
from ..compat.scipy import SPLINES, what_a_spline_is
from ..compat.sklearn import NOT_OF_RESULTS, is_scorer
from .key_parts import Attributes, Node, UnkeyableError, Unordered, digest
from .origins import origin

_OF_WRAPPERS = frozenset({"__module__", "__doc__", "__annotations__", "__annotate__", "__type_params__"})
"""What `functools.update_wrapper` copies, beside names, from a function that is among the attributes as well."""
_WORDS = {
    "_thread.lock": "a thread lock",
    "_thread.RLock": "a thread lock",
    "socket.socket": "a socket",
    "builtins.generator": "a generator",
    "builtins.coroutine": "a coroutine",
    "builtins.frame": "a frame",
    "weakref.ReferenceType": "a weak reference",
}


def handler(kind: type) -> Callable[[Any], Node]:
    """How objects of a type are taken apart, which are neither data nor code."""
    found = _KINDS.get(f"{kind.__module__.removesuffix('._local')}.{kind.__qualname__}")
    if found is not None:
        return found
    if compiles(kind):
        return _compiled
    base = getattr(sys.modules.get("sklearn.base"), "BaseEstimator", None)
    if base is not None and issubclass(kind, base):
        return _estimator if _plain(kind, base) else _estimator_by_pickle
    return _scorer if is_scorer(kind) else by_pickle


def by_pickle(obj: Any) -> Node:
    """The callable, its arguments, the state and the items of ``__reduce_ex__``."""
    kind = type(obj)
    reduced = _reduce(obj)
    if isinstance(reduced, str):
        module = getattr(obj, "__module__", None) or kind.__module__
        home = origin(module)
        return Node("global", ["" if home.own else module, reduced, home.version])
    made, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    mapped: Any = list(pairs) if pairs is not None else None
    if mapped and isinstance(obj, dict) and not isinstance(obj, OrderedDict):
        mapped = Unordered(mapped)
    children = [kind, made, arguments, _state(state), list(items) if items is not None else None, mapped]
    return Node("object", children, [""] * len(children))


def _scorer(scorer: Any) -> Node:
    """One of scikit-learn's, which nothing changes: each call of a search has it."""
    return by_pickle(scorer)._replace(keep=True)


def _compiled(function: Any) -> Node:
    """One of Numba's."""
    return Node("numba", [type(function), Attributes(what_is_compiled(function))], ["", ""])


def _library(library: Any) -> Node:
    """A shared library of `ctypes`, by the content of its file if that was named."""
    path = pathlib.Path(library_name(library))
    return Node("shared library", [type(library), path.name, digest(path.read_bytes()) if path.is_file() else b""])


def _library_function(function: Any) -> Node:
    about = [function.__name__, function.restype, function.argtypes]
    return Node("library function", [*about, libraries_of(function)])


def _reduce(obj: Any) -> Any:
    kind = type(obj)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name in _WORDS:
        raise UnkeyableError(_WORDS[name])
    try:
        special = copyreg.dispatch_table.get(kind)
        return special(obj) if special is not None else obj.__reduce_ex__(5)
    except (RecursionError, MemoryError):
        raise
    except Exception as error:
        if name.startswith("_io."):
            raise UnkeyableError("an open file") from None
        text = str(error).partition("\n")[0][:200]
        raise UnkeyableError(f"an object of {name}, which cannot be pickled ({text})") from None


def _state(state: Any) -> Any:
    # attributes and slots; a class that a pickler made anew may have an attribute in place of a slot
    if type(state) is tuple and len(state) == 2 and all(part is None or type(part) is dict for part in state):
        state = {**(state[0] or {}), **(state[1] or {})}
    if type(state) is dict and all(type(k) is str for k in state):
        return Attributes({k: v for k, v in state.items() if k not in _OF_WRAPPERS})
    return state


def _plain(kind: Any, base: Any) -> bool:
    stock = kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__
    return stock and kind.__getstate__ is base.__getstate__


def _estimator(estimator: Any) -> Node:
    return Node("estimator", [type(estimator), _state_of(estimator, vars(estimator))], ["", ""])


def _estimator_by_pickle(estimator: Any) -> Node:
    node = by_pickle(estimator)
    reduced = list(_reduce(estimator))
    if len(reduced) > 2 and type(reduced[2]) is dict:
        return Node(node.kind, [*node.children[:3], _state_of(estimator, reduced[2]), *node.children[4:]], node.names)
    return node


def _state_of(estimator: Any, state: Mapping[str, Any]) -> Attributes:
    unseen = NOT_OF_RESULTS | getattr(type(estimator), "__not_of_results__", frozenset())
    kept = {k: v for k, v in state.items() if k not in unseen}
    if "param_distributions" in kept:
        kept["param_distributions"] = _drawn_from(kept["param_distributions"])
    return Attributes(kept)


def _drawn_from(given: Any) -> Any:
    """Distributions of a search without their own random state: the search draws with its own."""
    if isinstance(given, list):
        return [_drawn_from(each) for each in given]
    if not isinstance(given, dict):
        return given
    return {k: _distribution(v) if hasattr(v, "rvs") and hasattr(v, "dist") else v for k, v in given.items()}


def _distribution(frozen: Any) -> Node:
    state = {k: v for k, v in vars(frozen).items() if k != "dist"}
    return Node("distribution", [type(frozen), type(frozen.dist), Attributes(state)])


def _path(path: pathlib.PurePath) -> Node:
    return Node("path", [type(path).__name__, str(path)])


def _fraction(number: fractions.Fraction) -> Node:
    return Node("fraction", [type(number), number.numerator, number.denominator])


def _date(moment: Any) -> Node:
    zone = getattr(moment, "tzinfo", None)
    fold = getattr(moment, "fold", 0)
    return Node("date", [type(moment), moment.isoformat(), fold, zone])


def _environment(_: Any) -> Node:
    """All of ``os.environ``: other in each job, and no part of what a function is."""
    return Node("environment", [])


def _random(generator: random.Random) -> Node:
    """By its state; the one behind ``random.random`` by being that, as NumPy's."""
    if generator is random.random.__self__:  # type: ignore[attr-defined]
        return Node("global random generator", [])
    return by_pickle(generator)


def _decorated(found: Any) -> Node:
    """A validator or the like in a class of pydantic."""
    return Node("pydantic decorator", what_is_decorated(found))


def _spline(spline: Any) -> Node:
    return Node("spline", [type(spline), Attributes(what_a_spline_is(spline))], ["", ""])


def _buffer(found: Any) -> Node:
    return Node("buffer", [type(found).__name__, digest(memoryview(found).tobytes())])


def _memory(_: Any) -> Node:
    return Node("joblib.Memory", [])


def _memorized(function: Any) -> Node:
    return Node("joblib.Memory", [function.func], [".func"])


def _type_variable(found: Any) -> Node:
    """By its name: a pickler that makes it anew gives it the pickler's own module."""
    return Node("type variable", [found.__name__])


def _simple_namespace(found: types.SimpleNamespace) -> Node:
    return Node("namespace", [type(found), Attributes(vars(found))], ["", ""])


_KINDS: Mapping[str, Callable[[Any], Node]] = {
    **dict.fromkeys((f"pathlib.{p}{k}Path" for p in ("", "Pure") for k in ("", "Posix", "Windows")), _path),
    "fractions.Fraction": _fraction,
    "datetime.date": _date,
    "datetime.datetime": _date,
    "datetime.time": _date,
    f"os.{type(os.environ).__qualname__}": _environment,
    "random.Random": _random,
    "ctypes.CDLL": _library,
    "ctypes.PyDLL": _library,
    "ctypes.CDLL.__init__.<locals>._FuncPtr": _library_function,
    "builtins.memoryview": _buffer,
    "builtins.bytearray": _buffer,
    "pickle.PickleBuffer": _buffer,
    "_pickle.PickleBuffer": _buffer,
    "joblib.memory.Memory": _memory,
    "joblib.memory.MemorizedFunc": _memorized,
    **dict.fromkeys(("typing.TypeVar", "typing.ParamSpec", "typing.TypeVarTuple"), _type_variable),
    DECORATOR: _decorated,
    **dict.fromkeys(SPLINES, _spline),
    "types.SimpleNamespace": _simple_namespace,
}
