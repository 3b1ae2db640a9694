"""Slurm: sbatch, its directives, and the grammar of their lines."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from ...errors import LaunchError
from .. import slurm_detection
from ..command_lines import EXTRA_RANKS
from ..job_spec import JobSpec
from ..quantities import clock, size_words
from ..site import Site
from ..site_detection import DetectedSite, SiteAnswer
from .base import BatchSystem, refuse_all_of_shared

# What daskhpc decides itself, and what to type instead. In a job script it would contradict the step of N + 2 ranks.
_MANAGED = {
    "ntasks": "--nodes and --ntasks-per-node; daskhpc counts the tasks",
    "overcommit": "nothing; daskhpc overcommits the step, not the job",
    "distribution": "nothing; daskhpc spreads the ranks in turn over the nodes",
    "parsable": "nothing; daskhpc prints the id alone on its standard output",
    "wrap": "the program after the options",
    "chdir": "cd before daskhpc submit; the program runs in the folder that it was submitted from",
    "error": "--output; the log has both",
    "open-mode": "nothing; the log of a restart follows the one before",
    "test-only": "daskhpc submit --dry-run",
    "gpus": "--gpus-per-node",
    "gpus-per-task": "--gpus-per-node; two of the ranks have no GPU",
    "ntasks-per-gpu": "--gpus-per-node; two of the ranks have no GPU",
    "tres-per-task": "--gpus-per-node; two of the ranks have no resources of their own",
    "mem-per-gpu": "--mem, per node",
    "mem-per-cpu": "--mem, per node; the site's profile says how it is asked for",
    "no-requeue": "--no-requeue",
    "requeue": "nothing; jobs are requeued unless --no-requeue is given",
}
_SHORT = {
    **{"A": "account", "C": "constraint", "D": "chdir", "H": "hold", "J": "job-name", "L": "licenses", "M": "clusters"},
    **{"N": "nodes", "O": "overcommit", "a": "array", "c": "cpus-per-task", "d": "dependency", "e": "error"},
    **{"m": "distribution", "n": "ntasks", "o": "output", "p": "partition", "q": "qos", "t": "time", "w": "nodelist"},
    **{"x": "exclude", "G": "gpus"},
}


class SlurmBatch(BatchSystem):
    """Slurm's sbatch."""

    name = "slurm"
    title = "Slurm"
    submit_command = "sbatch"
    script_name = "job.sbatch"
    log_name = "log-{id}.txt"
    array_log_name = "log-{id}_%a.txt"
    directive_mark = "#SBATCH"
    jobqueue = "SLURM"
    pass_through = "slurm"
    transient = ("Unable to contact slurm controller", "temporarily unable to accept job")
    requeues = True
    counts_tasks = True
    questions = slurm_detection.QUESTIONS
    lost = ("Socket timed out", "Zero Bytes were transmitted", "Connection reset by peer")
    # In the order in which they stand in the script. An empty form: `_computed` makes the words.
    directives: ClassVar[dict[str, str]] = {
        "name": "--job-name={}",
        "account": "--account={}",
        "partition": "--partition={}",
        "qos": "--qos={}",
        "reservation": "--reservation={}",
        "clusters": "--clusters={}",
        "comment": "--comment={}",
        "nodes": "",
        "cpus_per_task": "--cpus-per-task={}",
        "exclusive": "",
        "constraint": "--constraint={}",
        "nodelist": "--nodelist={}",
        "exclude": "--exclude={}",
        "hint": "--hint={}",
        "switches": "--switches={}",
        "memory": "",
        "gpus": "",
        "gpu_type": "",
        "tmp": "--tmp={}M",
        "licenses": "--licenses={}",
        "time": "",
        "begin": "--begin={}",
        "deadline": "--deadline={}",
        "hold": "",
        "dependency": "--dependency={}",
        "priority": "--priority={}",
        "array": "--array={}",
        "no_requeue": "",
        "output": "",
        "mail_type": "--mail-type={}",
        "mail_user": "--mail-user={}",
    }

    def detect(
        self, answers: Mapping[str, SiteAnswer], commands: Collection[str], modules: Sequence[str]
    ) -> DetectedSite:
        return slurm_detection.detect(answers, commands, modules)

    def is_installed(self, env: Mapping[str, str]) -> bool:
        return shutil.which("sbatch", path=env.get("PATH")) is not None

    def directive_lines(self, spec: JobSpec, site: Site) -> list[str]:
        self.refuse_others(spec)
        computed = _computed(spec, site)
        words: list[str] = []
        for name, form in self.directives.items():
            value = getattr(spec, name)
            words += computed.get(name, []) if not form else [form.format(value)] if value else []
        passed = [" ".join(map(word, self._passed(option, spec, site))) for option in spec.slurm]
        return [f"#SBATCH {line}" for line in (*map(word, words), *passed)]

    def _passed(self, option: str, spec: JobSpec, site: Site) -> list[str]:
        """The words of a line that is passed through, if it has nothing that daskhpc writes itself."""
        try:
            words = shlex.split(option)
        except ValueError as error:
            raise LaunchError(f"--slurm does not take {option!r}.", str(error), "quotes in pairs") from None
        if not words or not words[0].startswith("-"):
            raise LaunchError(f"--slurm does not take {option!r}.", "no option of sbatch", "--slurm '--OPTION=VALUE'")
        own = {form.partition("=")[0].removeprefix("--") for form in self.directives.values() if form}
        own |= {"nodes", "ntasks-per-node", "exclusive", "mem", "gpus-per-node", "time", "hold", "output"}
        own |= {"gres"} if spec.gpus and site.gpus == "gres" else set()
        for name in filter(None, map(_option_name, words)):
            # sbatch takes the beginning of a name for the name.
            meant = [full for full in (*_MANAGED, *own) if full == name or (len(name) > 2 and full.startswith(name))]
            if meant and name not in ("gres-flags", "time-min", "mem-bind", "no-kill"):
                instead = _MANAGED.get(meant[0]) or f"--{meant[0] if meant[0] != 'gres' else 'gpus-per-node'}"
                raise LaunchError(f"daskhpc writes --{meant[0]} itself.", f"--slurm {option!r}", instead)
        return words

    def submit_line(self, script: str, spec: JobSpec, token: str, after: str = "") -> list[str]:
        comment = f"{spec.comment} daskhpc:{token}".strip()
        then = [f"--dependency=afterany:{after}"] if after else []
        # SLURM_CLUSTERS of the environment comes before a line of the script.
        where = [f"--clusters={spec.clusters}"] if spec.clusters else []
        return ["sbatch", "--parsable", f"--comment={comment}", *where, *then, script]

    def job_id(self, out: str) -> tuple[str, str]:
        for line in reversed(out.splitlines()):
            if found := re.fullmatch(r"(\d+)(?:;(\S+))?", line.strip()):
                return found[1], found[2] or ""
        raise ValueError("no line with a job's id alone")

    def search_line(self, spec: JobSpec) -> list[str]:
        where = [f"--clusters={spec.clusters}"] if spec.clusters else []
        return ["squeue", "--me", "--noheader", "--states=all", "--format=%F %k %Z", *where]

    def found(self, out: str, token: str) -> str | None:
        # The comment, which a site's own rules may replace, or the working directory: the job's folder, whose name
        # ends in the token of its first job.
        found = re.search(rf"^\s*(\d+) (?:.*[\s:-])?{re.escape(token)}(?:\s|$)", out, re.MULTILINE)
        return found[1] if found else None

    def controller_line(self) -> list[str]:
        return ["scontrol", "show", "config"]

    def controller(self, out: str) -> str:
        found = re.search(r"^SlurmctldHost\[0\]\s*=\s*([^\s(]+)(?:\(([^)\s]+)\))?", out, re.MULTILINE)
        return (found[2] or found[1]) if found else ""


