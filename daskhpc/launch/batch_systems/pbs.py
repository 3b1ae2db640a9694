"""What PBS Pro and Torque have in common: qsub, its directives, and what their lines cannot carry."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from ...errors import LaunchError
from .. import pbs_detection
from ..job_spec import JobSpec
from ..quantities import clock
from ..site import Site
from ..site_detection import DetectedSite, SiteAnswer
from .base import BatchSystem, refuse_all_of_shared

NAME_LENGTH = 15
"""The longest name of a job that every PBS takes."""

_MANAGED = {
    "-N": "--name",
    "-S": "nothing; bash runs the script",
    "-o": "--output; the log has both",
    "-e": "--output; the log has both",
    "-j": "nothing; the log has both",
    "-k": "nothing; the log can be read while the job runs",
    "-V": "--env NAME; a job that takes over everything may not start",
    "-q": "--partition",
    "-a": "--begin",
    "-h": "--hold",
    "-p": "--priority",
    "-r": "--no-requeue",
    "-m": "--mail-type",
    "-M": "--mail-user",
    "-J": "--array",
    "-t": "--array",
    "-I": "srun or mpiexec by hand, in a job of your own",
    "-W depend": "--dependency",
    "-l walltime": "--time",
    "-l select": "--nodes, --cpus-per-task and --mem",
    "-l nodes": "--nodes, --cpus-per-task and --constraint",
    "-l place": "--exclusive",
}
_MAIL = {"BEGIN": "b", "END": "e", "FAIL": "a", "ALL": "abe", "NONE": "n"}


class PBSBatch(BatchSystem):
    """A qsub; the resources are each system's own."""

    submit_command = "qsub"
    script_name = "job.pbs"
    log_name = "log-{id}.txt"
    array_log_name = "log-{id}.txt"
    directive_mark = "#PBS"
    jobqueue = "PBS"
    pass_through = "pbs"
    requeues = False
    counts_tasks = False
    questions = pbs_detection.QUESTIONS
    transient = ("Invalid credential", "cannot connect to server", "Connection refused", "Server is busy")
    lost = ("Connection timed out", "End of File", "Communication failure", "batch protocol error")
    directives: ClassVar[dict[str, str]] = {
        "name": "",
        "account": "",
        "partition": "-q {}",
        "nodes": "",
        "cpus_per_task": "",
        "exclusive": "",
        "constraint": "",
        "memory": "",
        "gpus": "",
        "gpu_type": "",
        "time": "",
        "begin": "-a {}",
        "hold": "",
        "dependency": "-W depend={}",
        "priority": "-p {}",
        "array": "",
        "no_requeue": "",
        "output": "",
        "mail_type": "",
        "mail_user": "-M {}",
    }

    def detect(
        self, answers: Mapping[str, SiteAnswer], commands: Collection[str], modules: Sequence[str]
    ) -> DetectedSite:
        return pbs_detection.detect(answers, commands, modules)

    def is_installed(self, env: Mapping[str, str]) -> bool:
        # PBS Pro reads this file before it does anything; Torque has none of this name.
        pro = os.path.exists(env.get("PBS_CONF_FILE", "/etc/pbs.conf"))
        return shutil.which("qsub", path=env.get("PATH")) is not None and pro is self.has_conf

    has_conf: ClassVar[bool]
    """Whether it has the file of settings that PBS Pro has."""

    @abstractmethod
    def resources(self, spec: JobSpec, site: Site, cpus: int) -> list[str]:
        """The directives that ask for nodes, CPUs, memory and GPUs, with `cpus` on each node."""

    def directive_lines(self, spec: JobSpec, site: Site) -> list[str]:
        self.refuse_others(spec)
        if site.memory != "none":
            refuse_all_of_shared(spec)
        cpus = spec.cpus_per_node(site)
        if cpus is None:
            raise LaunchError(
                f"{self.title} has to be told how many CPUs a node has.",
                f"{spec.nodes} whole nodes, and no cpus_per_node in the site's profile",
                "--cpus-per-task N",
            )
        computed = {
            "name": [f"-N {tame_name(spec.name)}"],
            "account": [f"{site.pbs_account} {spec.account}"] if spec.account else [],
            "nodes": self.resources(spec, site, cpus),
            "time": [f"-l walltime={clock(spec.time)}"] if spec.time else [],
            "hold": ["-h"] if spec.hold else [],
            "array": [f"{self.array_option} {spec.array}"] if spec.array else [],
            "no_requeue": [f"-r {'n' if spec.no_requeue else 'y'}"],
            "mail_type": [f"-m {_mail(spec.mail_type)}"] if spec.mail_type else [],
        }
        lines = ["-S /bin/bash"]
        for name, form in self.directives.items():
            value = getattr(spec, name)
            lines += computed.get(name, []) if not form else [form.format(value)] if value else []
        # What the job prints goes to the log; of what is printed before it begins, PBS keeps one file.
        lines += ["-j oe"]
        return [f"#PBS {line}" for line in (*map(self.carried, lines), *map(self._passed, spec.pbs))]

    array_option: ClassVar[str]

    def carried(self, line: str) -> str:
        """A line as it is, if PBS reads it as it is meant: no quoting is documented that all versions have."""
        option, _, value = line.partition(" ")
        if not re.fullmatch(r"[\w+.:=,/@%\[\]()&<>!~^*|-]*", value, flags=re.ASCII):
            raise LaunchError(
                f"A line of #PBS cannot carry this value of {option}.", repr(value), "a value without spaces and quotes"
            )
        return line

    def _passed(self, option: str) -> str:
        """A line that is passed through, if it has nothing that daskhpc writes itself."""
        words = option.split()
        keys = [words[0], *(f"{words[0]} {part.partition('=')[0]}" for part in " ".join(words[1:]).split(","))]
        for key in keys:
            if key in _MANAGED:
                raise LaunchError(f"daskhpc writes {key} itself.", f"--pbs {option!r}", _MANAGED[key])
        if not re.fullmatch(r"-[A-Za-z]", words[0]):
            raise LaunchError(f"--pbs does not take {option!r}.", "no option of qsub", "--pbs '-l software=x'")
        return self.carried(f"{words[0]} {' '.join(words[1:])}".strip())

    def submit_line(self, script: str, spec: JobSpec, token: str, after: str = "") -> list[str]:
        then = ["-W", f"depend=afterany:{after}"] if after else []
        return ["qsub", "-v", f"DASKHPC_TOKEN={token}", *then, script]

    def job_id(self, out: str) -> tuple[str, str]:
        for line in reversed(out.splitlines()):
            if re.fullmatch(r"\d+(\[\d*\])?(\.[\w.-]+)?(:\d+)?", line.strip()):
                return line.strip(), ""
        raise ValueError("no line with a job's id alone")

    def search_line(self, spec: JobSpec) -> list[str]:
        return ["qstat", "-f"]

    def found(self, out: str, token: str) -> str | None:
        # qstat breaks long lines and goes on after a tab.
        for record in re.split(r"^Job Id:", out.replace("\n\t", ""), flags=re.MULTILINE)[1:]:
            if f"DASKHPC_TOKEN={token}" in record:
                return record.split(None, 1)[0]
        return None

    def controller_line(self) -> list[str]:
        return ["qstat", "-B", "-f"]

    def controller(self, out: str) -> str:
        found = re.search(r"^Server:\s*([\w.-]+)", out, re.MULTILINE)
        return found[1] if found else ""


def tame_name(title: str) -> str:
    """A title as a name that every PBS takes: letters, digits and ``+-_.``, a letter first, 15 characters at most.

    Examples
    --------
    >>> tame_name("digits search"), tame_name("2nd run (b)"), tame_name("é")
    ('digits_search', 'job_2nd_run__b_', 'job__')
    """
    tame = re.sub(r"[^A-Za-z0-9+_.-]", "_", title)
    return (tame if tame[:1].isalpha() else f"job_{tame}")[:NAME_LENGTH]


def _mail(events: str) -> str:
    letters = []
    for event in events.upper().split(","):
        if event not in _MAIL:
            raise LaunchError(
                f"PBS sends no mail for {event!r}.", f"--mail-type {shlex.quote(events)}", "of " + ",".join(_MAIL)
            )
        letters.append(_MAIL[event])
    return "".join(sorted(set("".join(letters))))
