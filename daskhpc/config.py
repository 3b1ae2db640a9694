"""Every choice that daskhpc makes has a setting here.

A setting comes from, first found first: the argument of the call, ``DASK_DASKHPC__<NAME>`` in the environment,
``daskhpc:`` in any YAML file of dask.config's places (``~/.config/dask/daskhpc.yaml`` is one), the default.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .errors import SettingsError

PREFIX = "DASK_DASKHPC__"
_LEAST_BYTES = 1_000_000


def _count(value: Any) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(value, bool) or not number.is_integer() or number < 1:
        raise ValueError("a whole number, 1 or more")
    return int(number)


def _seconds(value: Any) -> float:
    from dask.utils import parse_timedelta

    wanted = "a positive number of seconds, or a text such as '2 minutes'"
    if isinstance(value, bool) or value == "":
        raise ValueError(wanted)
    try:
        seconds = float(parse_timedelta(value))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(wanted) from None
    if not 0 < seconds < float("inf"):
        raise ValueError(wanted)
    return seconds


def _memory(value: Any) -> int | float | str:
    from dask.utils import parse_bytes

    wanted = "bytes (a million or more), a text such as '4GB', a fraction such as 0.5, 'auto', or 0 for no limit"
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or value == "":
        raise ValueError(wanted)
    try:
        part = float(value) if isinstance(value, float) or "." in str(value) else 0.0
    except ValueError:
        part = 0.0
    if 0 < part <= 1:
        return part
    try:
        count = int(parse_bytes(value))
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise ValueError(wanted) from None
    if count != 0 and count < _LEAST_BYTES:
        raise ValueError(wanted)
    return count


def _fraction(value: Any) -> float:
    try:
        fraction = float(value)
    except (TypeError, ValueError):
        fraction = -1.0
    if isinstance(value, bool) or not 0 <= fraction < 1:
        raise ValueError("a fraction, 0 or more and less than 1")
    return fraction


def _flag(value: Any) -> bool:
    text = str(value).lower()
    if isinstance(value, bool | int | str) and text in {"true", "yes", "on", "1", "false", "no", "off", "0"}:
        return text in {"true", "yes", "on", "1"}
    raise ValueError("true or false")


def _level(value: Any) -> str:
    levels = ("debug", "info", "warning", "error", "critical")
    if str(value).lower() not in levels:
        raise ValueError("one of " + ", ".join(levels))
    return str(value).lower()


def _bootstrap(value: Any) -> str:
    ways = ("auto", "mpi", "slurm")
    if str(value).lower() not in ways:
        raise ValueError("one of " + ", ".join(ways))
    return str(value).lower()


def _text(value: Any) -> str:
    if not str(value):
        raise ValueError("a text that is not empty")
    return str(value)


def _setting(default: Any, parse: Callable[[Any], Any]) -> Any:
    return field(default=default, metadata={"parse": parse})


@dataclass(frozen=True, slots=True)
class Settings:
    """The choices of one run, frozen; make them with `Settings.resolve`.

    Attributes
    ----------
    nthreads : int or None
        Threads per worker process; None: the CPUs granted to the rank, divided by its processes.
    processes : int
        Worker processes per worker rank.
    memory_limit : int, float or "auto"
        Bytes per worker process (a text such as "4GB" is read); a float up to 1 is a fraction of the memory granted
        to the rank, "auto" an equal share of it per process. 0 sets no limit.
    interface : str or None
        Network interface; None: the fastest usable one.
    local_directory : str or None
        Directory for spilled data; None: the local scratch.
    blas_threads : int or None
        BLAS and OpenMP threads inside a worker process; None: its CPUs divided by its threads.
    protocol : str or None
        Protocol of Dask's communication, as in dask_mpi.initialize.
    dashboard : bool
        Whether the scheduler serves Dask's dashboard.
    dashboard_address : str
        Where it serves it; another free port is taken when this one is in use.
    headroom : float
        Fraction of a node's memory that is left to the scheduler, the client and the system.
    start_deadline : float
        Seconds within which every rank must have arrived.
    worker_deadline : float
        Seconds within which `start` wants every worker.
    time_margin : float
        Seconds before the end of the job at which a program with a checkpoint ends, to be run again.
    log_level : str
        Level of Dask's loggers: debug, info, warning, error or critical.
    logs : str or None
        Folder in which every process writes its full log to a file of its own; None: memory keeps the end of it.
    bootstrap : str
        How ranks meet: "mpi", "slurm" (by what srun says, without MPI), or "auto": by MPI, under srun without it where
        there is no MPI library or it does not talk to srun.
    workers : int or None
        Workers that ``daskhpc run`` starts; None: one per task of the allocation, or what fits this machine.
    mpi : str or None
        ``srun --mpi=``; None: what fits the MPI library.
    checkpoint : str or None
        Folder in which ``daskhpc run`` keeps the results of every Parallel call of the program.
    retry_failed : bool
        Whether fits that failed are made again when they are in that folder.
    mpiexec : str or None
        The MPI launcher outside Slurm; None: the one that belongs to the MPI library.
    sources : Mapping[str, str]
        Where each setting came from.
    """

    nthreads: int | None = _setting(None, _count)
    processes: int = _setting(1, _count)
    memory_limit: int | float | str = _setting("auto", _memory)
    interface: str | None = _setting(None, _text)
    local_directory: str | None = _setting(None, _text)
    blas_threads: int | None = _setting(None, _count)
    protocol: str | None = _setting(None, _text)
    dashboard: bool = _setting(True, _flag)
    dashboard_address: str = _setting(":8787", _text)
    headroom: float = _setting(0.1, _fraction)
    start_deadline: float = _setting(60.0, _seconds)
    worker_deadline: float = _setting(60.0, _seconds)
    time_margin: float = _setting(90.0, _seconds)
    log_level: str = _setting("warning", _level)
    logs: str | None = _setting(None, _text)
    bootstrap: str = _setting("auto", _bootstrap)
    workers: int | None = _setting(None, _count)
    mpi: str | None = _setting(None, _text)
    mpiexec: str | None = _setting(None, _text)
    checkpoint: str | None = _setting(None, _text)
    retry_failed: bool = _setting(False, _flag)
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of all settings."""
        return tuple(f.name for f in fields(cls) if "parse" in f.metadata)

    @classmethod
    def resolve(cls, arguments: Mapping[str, Any] | None = None, config: Mapping[str, Any] | None = None) -> Settings:
        """Settle every setting.

        Parameters
        ----------
        arguments : Mapping[str, Any], optional
            What the caller was given; None means that it was not given.
        config : Mapping[str, Any], optional
            What stands under ``daskhpc:`` in dask.config, which knows the environment and the YAML files; read from
            there by default.

        Returns
        -------
        Settings

        Raises
        ------
        SettingsError
            For an unknown name, with the valid ones, and for a value that the setting does not take.
        """
        given = {k: v for k, v in (arguments or {}).items() if v is not None}
        found = {k.replace("-", "_"): v for k, v in (_dask_config() if config is None else config).items()}
        for name in (*given, *found):
            if name not in cls.names():
                raise _unknown(name, "argument" if name in given else _source(name))
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for f in fields(cls):
            if "parse" not in f.metadata:
                continue
            if f.name in given:
                value, source = given[f.name], "argument"
            elif found.get(f.name) is not None:
                value, source = found[f.name], _source(f.name)
            else:
                sources[f.name] = "default"
                continue
            values[f.name] = _parse(f.name, f.metadata["parse"], value, source)
            sources[f.name] = source
        return cls(**values, sources=sources)


def _dask_config() -> Mapping[str, Any]:
    import dask.config

    found = dask.config.get("daskhpc", default=None) or {}
    if not isinstance(found, Mapping):
        raise SettingsError(
            "The settings under 'daskhpc:' in dask.config are not names with values.",
            repr(found),
            "daskhpc:\n    processes: 2",
        )
    return found


def _source(name: str) -> str:
    variable = PREFIX + name.upper()
    return variable if variable in os.environ else "dask.config"


def _parse(name: str, parse: Callable[[Any], Any], value: Any, source: str) -> Any:
    try:
        return parse(value)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise SettingsError(
            f"The setting {name} does not take {value!r}.", f"{source}: {value!r}", str(error)
        ) from None


def _unknown(name: str, source: str) -> SettingsError:
    names = Settings.names()
    close = difflib.get_close_matches(name, names, n=1)
    found = f"{source}; the settings are " + ", ".join(names)
    return SettingsError(f"There is no setting {name!r}.", found, close[0] if close else "")
