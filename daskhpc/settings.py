"""The settings: each is declared once, with its type, default, meaning, parser and command-line option.

A setting comes from, first found first: the argument of the call, ``DASK_DASKHPC__<NAME>`` in the environment,
``daskhpc:`` in any YAML file of dask.config's places (``~/.config/dask/daskhpc.yaml`` is one), the default.
"""

from __future__ import annotations

import difflib
import os
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .errors import SettingsError

PREFIX = "DASK_DASKHPC__"
ELSEWHERE = frozenset(("profile", "profiles"))
"""What stands under ``daskhpc:`` too and is no setting of a run: the sites that `daskhpc submit` knows."""
SCALING_REPEATS = 5
"""How often a scaling study measures each time: of the function and of the command, which imports no Dask."""
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


@dataclass(frozen=True, slots=True)
class Declaration:
    """One setting, as `Settings` declares it.

    Attributes
    ----------
    parse : Callable[[Any], Any]
        Makes the value of what was given; its ValueError describes in words what the setting takes.
    meaning : str
        What it sets, with its unit: one sentence.
    otherwise : str
        What holds if it is not set.
    option : str
        Its names on the command line of ``daskhpc run``, separated by spaces; empty if it has none there.
    metavar : str
        What the help of that command calls the value.
    """

    parse: Callable[[Any], Any]
    meaning: str
    otherwise: str
    option: str = ""
    metavar: str = ""

    @property
    def text(self) -> str:
        """What help and docstrings say of it."""
        return f"{self.meaning} Default: {self.otherwise}."


def _setting(
    default: Any, parse: Callable[[Any], Any], meaning: str, otherwise: str = "", option: str = "", metavar: str = ""
) -> Any:
    if not otherwise:
        otherwise = (
            str(default).lower() if isinstance(default, bool) else f"{default:g}" if parse is _seconds else str(default)
        )
    return field(default=default, metadata={"setting": Declaration(parse, meaning, otherwise, option, metavar)})


