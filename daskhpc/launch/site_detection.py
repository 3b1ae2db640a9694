"""A site's facts from what its own commands print: pure functions; `cli.profile` asks the questions.

A fact is written down only if an answer shows it. What nobody tells is left to its default, and a note says so.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_TEST = ("sbatch", "--test-only", "--nodes=1", "--time=1", "--wrap=true")

SLURM_QUESTIONS: dict[str, tuple[str, ...]] = {
    "config": ("scontrol", "show", "config"),
    "partitions": ("sinfo", "--noheader", "--format=%P|%a|%l|%D|%c|%m|%G|%f"),
    "accounts": ("sacctmgr", "--noheader", "--parsable2", "show", "associations", "user={user}", "format=Account,QOS"),
    "default account": ("sacctmgr", "--noheader", "--parsable2", "show", "user", "{user}", "format=DefaultAccount"),
    "plain job": _TEST,
    "memory per node": (*_TEST, "--mem=100M"),
    "memory per cpu": (*_TEST, "--mem-per-cpu=100M"),
    "mpi": ("srun", "--mpi=list"),
}
PBS_QUESTIONS: dict[str, tuple[str, ...]] = {
    "version": ("qstat", "--version"),
    "server": ("qstat", "-B", "-f"),
    "nodes": ("pbsnodes", "-a"),
}
LAUNCHERS = {
    "ibrun": "ibrun",
    "mvp2run": "mvp2run -c {ranks} -m cyclic -a",
}
"""Launchers of single sites that stand in for srun and mpiexec, and how each is told the number of ranks."""

_TINY_MB = 1000  # RealMemory of nodes whose memory the site did not write down


@dataclass(frozen=True, slots=True)
class SiteAnswer:
    """What one question was answered: the exit code, None if nothing answered, and the text."""

    code: int | None
    text: str


@dataclass(frozen=True, slots=True)
class DetectedSite:
    """What was found.

    Attributes
    ----------
    name : str
        The cluster's own name, fit for a profile.
    facts : Mapping[str, Any]
        Keys of the profile.
    job : Mapping[str, Any]
        Keys below its ``job``.
    reasons : Mapping[str, str]
        For each of both what showed it.
    notes : tuple[str, ...]
        What a person should know or choose.
    """

    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    job: Mapping[str, Any] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class _Found:
    """Collects facts, each with what showed it."""

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.job: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}
        self.notes: list[str] = []

    def fact(self, key: str, value: Any, reason: str) -> None:
        self.facts[key], self.reasons[key] = value, reason

    def option(self, key: str, value: Any, reason: str) -> None:
        self.job[key], self.reasons[f"job.{key}"] = value, reason

    def site(self, name: str) -> DetectedSite:
        tame = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "site"
        return DetectedSite(tame, self.facts, self.job, self.reasons, tuple(self.notes))


def detect_slurm(
    answers: Mapping[str, SiteAnswer], commands: Collection[str] = (), modules: Sequence[str] = ()
) -> DetectedSite:
    """The facts of a site with Slurm.

    Parameters
    ----------
    answers : Mapping[str, SiteAnswer]
        By the names of `SLURM_QUESTIONS`; one that is missing counts as not answered.
    commands : Collection[str]
        Which of `LAUNCHERS` are on the path.
    modules : Sequence[str]
        The environment modules that are loaded now.
    """
    found = _Found()
    found.fact("scheduler", "slurm", "sbatch is on the path")
    config = _config(_text(answers, "config"))
    partitions = _partitions(_text(answers, "partitions"))
    default = [partition for partition in partitions if partition.default]
    _memory_rule(found, answers, partitions)
    _partition_notes(found, partitions, default)
    _account(found, answers)
    _gpus(found, partitions)
    counted = Counter[int]()
    for partition in default or partitions:
        counted[partition.cpus] += partition.nodes
    if counted:
        found.fact("cpus_per_node", counted.most_common(1)[0][0], "sinfo: CPUs of most nodes")
    if config.get("JobRequeue") == "0":
        found.notes.append("Jobs are not requeued here by default (JobRequeue=0): use --requeue.")
    mpi = _mpi_types(_text(answers, "mpi"))
    if mpi:
        found.notes.append(f"srun offers --mpi={', '.join(mpi)}; daskhpc run chooses what fits the MPI library.")
    _from_session(found, commands, modules)
    return found.site(config.get("ClusterName", "slurm"))


def _text(answers: Mapping[str, SiteAnswer], name: str) -> str:
    answer = answers.get(name)
    return answer.text if answer is not None and answer.code == 0 else ""


def _config(text: str) -> dict[str, str]:
    """``Name    = value`` lines of scontrol."""
    return {m[1]: m[2].strip() for m in re.finditer(r"^(\w+)\s*= ?(.*)$", text, re.MULTILINE)}


@dataclass(frozen=True, slots=True)
class _Partition:
    name: str
    default: bool
    up: bool
    limit: str
    nodes: int
    cpus: int
    megabytes: int
    gres: str


def _partitions(text: str) -> list[_Partition]:
    """Lines of sinfo; a number with a plus is the least of nodes that differ."""
    partitions = []
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) != 8 or not parts[3].isdigit():
            continue
        name, up, limit, nodes, cpus, memory, gres, _ = parts
        count, megabytes = (int(re.sub(r"\D.*", "", number) or 0) for number in (cpus, memory))
        partitions.append(
            _Partition(
                name.rstrip("*"), name.endswith("*"), up == "up", limit.strip(), int(nodes), count, megabytes, gres
            )
        )
    return partitions


def _memory_rule(found: _Found, answers: Mapping[str, SiteAnswer], partitions: Sequence[_Partition]) -> None:
    """Whether this site takes ``--mem``, only ``--mem-per-cpu``, or neither."""
    plain, per_node, per_cpu = (answers.get(n) for n in ("plain job", "memory per node", "memory per cpu"))
    if partitions and all(partition.megabytes <= _TINY_MB for partition in partitions):
        found.fact("memory", "none", "sinfo: the site did not write down the memory of its nodes")
        return
    if per_node is not None and per_node.code == 0:
        found.fact("memory", "per-node", "sbatch --test-only takes --mem")
        return
    # A plain job that is refused says nothing about memory: something else is missing.
    if plain is None or per_node is None or plain.code != 0 or per_node.code is None:
        found.notes.append("Whether --mem is taken here was not to be found out; the default is memory: per-node.")
        return
    words = _last_line(per_node.text)
    if per_cpu is not None and per_cpu.code == 0:
        found.fact("memory", "per-cpu", f"sbatch --test-only refuses --mem: {words}")
    else:
        found.fact("memory", "none", f"sbatch --test-only refuses --mem and --mem-per-cpu: {words}")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "without a word"


def _partition_notes(found: _Found, partitions: Sequence[_Partition], default: Sequence[_Partition]) -> None:
    shown = dict.fromkeys(f"{p.name} ({p.limit})" for p in partitions if p.up)
    if len(shown) > 1:
        found.notes.append(f"Partitions and their time limits: {', '.join(shown)}.")
    if partitions and not default:
        up = [partition for partition in partitions if partition.up]
        if len({partition.name for partition in up}) == 1:
            found.option("partition", up[0].name, "sinfo: the only partition that is up, and no default")
        else:
            found.notes.append("No partition is the default: set job: {partition: NAME}.")


def _account(found: _Found, answers: Mapping[str, SiteAnswer]) -> None:
    accounts = list(dict.fromkeys(line.partition("|")[0] for line in _text(answers, "accounts").splitlines() if line))
    default = _text(answers, "default account").strip()
    plain = answers.get("plain job", SiteAnswer(None, ""))
    needs = plain.code not in (0, None) and re.search("account", plain.text, re.IGNORECASE)
    if len(accounts) == 1 and (needs or not default):
        found.option("account", accounts[0], "sacctmgr: your only account")
    elif len(accounts) > 1:
        found.notes.append(f"Your accounts: {', '.join(accounts)}; without --account {default or 'nobody'} pays.")
    elif needs:
        found.notes.append(f"An account is asked for: set job: {{account: NAME}}. {_last_line(plain.text)}")


def _gpus(found: _Found, partitions: Sequence[_Partition]) -> None:
    kinds = dict.fromkeys(m[1] for p in partitions for m in re.finditer(r"\bgpu:([A-Za-z][\w.-]*)(?=:\d)", p.gres))
    untyped = any(re.search(r"\bgpu:\d", partition.gres) for partition in partitions)
    if kinds or untyped:
        found.fact("gpus", "gres", "sinfo: the nodes have gres/gpu")
    if kinds:
        found.notes.append(f"Types of GPU: {', '.join(kinds)}; choose one with --gpu-type.")


def _mpi_types(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if re.fullmatch(r"\s+[\w.-]+", line)]


def _from_session(found: _Found, commands: Collection[str], modules: Sequence[str]) -> None:
    """What this session shows: a launcher of the site's own, and loaded modules."""
    for name, launcher in LAUNCHERS.items():
        if name in commands:
            found.fact("launcher", launcher, f"{name} is on the path")
    if modules:
        found.fact("modules", list(modules), "the modules that are loaded now")


