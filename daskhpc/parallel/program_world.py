"""What a program has set up around its calls, and how a child gets the same.

joblib's own processes have the program's working directory, its path and its environment, since they are its children.
Those of a cluster are children of workers that were started before, on other nodes. So the calls of each use of
Parallel bring it along. Of the environment and of Dask's configuration only what the program itself has changed goes:
the rest belongs to the node.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import socket
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import cloudpickle
import dask

from ..cluster.children import changed, own_variables
from ..compat.python import set_warning_filters, warning_filters
from .program_modules import ModuleSource, as_the_program, program_modules


@dataclass(frozen=True, slots=True)
class ProgramWorld:
    """What surrounds a program's calls.

    Attributes
    ----------
    folder : str
        The working directory.
    environment : dict[str, str or None]
        Variables that the program has set or removed since it started.
    path : tuple[str, ...]
        ``sys.path``.
    prefix : str
        The Python installation that the path is of.
    filters : list
        Filters of ``warnings``.
    config : dict[str, Any]
        What the program has changed of Dask's configuration, by dotted name.
    arguments : tuple[str, ...]
        ``sys.argv``: modules may parse it when a call imports them.
    modules : dict[str, ModuleSource]
        The program's own modules, as it has imported them.
    initializer : bytes
        Pickled: a function and its arguments, which a child calls when it enters this world; empty for none.
    """

    folder: str
    environment: dict[str, str | None]
    path: tuple[str, ...]
    prefix: str
    filters: list[Any]
    config: dict[str, Any]
    arguments: tuple[str, ...] = ()
    modules: dict[str, ModuleSource] = field(default_factory=dict)
    initializer: bytes = b""


def capture(initializer: bytes = b"") -> bytes:
    """The world of this program, as it is now, pickled."""
    folder = os.getcwd()
    world = ProgramWorld(
        folder,
        variables(),
        tuple(entry or folder for entry in sys.path),
        sys.prefix,
        warning_filters(),
        {name: value for name, value in _flat(dask.config.config).items() if _initial.config.get(name) != value},
        tuple(sys.argv),
        program_modules.to_send(),
        initializer,
    )
    try:
        stream: bytes = cloudpickle.dumps(world, protocol=5)
    except Exception:  # a filter or a setting that does not travel: the calls have the worker's own
        stream = pickle.dumps(dataclasses.replace(world, filters=[], config={}), protocol=5)
    return stream


def variables() -> dict[str, str | None]:
    """What the program has set in its environment, or removed (None), since it started."""
    return changed({**_initial.environment, **own_variables}, os.environ)


def _flat(config: Mapping[str, Any], start: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    settings: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            settings.update(_flat(value, f"{start}{name}."))
        else:
            settings[f"{start}{name}"] = value
    return settings


def _at_start() -> dict[str, str]:
    """This process's environment as it was when it started."""
    try:
        with open("/proc/self/environ", "rb") as file:
            pairs = [os.fsdecode(pair).partition("=") for pair in file.read().split(b"\0") if b"=" in pair]
        return {name: value for name, _, value in pairs}
    except OSError:
        return dict(os.environ)


@dataclass
class _Initial:
    environment: dict[str, str] = field(default_factory=_at_start)
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config: dict[str, Any] = {}
        dask.config.refresh(config=config, defaults=dask.config.defaults)
        self.config = _flat(config)


_initial = _Initial()


@dataclass
class _Entered:
    """The world that this child process is in; its own values for what the program has not changed."""

    stream: bytes = b""
    note: str = ""
    filters: list[Any] | None = None
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    path: list[str] = field(default_factory=lambda: list(sys.path))
    folder: str = field(default_factory=os.getcwd)
    config: Any = None


_entered: _Entered | None = None


def enter(stream: bytes) -> str:
    """In a child: have the program's world from now on.

    Returns
    -------
    str
        A note for errors of calls, if the working directory does not exist here; else empty.
    """
    global _entered
    if _entered is None:
        _entered = _Entered()
    if _entered.stream != stream:
        _enter(_entered, pickle.loads(stream))
        _entered.stream = stream
    elif not _entered.note:
        with contextlib.suppress(OSError):  # the last call may have gone elsewhere
            os.chdir(_entered.folder)
    return _entered.note


def _enter(own: _Entered, world: ProgramWorld) -> None:
    environment = {**own.environment, **world.environment}
    for name in {*os.environ, *environment}:
        value = environment.get(name)
        if value is None:
            os.environ.pop(name, None)
        elif os.environ.get(name) != value:
            os.environ[name] = value
    same_python = world.prefix == sys.prefix
    missing = [entry for entry in world.path if entry not in own.path]
    sys.path[:] = [*world.path] if same_python else [*missing, *own.path]
    sys.argv[:] = world.arguments or sys.argv
    as_the_program.use(world.modules)
    own.note = ""
    try:
        os.chdir(world.folder)
        own.folder = world.folder
    except OSError as error:
        own.note = (
            f"The program's working directory {world.folder} is not there on {socket.gethostname()} "
            f"({error.strerror}): the call ran in {os.getcwd()}."
        )
    own.filters = world.filters or None
    if own.config is not None:
        own.config.__exit__(None, None, None)
    own.config = dask.config.set(world.config)
    if world.initializer:
        function, arguments = pickle.loads(world.initializer)
        function(*arguments)


@contextlib.contextmanager
def filters_of_warnings() -> Iterator[None]:
    """Within: the program's filters of warnings; what calls change of them is gone afterwards."""
    with warnings.catch_warnings():
        if _entered is not None and _entered.filters is not None:
            set_warning_filters(_entered.filters)
        yield