@dataclass(frozen=True, slots=True)
class Settings:
    """The choices of one run, frozen; make them with `Settings.resolve`.

    Attributes
    ----------
    sources : Mapping[str, str]
        Where each setting came from: ``"argument"``, the variable's name, ``"dask.config"`` or ``"default"``.

    Examples
    --------
    >>> settings = Settings.resolve({"nthreads": 2, "memory_limit": "4GB"}, config={})
    >>> settings.nthreads, settings.memory_limit, settings.processes
    (2, 4000000000, 1)
    >>> settings.sources["nthreads"], settings.sources["processes"]
    ('argument', 'default')
    """

    workers: int | None = _setting(
        None,
        _count,
        "Worker ranks that `daskhpc run` starts; without MPI worker processes, each as many as `processes` says.",
        "one per task of the allocation, or what fits this machine",
        "-n --workers",
    )
    nthreads: int | None = _setting(
        None,
        _count,
        "Threads per worker process.",
        "the CPUs granted to the rank, divided by its processes",
        "--nthreads",
    )
    processes: int = _setting(1, _count, "Worker processes per worker rank.", option="--processes")
    memory_limit: int | float | str = _setting(
        "auto",
        _memory,
        "Bytes per worker process, or a text such as '4GB'; a fraction such as 0.5 is a part of the memory granted to "
        "the rank, 0 sets no limit.",
        "auto, an equal share of the memory granted to the rank",
        "--memory-limit",
    )
    interface: str | None = _setting(
        None,
        _text,
        "Network interface, such as 'ib0'.",
        "InfiniBand, Slingshot or Omni-Path, or else the interface that reaches the other nodes",
        "--interface",
    )
    local_directory: str | None = _setting(
        None,
        _text,
        "Folder on a local disk in which workers spill data.",
        "the first of SLURM_TMPDIR, TMPDIR and /tmp that is writable",
        "--local-directory",
        "DIR",
    )
    blas_threads: int | None = _setting(
        None, _count, "BLAS and OpenMP threads in a worker process.", "the CPUs of the process, divided by its threads"
    )
    protocol: str | None = _setting(
        None,
        _text,
        "Protocol of Dask's communication: 'tls', which is encrypted and lets in only processes of this run, or 'tcp', "
        "which is open to every process that reaches a node.",
        "tls in a batch job and on several nodes, else tcp",
        "--protocol",
    )
    dashboard: bool = _setting(True, _flag, "Whether the scheduler serves Dask's dashboard.")
    dashboard_address: str = _setting(
        ":8787", _text, "Address of the dashboard; if its port is in use, another port is taken."
    )
    headroom: float = _setting(
        0.1,
        _fraction,
        "Fraction of a node's memory that no worker gets; the scheduler, the client and the system use it.",
    )
    start_deadline: float = _setting(60.0, _seconds, "Seconds within which every rank must have arrived.")
    worker_deadline: float = _setting(60.0, _seconds, "Seconds within which `start` must have every worker.")
    time_margin: float = _setting(
        90.0,
        _seconds,
        "Seconds before the end of the job at which a program with a checkpoint ends with code 75, to be run again.",
        option="--time-margin",
        metavar="TIME",
    )
    log_level: str = _setting("warning", _level, "Level of Dask's loggers: debug, info, warning, error or critical.")
    logs: str | None = _setting(
        None,
        _text,
        "Folder in which every process writes its full log to a file of its own.",
        "no files; each process keeps the end of its log in memory",
        "--logs",
        "DIR",
    )
    bootstrap: str = _setting(
        "auto",
        _bootstrap,
        "How the ranks meet: 'mpi'; 'slurm', by srun's variables without MPI, which survives lost nodes; 'auto' is "
        "'mpi', but 'slurm' under srun if no MPI library talks to it.",
        option="--bootstrap",
    )
    mpi: str | None = _setting(None, _text, "Type for `srun --mpi=`.", "what fits the MPI library", "--mpi")
    mpiexec: str | None = _setting(
        None, _text, "MPI launcher outside Slurm.", "the launcher that belongs to the MPI library"
    )
    checkpoint: str | None = _setting(
        None,
        _text,
        "Folder in which `daskhpc run` keeps the results of fits and joblib calls, which then are not made again.",
        "no results are kept",
        "--checkpoint",
        "DIR",
    )
    retry_failed: bool = _setting(
        False,
        _flag,
        "Whether `daskhpc run` makes fits that failed again if they are in the checkpoint.",
        option="--retry-failed",
    )
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def declared(cls) -> Mapping[str, Declaration]:
        """How every setting is declared, by its name."""
        return {f.name: f.metadata["setting"] for f in fields(cls) if "setting" in f.metadata}

    def given(self, name: str) -> bool:
        """Whether a setting was set, rather than left to its default."""
        return self.sources.get(name, "default") != "default"

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of all settings."""
        return tuple(cls.declared())

    @classmethod
    def resolve(cls, arguments: Mapping[str, Any] | None = None, config: Mapping[str, Any] | None = None) -> Settings:
        """Find the value of every setting.

        Parameters
        ----------
        arguments : Mapping[str, Any], optional
            The settings that the caller was given, by name. A value of None counts as not given.
        config : Mapping[str, Any], optional
            The settings under ``daskhpc:`` in dask.config, which reads the environment and the YAML files. By default
            they are read from there.

        Returns
        -------
        Settings
            Each value parsed to its type, with its source.

        Raises
        ------
        SettingsError
            If a name is no setting; the message lists the valid names. If a setting does not take its value.

        Examples
        --------
        An argument comes before the configuration:

        >>> Settings.resolve({"processes": 2}, config={"processes": 4, "headroom": 0.2}).processes
        2
        >>> Settings.resolve({"nthread": 2}, config={})
        Traceback (most recent call last):
        ...
        daskhpc.errors.SettingsError: There is no setting 'nthread'.
          found: argument; the settings are workers, nthreads, ...
          try:   nthreads
        """
        given = {k: v for k, v in (arguments or {}).items() if v is not None}
        configured = {k.replace("-", "_"): v for k, v in (_dask_config() if config is None else config).items()}
        configured = {name: value for name, value in configured.items() if name not in ELSEWHERE}
        for name in (*given, *configured):
            if name not in cls.names():
                raise _unknown(name, "argument" if name in given else _source(name))
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for name, setting in cls.declared().items():
            if name in given:
                value, source = given[name], "argument"
            elif configured.get(name) is not None:
                value, source = configured[name], _source(name)
            else:
                sources[name] = "default"
                continue
            values[name] = _parse(name, setting.parse, value, source)
            sources[name] = source
        return cls(**values, sources=sources)


def _attributes() -> str:
    """The attributes of `Settings` for its docstring, from the declarations."""
    types = {f.name: str(f.type).replace(" | ", " or ") for f in fields(Settings)}
    lines = []
    for name, setting in Settings.declared().items():
        lines += [f"    {name} : {types[name]}", textwrap.indent(textwrap.fill(setting.text, 110), " " * 8)]
    return "\n".join(lines) + "\n"


# A setting is declared once, so the class's docstring is completed here. Python drops docstrings with -OO.
if Settings.__doc__ is not None:
    Settings.__doc__ = Settings.__doc__.replace("    sources : Mapping", _attributes() + "    sources : Mapping", 1)


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
