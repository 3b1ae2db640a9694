"""What an object is, in a few words for people."""

from __future__ import annotations

import re
from pathlib import Path
from types import FunctionType
from typing import Any

from .origins import file_of, origin

_WIDTH = 200
_COLUMNS = 8


def describe(obj: Any) -> str:
    """What an object is, in a few words.

    Parameters
    ----------
    obj : object

    Returns
    -------
    str
        One line, such as "float64 array (1797, 64)", "SVC(C=10)", "function score in search.py".
    """
    try:
        return _short(_describe(obj))
    except Exception:  # from a __repr__ of the user's
        return f"{type(obj).__qualname__} object"


def _describe(obj: Any) -> str:
    kind = type(obj)
    root = kind.__module__.partition(".")[0]
    if isinstance(obj, FunctionType | type) or (callable(obj) and hasattr(obj, "__qualname__")):
        return _code(obj)
    if isinstance(obj, list | tuple | set | frozenset | dict) and len(repr(obj)) > _WIDTH:
        return f"{kind.__name__} of {len(obj)}"
    if root == "pandas" and hasattr(obj, "columns"):
        return _frame(obj)
    if root == "pandas" and hasattr(obj, "dtype") and hasattr(obj, "__len__"):
        return f"{obj.dtype} {kind.__name__} of {len(obj)}"
    if root == "xarray" and hasattr(obj, "sizes"):
        return f"{kind.__name__} " + " x ".join(f"{name} {size}" for name, size in obj.sizes.items())
    if hasattr(obj, "nnz") and hasattr(obj, "shape"):
        return f"{obj.dtype} {kind.__name__} {obj.shape}, {obj.nnz} stored"
    if hasattr(obj, "dtype") and getattr(obj, "shape", None):
        name = "array" if kind.__name__ in ("ndarray", "memmap") else f"{root} {kind.__name__}"
        return f"{obj.dtype} {name} {tuple(obj.shape)}"
    return repr(obj)


def _code(obj: Any) -> str:
    word = "class" if isinstance(obj, type) else "function"
    module = getattr(obj, "__module__", None)
    if not origin(module).own:
        return f"{word} {module}.{obj.__qualname__}"
    code = getattr(obj, "__code__", None)
    file = code.co_filename if code is not None else file_of(module or "")
    return f"{word} {obj.__qualname__}" + (f" in {Path(file).name}" if file and not file.startswith("<") else "")


def _frame(frame: Any) -> str:
    dtypes = frame.dtypes.tolist()
    columns = [f"{name} {dtype}" for name, dtype in zip(frame.columns[:_COLUMNS], dtypes, strict=False)]
    more = ", ..." if len(dtypes) > _COLUMNS else ""
    return f"frame of {len(dtypes)} columns x {len(frame)} rows: {', '.join(columns)}{more}"


def _short(text: str) -> str:
    line = re.sub(r"<([^<>]+) at 0x[0-9a-f]+>", lambda found: found[1], " ".join(text.split()))
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..."