def detect_pbs(
    answers: Mapping[str, SiteAnswer], commands: Collection[str] = (), modules: Sequence[str] = ()
) -> DetectedSite:
    """The facts of a site with PBS Pro, OpenPBS or Torque; the parameters are those of `detect_slurm`."""
    found = _Found()
    version = answers.get("version", SiteAnswer(None, "")).text
    server, nodes = _text(answers, "server"), _text(answers, "nodes")
    # PBS Pro says "pbs_version = 20.0.1", Torque "Version: 6.1.2"; old ones only "version: 4.2.10".
    pro = "pbs_version" in version or ("resources_available" in nodes and "Commit:" not in version)
    reason = f"qstat --version: {_last_line(version)}" if version.strip() else "pbsnodes: resources_available"
    found.fact("scheduler", "pbspro" if pro else "torque", reason)
    pattern = r"^\s+resources_available\.ncpus = (\d+)" if pro else r"^\s+np = (\d+)"
    counted = Counter(int(number) for number in re.findall(pattern, nodes, re.MULTILINE))
    counted.pop(0, None)
    if counted:
        cpus = counted.most_common(1)[0][0]
        found.fact("cpus_per_node", cpus, "pbsnodes: CPUs of most nodes")
        if len(counted) > 1:
            kinds = ", ".join(f"{count} of {number}" for number, count in sorted(counted.items()))
            found.notes.append(f"Nodes differ in their CPUs: {kinds}; set cpus_per_node, or --cpus-per-task.")
    _pbs_notes(found, nodes, server)
    _from_session(found, commands, modules)
    name = re.search(r"^Server: *([\w.-]+)", server, re.MULTILINE)
    return found.site(name[1].partition(".")[0] if name else "pbs")


