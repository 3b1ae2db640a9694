"""What daskhpc needs of Numba beyond its public names. Importing this imports no Numba."""

from __future__ import annotations

from typing import Any


def compiles(kind: type) -> bool:
    """Whether objects of a class are functions that Numba compiles."""
    return kind.__module__.partition(".")[0] == "numba" and hasattr(kind, "_reduce_states")


def what_is_compiled(function: Any) -> dict[str, Any]:
    """The Python function, and the options and signatures that were given for it.

    Why not its pickle: that has a number drawn at random by each process, and the places of the code in files.
    Signatures that Numba adds with each new type of arguments do not count either.
    """
    states = dict(function._reduce_states())
    states.pop("uuid", None)
    if not states.get("frozen", True):
        states.pop("siglist", None)
    if states.get("is_dynamic"):
        states.pop("typesigs", None)
    signatures = {name for name in states if name.endswith(("sigs", "siglist"))}
    return {name: list(map(str, each)) if name in signatures else each for name, each in states.items()}
