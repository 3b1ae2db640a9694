"""What a job asks for: each option is declared once, with its type, its meaning and its command-line option."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import LaunchError
from .quantities import mebibytes_of, seconds_of
from .site import Site


def _whole(value: Any) -> int:
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"\d+", text) or int(text) < 1:
        raise ValueError("a whole number, 1 or more")
    return int(text)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _line(value: Any) -> str:
    """A value of the scheduler's own kind: any text that one line of a job script can hold."""
    text = str(value)
    if not text or text != text.strip() or not all(c.isprintable() for c in text):
        raise ValueError("a text without line ends and other control characters, and not an empty one")
    return text


def _matching(pattern: str, wanted: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        text = str(value)
        if not re.fullmatch(pattern, text):
            raise ValueError(wanted)
        return text

    return parse


def _lines(value: Any) -> tuple[str, ...]:
    return tuple(map(_line, [value] if isinstance(value, str) else value))


def _variables(value: Any) -> tuple[str, ...]:
    """Names and ``NAME=value`` of environment variables; from Python also a mapping."""
    given = [f"{k}={v}" for k, v in value.items()] if isinstance(value, Mapping) else value
    texts = tuple([given] if isinstance(given, str) else given)
    for text in texts:
        if not re.match(r"[A-Za-z_]\w*(=|$)", text) or "\0" in text:
            raise ValueError("NAME, for the value that it has here, or NAME=value")
    return texts


@dataclass(frozen=True, slots=True)
class ResourceOption:
    """One option of ``daskhpc submit``, as `JobSpec` declares it.

    Attributes
    ----------
    parse : Callable[[Any], Any]
        Makes the value of what was given; its ValueError describes in words what the option takes.
    meaning : str
        What it sets: one sentence.
    group : str
        Under which heading the help lists it.
    option : str
        Its names on the command line, separated by spaces.
    metavar : str
    """

    parse: Callable[[Any], Any]
    meaning: str
    group: str
    option: str
    metavar: str

    @property
    def flag(self) -> str:
        """The name by which messages call it: the first long one."""
        return next(name for name in self.option.split() if name.startswith("--"))

    @property
    def is_flag(self) -> bool:
        """Whether the option stands without a value."""
        return self.parse is _flag

    @property
    def is_repeated(self) -> bool:
        """Whether the option may be given more than once."""
        return self.parse in (_lines, _variables)


PAYING, SHAPE, MEMORY, TIMES, ORDER = "Who pays, and where", "Shape", "Memory and GPUs", "Time", "Order and arrays"
OUTPUT, ENVIRONMENT = "Output and mail", "Environment"


def _option(default: Any, parse: Callable[[Any], Any], group: str, option: str, metavar: str, meaning: str) -> Any:
    return field(default=default, metadata={"option": ResourceOption(parse, meaning, group, option, metavar)})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What a job asks of the scheduler, frozen; make one with `JobSpec.make`.

    A value of None, and an empty one, is one that was not given: the site's default holds.

    Examples
    --------
    >>> spec = JobSpec.make(nodes="2", time="1:30:00", memory="180G")
    >>> spec.nodes, spec.time, spec.memory
    (2, 5400, 184320)
    >>> JobSpec.make(node=2)
    Traceback (most recent call last):
    ...
    daskhpc.errors.LaunchError: There is no option 'node' of a job.
      found: the options are name, account, ...
      try:   nodes
    """

    name: str = _option("", _line, PAYING, "-J --job-name --name", "TITLE", "Title of the job; the program's name.")
    account: str = _option("", _line, PAYING, "-A --account", "NAME", "Account or project that pays.")
    partition: str = _option("", _line, PAYING, "-p --partition --queue", "NAME", "Partition or queue.")
    qos: str = _option("", _line, PAYING, "-q --qos", "NAME", "Quality of service.")
    reservation: str = _option("", _line, PAYING, "--reservation", "NAME", "Reservation to use.")
    clusters: str = _option("", _line, PAYING, "-M --clusters", "NAME", "Cluster of a multi-cluster site.")
    comment: str = _option("", _line, PAYING, "--comment", "TEXT", "Comment that the scheduler keeps.")

    nodes: int = _option(1, _whole, SHAPE, "-N --nodes", "N", "Nodes. Default: 1.")
    tasks_per_node: int = _option(
        1, _whole, SHAPE, "--ntasks-per-node", "N", "Workers per node. Default: 1, which has all CPUs."
    )
    cpus_per_task: int | None = _option(
        None, _whole, SHAPE, "-c --cpus-per-task", "N", "CPUs per worker. Default: whole nodes."
    )
    exclusive: bool = _option(False, _flag, SHAPE, "--exclusive", "", "Share the nodes with no other job.")
    constraint: str = _option("", _line, SHAPE, "-C --constraint", "FEATURES", "Features that the nodes must have.")
    nodelist: str = _option("", _line, SHAPE, "-w --nodelist", "NODES", "Nodes that must be among them.")
    exclude: str = _option("", _line, SHAPE, "-x --exclude", "NODES", "Nodes that must not be among them.")
    hint: str = _option("", _line, SHAPE, "--hint", "HINT", "Such as nomultithread: one thread per core.")
    switches: str = _option("", _line, SHAPE, "--switches", "N[@TIME]", "Most switches between the nodes.")

    memory: int | None = _option(
        None, mebibytes_of, MEMORY, "--mem --memory", "SIZE", "Memory per node, such as 180G, or all."
    )
    gpus: int | None = _option(None, _whole, MEMORY, "--gpus-per-node --gpus", "N", "GPUs per node.")
    gpu_type: str = _option(
        "", _matching(r"[\w.+-]+", "one word, such as a100"), MEMORY, "--gpu-type", "TYPE", "Type of the GPUs."
    )
    tmp: int | None = _option(None, mebibytes_of, MEMORY, "--tmp", "SIZE", "Least free disk of a node.")
    licenses: str = _option("", _line, MEMORY, "-L --licenses", "NAMES", "Licenses to reserve.")

    time: int | None = _option(
        None, seconds_of, TIMES, "-t --time --walltime", "TIME", "Time limit: 90m, 2h30m, 1:30:00 or 1-12:00."
    )
    begin: str = _option("", _line, TIMES, "--begin", "WHEN", "Not before, in the scheduler's own form.")
    deadline: str = _option("", _line, TIMES, "--deadline", "WHEN", "Removed if it cannot end before.")
    hold: bool = _option(False, _flag, TIMES, "-H --hold", "", "Wait until it is released.")

    dependency: str = _option(
        "", _line, ORDER, "-d --dependency", "KIND:ID", "Wait for other jobs: afterok:123, afterany:123:124."
    )
    priority: str = _option("", _matching(r"-?\d+", "a whole number"), ORDER, "--priority", "N", "Priority among jobs.")
    array: str = _option(
        "",
        _matching(r"(\d+(-\d+(:\d+)?)?)(,\d+(-\d+(:\d+)?)?)*(%\d+)?", "indices such as 0-9, or 0-9%4 for four at once"),
        ORDER,
        "-a --array",
        "0-9[%4]",
        "One job per index; the program finds it in SLURM_ARRAY_TASK_ID, PBS_ARRAY_INDEX or PBS_ARRAYID.",
    )
    chain: int | None = _option(
        None, _whole, ORDER, "--chain", "N", "N jobs, each of which goes on where the one before it stopped."
    )
    no_requeue: bool = _option(
        False,
        _flag,
        ORDER,
        "--no-requeue",
        "",
        "Do not run again after a lost node, or with code 75 at the time limit.",
    )

    output: str = _option("", _line, OUTPUT, "-o --output", "FILE", "Log of the job. Default: in the job folder.")
    mail_type: str = _option("", _line, OUTPUT, "--mail-type", "EVENTS", "Such as BEGIN,END,FAIL.")
    mail_user: str = _option("", _line, OUTPUT, "--mail-user", "ADDRESS", "Who gets the mail.")

    env: tuple[str, ...] = _option(
        (), _variables, ENVIRONMENT, "--env", "NAME[=VALUE]", "Environment variable of the program; repeatable."
    )
    modules: tuple[str, ...] = _option(
        (), _lines, ENVIRONMENT, "--module-load", "NAME", "Environment module to load; repeatable."
    )
    setup: tuple[str, ...] = _option(
        (), _lines, ENVIRONMENT, "--setup", "LINE", "Line of shell before the program; repeatable."
    )
    live: bool = _option(
        False, _flag, ENVIRONMENT, "--live", "", "Run the files as they are then, not as they are now."
    )
    slurm: tuple[str, ...] = _option(
        (), _lines, ENVIRONMENT, "--slurm", "OPTION", "Any other option of sbatch; repeatable."
    )
    pbs: tuple[str, ...] = _option((), _lines, ENVIRONMENT, "--pbs", "OPTION", "Any other option of qsub; repeatable.")

    @classmethod
    def declared(cls) -> Mapping[str, ResourceOption]:
        """How every option is declared, by its name."""
        return {f.name: f.metadata["option"] for f in fields(cls)}

    @classmethod
    def make(cls, **given: Any) -> JobSpec:
        """Check and parse options; an option that is None or empty counts as not given.

        Raises
        ------
        LaunchError
            If a name is no option; the message lists the valid names. If an option does not take its value.
        """
        options = cls.declared()
        values = {}
        for name, value in given.items():
            if name not in options:
                close = difflib.get_close_matches(name, options, n=1)
                raise LaunchError(
                    f"There is no option {name!r} of a job.",
                    "the options are " + ", ".join(options),
                    close[0] if close else "",
                )
            if value is None or value in ("", (), []):
                continue
            try:
                values[name] = options[name].parse(value)
            except ValueError as error:
                flag = options[name].flag
                raise LaunchError(
                    f"{flag} does not take {value!r}.", options[name].meaning, f"{flag}: {error}"
                ) from None
        return cls(**values)

    def given(self) -> dict[str, Any]:
        """The options that differ from their default, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}

    @property
    def whole_nodes(self) -> bool:
        """Whether the job shares its nodes with no other job."""
        return self.exclusive or self.cpus_per_task is None

    def cpus_per_node(self, site: Site) -> int | None:
        """The CPUs that the job has on each node; None if they are not known."""
        if self.cpus_per_task is not None:
            return self.cpus_per_task * self.tasks_per_node
        return site.cpus_per_node