def _pbs_notes(found: _Found, nodes: str, server: str) -> None:
    properties = dict.fromkeys(
        word for m in re.finditer(r"^\s+properties = (.*)$", nodes, re.MULTILINE) for word in m[1].split(",")
    )
    if properties:
        found.notes.append(f"Properties of nodes: {', '.join(properties)}; choose one with --constraint.")
    if re.search(r"resources_available\.ngpus = [1-9]", nodes):
        found.notes.append("Some nodes have GPUs: --gpus-per-node N.")
    default = re.search(r"^\s+default_queue = (\S+)", server, re.MULTILINE)
    if server and default is None:
        found.notes.append("No queue is the default: set job: {partition: NAME}; qstat -q lists them.")


def profile_yaml(site: DetectedSite, name: str) -> str:
    """The text of a file of settings with a profile, each value with what showed it.

    Examples
    --------
    >>> print(profile_yaml(DetectedSite("a", {"memory": "none"}, {}, {"memory": "sinfo"}, ("A note.",)), "a"))
    # What daskhpc found out about this site. What daskhpc.yaml beside this file says comes before it.
    # A note.
    daskhpc:
      profiles:
        a:
          memory: none  # sinfo
    <BLANKLINE>
    """
    head = "# What daskhpc found out about this site. What daskhpc.yaml beside this file says comes before it."
    lines = [head, *(f"# {_one_line(note)}" for note in site.notes), "daskhpc:", "  profiles:", f"    {_yaml(name)}:"]
    lines += [_yaml_line(6, key, value, site.reasons.get(key, "")) for key, value in site.facts.items()]
    if site.job:
        lines.append("      job:")
        lines += [_yaml_line(8, key, value, site.reasons.get(f"job.{key}", "")) for key, value in site.job.items()]
    return "\n".join(lines) + "\n"


def _yaml_line(indent: int, key: str, value: Any, reason: str) -> str:
    return f"{' ' * indent}{key}: {_yaml(value)}" + (f"  # {_one_line(reason)}" if reason else "")


def _yaml(value: Any) -> str:
    """A value in a form that YAML reads back as it is; JSON is one, and a plain word is nicer to read."""
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w.-]*", value)
    if plain and value.lower() not in ("true", "false", "yes", "no", "on", "off", "null", "y", "n"):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