def _computed(spec: JobSpec, site: Site) -> dict[str, list[str]]:
    """The words of the options that are not written as they were given."""
    # A launcher such as ibrun takes its number of ranks from the job.
    ranks = f"--ntasks={spec.nodes * spec.tasks_per_node + EXTRA_RANKS}"
    log = spec.output or ("log-%A_%a.txt" if spec.array else "log-%j.txt")
    return {
        "nodes": [f"--nodes={spec.nodes}", ranks if site.launcher else f"--ntasks-per-node={spec.tasks_per_node}"],
        "exclusive": ["--exclusive"] if spec.whole_nodes else [],
        "memory": _memory(spec, site),
        "gpus": _gpus(spec, site),
        "time": [f"--time={clock(spec.time)}"] if spec.time else [],
        "hold": ["--hold"] if spec.hold else [],
        "no_requeue": ["--no-requeue" if spec.no_requeue else "--requeue"],
        "output": [f"--output={log}", "--open-mode=append"],
    }


def _memory(spec: JobSpec, site: Site) -> list[str]:
    if site.memory == "none" or (spec.memory is None and not spec.whole_nodes):
        return []
    if site.memory == "per-node":
        return [f"--mem={_mebibytes(spec.memory or 0)}"]
    if not spec.memory:
        refuse_all_of_shared(spec)
        return []  # whole nodes have all of their memory if it is counted by CPUs
    cpus = spec.cpus_per_node(site)
    if cpus is None:
        raise LaunchError(
            "This site asks for memory per CPU, and the number of CPUs is not known.",
            f"--mem {size_words(spec.memory)} per node, without --cpus-per-task",
            "--cpus-per-task N, or cpus_per_node in the site's profile",
        )
    # Rounded down: never more than was asked for.
    return [f"--mem-per-cpu={_mebibytes(max(spec.memory // cpus, 1))}"]


