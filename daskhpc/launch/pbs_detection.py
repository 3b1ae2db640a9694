"""A site's facts from what the commands of PBS Pro, OpenPBS and Torque print: pure functions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from .site_detection import DetectedSite, SiteAnswer, SiteFacts, add_session, answer_text, last_line

QUESTIONS: dict[str, tuple[str, ...]] = {
    "version": ("qstat", "--version"),
    "server": ("qstat", "-B", "-f"),
    "nodes": ("pbsnodes", "-a"),
}


def detect(
    answers: Mapping[str, SiteAnswer], commands: Collection[str] = (), modules: Sequence[str] = ()
) -> DetectedSite:
    """The facts of a site with PBS Pro, OpenPBS or Torque; the parameters are those of `detect_slurm`."""
    found = SiteFacts()
    version = answers.get("version", SiteAnswer(None, "")).text
    server, nodes = answer_text(answers, "server"), answer_text(answers, "nodes")
    # PBS Pro prints "pbs_version = 20.0.1", Torque "Version: 6.1.2"; old ones only "version: 4.2.10".
    pro = "pbs_version" in version or ("resources_available" in nodes and "Commit:" not in version)
    reason = f"qstat --version: {last_line(version)}" if version.strip() else "pbsnodes: resources_available"
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
    add_session(found, commands, modules)
    name = re.search(r"^Server: *([\w.-]+)", server, re.MULTILINE)
    return found.site(name[1].partition(".")[0] if name else "pbs")


def _pbs_notes(found: SiteFacts, nodes: str, server: str) -> None:
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
