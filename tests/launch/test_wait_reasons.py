"""Why a job waits: every reason that squeue has, and the comments of qstat, in one sentence with one action."""

from __future__ import annotations

import itertools
import re

import pytest

from daskhpc.launch.wait_reasons import SLURM, explain_waiting

# The names of Slurm 22.05 for limits, which are put together from these parts.
RESOURCES = ("Cpu", "Node", "Mem", "Memory", "GRES", "License", "BB", "Billing", "Energy", "Unknown")
# fmt: off
NAMED = (
    "AssocGrpCpuLimit", "AssocGrpCPUMinutesLimit", "AssocGrpCPURunMinutesLimit", "AssocGrpJobsLimit",
    "AssocGrpMemLimit", "AssocGrpNodeLimit", "AssocGrpSubmitJobsLimit", "AssocGrpWallLimit", "AssocMaxJobsLimit",
    "AssocMaxCpuPerJobLimit", "AssocMaxCpuMinutesPerJobLimit", "AssocMaxNodePerJobLimit",
    "AssocMaxWallDurationPerJobLimit", "AssocMaxSubmitJobLimit", "MaxJobsPerAccount", "MaxSubmitJobsPerAccount",
    "QOSGrpCpuLimit", "QOSGrpCPUMinutesLimit", "QOSGrpCPURunMinutesLimit", "QOSGrpJobsLimit", "QOSGrpMemLimit",
    "QOSGrpNodeLimit", "QOSGrpSubmitJobsLimit", "QOSGrpWallLimit", "QOSMaxCpuPerJobLimit",
    "QOSMaxCpuMinutesPerJobLimit", "QOSMaxNodePerJobLimit", "QOSMaxWallDurationPerJobLimit", "QOSMaxCpuPerUserLimit",
    "QOSMaxJobsPerUserLimit", "QOSMaxNodePerUserLimit", "QOSMaxSubmitJobPerUserLimit", "QOSMinCpuNotSatisfied",
)
# fmt: on
LIMITS = {
    *NAMED,
    *(f"AssocGrp{what}{how}" for what, how in itertools.product(RESOURCES, ("", "Minutes", "RunMinutes"))),
    *(f"QOSGrp{what}{how}" for what, how in itertools.product(RESOURCES, ("", "Minutes", "RunMinutes"))),
    *(f"{who}Max{what}{scope}" for who in ("Assoc", "QOS") for what in RESOURCES for scope in ("PerJob", "PerNode")),
    *(f"{who}Max{what}MinutesPerJob" for who in ("Assoc", "QOS") for what in RESOURCES),
    *(f"QOSMax{what}PerUser" for what in RESOURCES),
    *(f"QOSMin{what}" for what in RESOURCES),
    *(f"Max{what}PerAccount" for what in RESOURCES),
}


@pytest.mark.parametrize("reason", sorted({*SLURM, *LIMITS}))
def test_every_reason_of_squeue_has_a_sentence_and_an_action(reason: str) -> None:
    found = explain_waiting(reason, "slurm", "4711")
    assert not found.sentence.startswith("The scheduler says")
    assert found.sentence.endswith(".")
    assert found.sentence.count(". ") == 0
    assert "{" not in found.action
    assert found.starts_alone or re.search("4711|another|support", found.action)


@pytest.mark.parametrize(
    ("reason", "words", "action", "alone"),
    [
        ("JobHeldUser", "You hold it", "scontrol release 4711", False),
        ("(Priority)", "higher priority", "wait", True),
        ("DependencyNeverSatisfied", "never starts", "daskhpc cancel 4711", False),
        ("AssocGrpCPUMinutesLimit", "account has used up its CPUs times minutes", "--account", False),
        ("AssocGrpCPURunMinutesLimit", "running jobs of its account", "wait", True),
        ("QOSMaxJobsPerUserLimit", "As many jobs of yours under its QOS run as may", "wait", True),
        ("QOSMaxWallDurationPerJobLimit", "more time than its QOS gives to one job", "--qos", False),
        ("QOSMaxGRESPerUser", "GPUs or other devices that its QOS gives to one user", "wait", True),
        ("MaxNodePerAccount", "running jobs of its account have all the nodes", "wait", True),
        ("ReqNodeNotAvail, UnavailableNodes:node[7-9]", "maintenance: node[7-9].", "--time", True),
        ("SomethingOfTomorrow", "The scheduler says: SomethingOfTomorrow.", "support", True),
    ],
)
def test_reasons_of_squeue(reason: str, words: str, action: str, alone: bool) -> None:
    found = explain_waiting(reason, "slurm", "4711")
    assert words in found.sentence
    assert action in found.action
    assert found.starts_alone is alone


@pytest.mark.parametrize(
    ("comment", "words", "alone"),
    [
        ("", "not looked at it yet", True),
        ("Not Running: Insufficient amount of resource: ncpus (R: 40 A: 0 T: 400)", "Too little ncpus is free", True),
        ("Not Running: Not enough free nodes available", "Too few nodes are free", True),
        ("Not Running: No available resources on nodes", "Too few nodes are free", True),
        ("Not Running: Host set host=n1 has too few free resources", "Too few nodes are free", True),
        ("Can Never Run: Insufficient amount of resource: ngpus (R: 9 A: 4 T: 4)", "never starts", False),
        ("Not Running: User has reached queue workq running job limit.", "Your jobs", True),
        ("Not Running: Server per-user limit reached on resource ncpus", "Your jobs", True),
        ("Not Running: would exceed project bio's limit on resource ncpus", "Your jobs", True),
        ("Not Running: Queue workq job limit has been reached.", "The jobs of its queue", True),
        ("Not Running: Server job limit has been reached.", "the site allows", True),
        ("Not Running: Job would conflict with reservation or top job", "are being kept", True),
        ("Not Running: Draining system to allow starving job to run", "are being kept", True),
        ("Not Running: Job would cross dedicated time boundary", "dedicated time", True),
        ("Not Running: Queue not started.", "Its queue is stopped", True),
        ("Not Running: Job is requesting an exclusive node and node is in use.", "whole nodes", True),
        ("Not Running: Job would cross primetime boundary", "hours in which its queue is closed", True),
        ("Job held by ada on Thu Nov 26 09:00:00 2026", "on hold", False),
        ("job held, too many failed attempts to run", "failed to start too often", False),
        ("Not Running: Job's dependency is not satisfied", "end of another job", True),
        ("Hold_Types u", "You hold it", False),
        ("Hold_Types s", "An administrator", False),
        ("Hold_Types os", "An administrator", False),
        ("Something of tomorrow", "The scheduler says: Something of tomorrow.", True),
    ],
)
def test_comments_of_qstat(comment: str, words: str, alone: bool) -> None:
    found = explain_waiting(comment, "pbspro", "4711.server")
    assert words in found.sentence
    assert found.starts_alone is alone
    assert "{" not in found.action