def _mebibytes(count: int) -> str:
    return f"{count // 1024}G" if count and count % 1024 == 0 else f"{count}M" if count else "0"


def _gpus(spec: JobSpec, site: Site) -> list[str]:
    if not spec.gpus:
        return []
    wanted = f"{spec.gpu_type}:{spec.gpus}" if spec.gpu_type else str(spec.gpus)
    return [f"--gres=gpu:{wanted}" if site.gpus == "gres" else f"--gpus-per-node={wanted}"]


def _option_name(word: str) -> str | None:
    """The long name of the option that a word is; None if it is a value."""
    if word.startswith("--"):
        return word[2:].partition("=")[0]
    return _SHORT.get(word[1:2], "") if word.startswith("-") else None


def word(text: str) -> str:
    """A word as a line of ``#SBATCH`` carries it.

    Slurm's grammar is not a shell's. Quotes group, a backslash escapes within quotes of both kinds too, and a ``#``
    that is neither quoted nor escaped ends the line. The words packjob and hetjob anywhere in a line begin another job
    of a pack, even within quotes; a backslash in the middle hides them.

    Examples
    --------
    >>> print(word("--job-name=digits"), word("--job-name=a b"), word("--comment=run#3"), word('--comment=say "no"'))
    --job-name=digits --job-name="a b" --comment="run#3" --comment="say \\"no\\""
    """
    if not all(c.isprintable() for c in text):
        raise LaunchError("A line of #SBATCH cannot carry control characters.", repr(text), "a value without them")
    safe = text.replace("\\", "\\\\").replace('"', '\\"')
    safe = re.sub(r"(pack|het)(?=job)", r"\1\\", safe, flags=re.IGNORECASE)
    if re.fullmatch(r"[\w@%+=:,./\[\]&|*^~-]+", safe, flags=re.ASCII):
        return safe
    option, equals, value = safe.partition("=")
    return f'{option}="{value}"' if equals and re.fullmatch(r"--[a-z-]+", option) else f'"{safe}"'
