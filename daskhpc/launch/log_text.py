"""What is worth reading first in the log of a job: its runs, the first traceback, the scheduler's words explained."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_RUN = re.compile(r"^daskhpc: run (\d+) of job (\S+) begins on (\S+)\n?", re.MULTILINE)
_TRACEBACK = "Traceback (most recent call last):"
_CHAIN = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)


@dataclass(frozen=True, slots=True)
class LogRun:
    """What one run of a job wrote; a job that is requeued runs again, and its log goes on.

    Attributes
    ----------
    number : int
        1 for the first one.
    host : str
        Its first node; empty if the log does not say.
    text : str
    """

    number: int
    host: str
    text: str


def log_runs(text: str) -> tuple[LogRun, ...]:
    """The runs in a log; one, if the log has no line at which a run begins.

    Examples
    --------
    >>> log = "daskhpc: run 1 of job 7 begins on n1\\nfirst\\ndaskhpc: run 2 of job 7 begins on n2\\nsecond\\n"
    >>> [(run.number, run.host, run.text) for run in log_runs(log)]
    [(1, 'n1', 'first\\n'), (2, 'n2', 'second\\n')]
    """
    starts = list(_RUN.finditer(text))
    if not starts:
        return (LogRun(1, "", text),)
    ends = [start.start() for start in starts[1:]] + [len(text)]
    # What a prolog wrote before the first line of the job belongs to its first run.
    before = text[: starts[0].start()]
    runs = [LogRun(int(m[1]), m[3], text[m.end() : end]) for m, end in zip(starts, ends, strict=True)]
    return (LogRun(runs[0].number, runs[0].host, before + runs[0].text), *runs[1:])


def first_traceback(text: str) -> str:
    """The first traceback of Python in a text, with the tracebacks that it is chained to; empty if there is none.

    Examples
    --------
    >>> print(first_traceback('x\\nTraceback (most recent call last):\\n  File "a.py", line 12\\nKeyError: 1\\nmore'))
    Traceback (most recent call last):
      File "a.py", line 12
    KeyError: 1
    """
    lines = text.splitlines()
    first = next((n for n, line in enumerate(lines) if line.lstrip(" |+-").startswith(_TRACEBACK)), None)
    if first is None:
        return ""
    end = _end_of_traceback(lines, first)
    while (rest := _chained(lines, end)) is not None:
        end = _end_of_traceback(lines, rest)
    return "\n".join(lines[first:end])


def _end_of_traceback(lines: Sequence[str], first: int) -> int:
    """The line after the message of the exception: the first line that is not indented, and what goes on from it."""
    margin = len(lines[first]) - len(lines[first].lstrip(" |+-"))
    end = first + 1
    while end < len(lines) and (not lines[end].strip() or lines[end][margin : margin + 1] in (" ", "|", "+")):
        if not lines[end].strip() and not any(line.startswith("  File ") for line in lines[end + 1 : end + 2]):
            break
        end += 1
    if end < len(lines) and lines[end].strip():
        end += 1
    # A message of daskhpc has three parts, of which two are indented.
    while end < len(lines) and re.match(r"  (found|try): ", lines[end]):
        end += 1
    return end


def _chained(lines: Sequence[str], end: int) -> int | None:
    """Where the traceback goes on that the one before is a cause of."""
    following = [n for n in range(end, min(end + 5, len(lines))) if lines[n].strip()]
    if len(following) >= 2 and lines[following[0]].strip() in _CHAIN and lines[following[1]].startswith(_TRACEBACK):
        return following[1]
    return None


@dataclass(frozen=True, slots=True)
class ExplainedLine:
    """A line of a log that is not the program's, with its meaning.

    Attributes
    ----------
    line : str
    meaning : str
        One sentence.
    action : str
        What to do about it.
    """

    line: str
    meaning: str
    action: str


_MORE_MEMORY = "more --mem, more --nodes, or smaller pieces: chunks, partitions, n_jobs"
_EXPLANATIONS: tuple[tuple[str, str, str], ...] = (
    (
        r"oom[-_ ]kill|OOM Killed|Out Of Memory|out-of-memory handler|[Ee]xceeded (?:job|step|task) memory limit|"
        r"[Ee]xceeded memory limit|[Mm]emory cgroup out of memory|job killed: v?mem",
        "A process was ended because the memory of the job on that node was used up.",
        _MORE_MEMORY,
    ),
    (
        r"DUE TO TIME LIMIT|job killed: walltime|walltime .* exceeded limit",
        "The job reached its time limit.",
        "a longer --time; with --checkpoint DIR a second run goes on where this one stopped",
    ),
    (
        r"DUE TO PREEMPTION",
        "The scheduler gave the nodes to a job of higher priority.",
        "with --requeue and --checkpoint DIR the job goes on by itself; or another --qos or --partition",
    ),
    (
        r"DUE TO NODE FAILURE|NODE FAILURE|node failure",
        "A node of the job failed.",
        "submit it again, with --exclude NODE if the same node fails again",
    ),
    (r"DUE TO JOB REQUEUE", "The job was put back into the queue.", "nothing: it runs again"),
    (
        r"STEP \S+ ON \S+ CANCELLED AT",
        "The step was ended: because of scancel, or because one of its ranks failed before.",
        "read what stands before this line",
    ),
    (r"JOB \S+ ON \S+ CANCELLED AT", "Somebody cancelled the job, with scancel or daskhpc cancel.", "submit it again"),
    (
        r"task \S+: Segmentation fault|[Ss]egmentation fault",
        "A process crashed in compiled code.",
        "read the lines before",
    ),
    (r"task \S+: Bus error|\bBus error", "A process found no room in shared memory (/dev/shm).", _MORE_MEMORY),
    (r"task \S+: Killed", "A process was killed from outside, most likely for want of memory.", _MORE_MEMORY),
    (
        r"Disk quota exceeded",
        "Your quota of that file system is used up.",
        "remove files, or --local-directory on another disk; 'quota' or the site's command shows it",
    ),
    (r"No space left on device", "A disk is full: that of the path in this line.", "--local-directory on another disk"),
    (
        r"module: (?:command )?not found",
        "The shell of the job has no command 'module'.",
        "--setup 'source /etc/profile.d/modules.sh', or setup: in the profile",
    ),
    (
        r"Unable to locate a modulefile|module\(s\) are unknown|ModuleCmd_Load.*ERROR",
        "There is no environment module of that name.",
        "'module avail' lists them; then modules: in the profile, or --module-load NAME",
    ),
    (
        r"ModuleNotFoundError: No module named",
        "The Python of the job does not find a package.",
        "install it into the environment from which you submit",
    ),
    (
        r"couldn't chdir to|[Cc]an't chdir|chdir\(.*failed|: cd: .*: No such file",
        "The folder of the job does not exist on the node.",
        "submit from a folder that all nodes see, not from /tmp",
    ),
    (
        r"execve\(\): \S+: No such file|: not found in",
        "The node does not have that program.",
        "an environment in a folder that all nodes see",
    ),
    (
        r"mutually exclusive",
        "srun found the memory of the job in two forms.",
        "memory: per-cpu, or memory: none, in the profile",
    ),
    (r"Unable to create step for job", "srun was not able to start the ranks.", "read the words in this line"),
    (
        r"version `?GLIBC\S* not found|Illegal instruction",
        "The node differs from the machine for which this Python or one of its packages was built.",
        "--constraint for nodes of one kind, or an environment that is made on such a node",
    ),
    (r"Stale file handle|Transport endpoint is not connected", "A file system of the node failed.", "submit it again"),
)
# The program's own lines have these words too, in tracebacks and in prints; the scheduler's have such a beginning.
_SPEAKERS = re.compile(
    r"^(?:\[?[\w.-]+\]?: )?(?:slurmstepd|srun|slurmd|slurm|sbatch|=>> PBS|PBS|mpiexec|-?bash|sh|/\S+|\S+: line \d+|"
    r"ModuleNotFoundError|OSError|Lmod|ERROR|Unable|The following|\S*\[\d+\])"
)


def explained_lines(text: str) -> tuple[ExplainedLine, ...]:
    """The lines of the scheduler, the launcher or the shell about why something ended; each meaning once.

    Examples
    --------
    >>> explained_lines("slurmstepd: error: Detected 1 oom_kill event in StepId=7.0.")[0].meaning
    'A process was ended because the memory of the job on that node was used up.'
    """
    found: dict[str, ExplainedLine] = {}
    for line in text.splitlines():
        if not _SPEAKERS.match(line):
            continue
        for pattern, meaning, action in _EXPLANATIONS:
            if re.search(pattern, line):
                found.setdefault(meaning, ExplainedLine(line.strip(), meaning, action))
                break
    return tuple(found.values())
