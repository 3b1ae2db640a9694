"""A site's facts from what the commands of Slurm print: pure functions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from .site_detection import DetectedSite, SiteAnswer, SiteFacts, add_session, answer_text, last_line

_TEST = ("sbatch", "--test-only", "--nodes=1", "--time=1", "--wrap=true")

QUESTIONS: dict[str, tuple[str, ...]] = {
    "config": ("scontrol", "show", "config"),
    "partitions": ("sinfo", "--noheader", "--format=%P|%a|%l|%D|%c|%m|%G|%f"),
    "accounts": ("sacctmgr", "--noheader", "--parsable2", "show", "associations", "user={user}", "format=Account,QOS"),
    "default account": ("sacctmgr", "--noheader", "--parsable2", "show", "user", "{user}", "format=DefaultAccount"),
    "plain job": _TEST,
    "memory per node": (*_TEST, "--mem=100M"),
    "memory per cpu": (*_TEST, "--mem-per-cpu=100M"),
    "mpi": ("srun", "--mpi=list"),
}

_TINY_MB = 1000  # RealMemory of nodes whose memory the site did not write down


def detect(
    answers: Mapping[str, SiteAnswer], commands: Collection[str] = (), modules: Sequence[str] = ()
) -> DetectedSite:
    """The facts of a site with Slurm.

    Parameters
    ----------
    answers : Mapping[str, SiteAnswer]
        By the names of `QUESTIONS`; a missing answer counts as none.
    commands : Collection[str]
        Which of `LAUNCHERS` are on the path.
    modules : Sequence[str]
        The environment modules that are loaded now.
    """
    found = SiteFacts()
    found.fact("scheduler", "slurm", "sbatch is on the path")
    config = _config(answer_text(answers, "config"))
    partitions = _partitions(answer_text(answers, "partitions"))
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
        found.notes.append(
            "Jobs are not requeued by default (JobRequeue=0); daskhpc asks for it. If that is refused: resume: chain."
        )
    mpi = _mpi_types(answer_text(answers, "mpi"))
    if mpi:
        found.notes.append(f"srun offers --mpi={', '.join(mpi)}; daskhpc run chooses what fits the MPI library.")
    add_session(found, commands, modules)
    return found.site(config.get("ClusterName", "slurm"))


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


def _memory_rule(found: SiteFacts, answers: Mapping[str, SiteAnswer], partitions: Sequence[_Partition]) -> None:
    """Whether this site takes ``--mem``, only ``--mem-per-cpu``, or neither."""
    plain, per_node, per_cpu = (answers.get(n) for n in ("plain job", "memory per node", "memory per cpu"))
    if partitions and all(partition.megabytes <= _TINY_MB for partition in partitions):
        found.fact("memory", "none", "sinfo: the site did not write down the memory of its nodes")
        return
    if per_node is not None and per_node.code == 0:
        found.fact("memory", "per-node", "sbatch --test-only takes --mem")
        return
    # If a plain job is refused, memory is not the cause: something else is missing.
    if plain is None or per_node is None or plain.code != 0 or per_node.code is None:
        found.notes.append("Whether --mem is taken here was not to be found out; the default is memory: per-node.")
        return
    words = last_line(per_node.text)
    if per_cpu is not None and per_cpu.code == 0:
        found.fact("memory", "per-cpu", f"sbatch --test-only refuses --mem: {words}")
    else:
        found.fact("memory", "none", f"sbatch --test-only refuses --mem and --mem-per-cpu: {words}")


def _partition_notes(found: SiteFacts, partitions: Sequence[_Partition], default: Sequence[_Partition]) -> None:
    shown = dict.fromkeys(f"{p.name} ({p.limit})" for p in partitions if p.up)
    if len(shown) > 1:
        found.notes.append(f"Partitions and their time limits: {', '.join(shown)}.")
    if partitions and not default:
        up = [partition for partition in partitions if partition.up]
        if len({partition.name for partition in up}) == 1:
            found.option("partition", up[0].name, "sinfo: the only partition that is up, and no default")
        else:
            found.notes.append("No partition is the default: set job: {partition: NAME}.")


def _account(found: SiteFacts, answers: Mapping[str, SiteAnswer]) -> None:
    accounts = list(
        dict.fromkeys(line.partition("|")[0] for line in answer_text(answers, "accounts").splitlines() if line)
    )
    default = answer_text(answers, "default account").strip()
    plain = answers.get("plain job", SiteAnswer(None, ""))
    needs = plain.code not in (0, None) and re.search("account", plain.text, re.IGNORECASE)
    if len(accounts) == 1 and (needs or not default):
        found.option("account", accounts[0], "sacctmgr: your only account")
    elif len(accounts) > 1:
        found.notes.append(f"Your accounts: {', '.join(accounts)}; without --account {default or 'nobody'} pays.")
    elif needs:
        found.notes.append(f"An account is asked for: set job: {{account: NAME}}. {last_line(plain.text)}")


def _gpus(found: SiteFacts, partitions: Sequence[_Partition]) -> None:
    kinds = dict.fromkeys(m[1] for p in partitions for m in re.finditer(r"\bgpu:([A-Za-z][\w.-]*)(?=:\d)", p.gres))
    untyped = any(re.search(r"\bgpu:\d", partition.gres) for partition in partitions)
    if kinds or untyped:
        found.fact("gpus", "gres", "sinfo: the nodes have gres/gpu")
    if kinds:
        found.notes.append(f"Types of GPU: {', '.join(kinds)}; choose one with --gpu-type.")


def _mpi_types(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if re.fullmatch(r"\s+[\w.-]+", line)]
