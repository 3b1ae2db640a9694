"""Why a job waits: for each reason of squeue and qstat one sentence and one action; tables and pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ID = "{job}"


@dataclass(frozen=True, slots=True)
class WaitReason:
    """Why a job waits.

    Attributes
    ----------
    sentence : str
        In one sentence.
    action : str
        What to type or to do; ``wait`` if the job starts by itself.
    starts_alone : bool
        Whether the job starts by itself.
    """

    sentence: str
    action: str
    starts_alone: bool = True


_NOTHING = "wait: it starts by itself"
_WHEN_OTHERS_END = "wait: it starts when some of them end"
_SMALLER = "or cancel it, and submit it with a shorter --time or fewer --nodes"
_ADMINISTRATOR = "write to the site's support and name job {job}"


def _alone(sentence: str, action: str = _NOTHING) -> WaitReason:
    return WaitReason(sentence, action)


def _stuck(sentence: str, action: str) -> WaitReason:
    return WaitReason(sentence, action, starts_alone=False)


_CANCEL = "daskhpc cancel {job}, then submit with "

# Reasons of squeue by their whole names. Limits of accounts and QOS have names that are put together: see `_limit`.
SLURM: dict[str, WaitReason] = {
    "": _alone("The scheduler has not looked at it yet.", "wait: ask again in a minute"),
    "Priority": _alone("Jobs of higher priority are before it.", f"wait; {_SMALLER}"),
    "Resources": _alone("It is among the next, and its nodes are still in use.", f"wait; {_SMALLER}"),
    "WaitingForScheduling": _alone("The scheduler has not looked at it yet.", "wait: ask again in a minute"),
    "SchedDefer": _alone("The scheduler looks at new jobs in turn, and not at once.", "wait: ask again in a minute"),
    "Dependency": _alone("It waits for the end of another job.", "daskhpc jobs shows that job, if it is yours"),
    "DependencyNeverSatisfied": _stuck(
        "The job that it depends on ended in a way that --dependency does not allow, so it never starts.",
        _CANCEL + "another --dependency",
    ),
    "BeginTime": _alone("Its --begin is not reached, or it was requeued a moment ago and pauses for two minutes."),
    "JobHeldUser": _stuck("You hold it.", "scontrol release {job}"),
    "JobHeldAdmin": _stuck("An administrator holds it.", _ADMINISTRATOR),
    "JobHoldMaxRequeue": _stuck("It was requeued too often, and the scheduler holds it.", "scontrol release {job}"),
    "JobArrayTaskLimit": _alone(
        "As many elements of its array run as --array allows at a time.",
        "wait; scontrol update JobId={job} ArrayTaskThrottle=N allows N",
    ),
    "Licenses": _alone("The licenses that it asks for are in use."),
    "Reservation": _alone("The reservation that it asks for has not begun.", "wait; or submit without --reservation"),
    "ReservationDeleted": _stuck(
        "The reservation that it asks for is gone.", _CANCEL + "another --reservation, or without"
    ),
    "RequiresReservation": _stuck(
        "Its partition takes jobs of a reservation only.", _CANCEL + "--reservation, or another --partition"
    ),
    "ReqNodeNotAvail": _alone(
        "A node that it asks for is down, drained, or kept for a reservation or a maintenance.",
        "submit with a --time that ends before the maintenance, or without --nodelist",
    ),
    "NodeDown": _alone("A node that it asks for is down.", "wait; or submit without --nodelist"),
    "FrontEndDown": _alone("No front end of the machine is up."),
    "PartitionDown": _alone("Its partition is down.", "wait; or submit to another --partition: sinfo lists them"),
    "PartitionInactive": _alone(
        "Its partition takes no new work.", "wait; or submit to another --partition: sinfo lists them"
    ),
    "PartitionNodeLimit": _stuck(
        "It asks for more or fewer nodes than its partition gives.", _CANCEL + "other --nodes or another --partition"
    ),
    "PartitionMaxNodes": _stuck("It asks for more nodes than its partition gives.", _CANCEL + "fewer --nodes"),
    "PartitionMinNodes": _stuck("It asks for fewer nodes than its partition gives.", _CANCEL + "more --nodes"),
    "PartitionTimeLimit": _stuck(
        "Its time limit is above that of its partition.", _CANCEL + "a shorter --time or another --partition"
    ),
    "PartitionConfig": _stuck(
        "Its partition cannot give what it asks for.", _CANCEL + "another --partition: sinfo lists them"
    ),
    "BadConstraints": _stuck("No node has what it asks for.", _CANCEL + "another --constraint, --gpus or --mem"),
    "InvalidAccount": _stuck("Its account does not exist.", _CANCEL + "another --account: sacctmgr show assoc"),
    "AccountNotAllowed": _stuck("Its account may not use its partition.", _CANCEL + "another --account or --partition"),
    "InvalidQOS": _stuck("Its QOS does not exist.", _CANCEL + "another --qos: sacctmgr show qos"),
    "QOSNotAllowed": _stuck("Its account or its partition does not allow its QOS.", _CANCEL + "another --qos"),
    "QOSUsageThreshold": _alone("Too little of the share of its QOS is left.", "wait; or submit with another --qos"),
    "QOSJobLimit": _alone("As many jobs of its QOS run as may.", "wait; or submit with another --qos"),
    "QOSResourceLimit": _alone("The jobs of its QOS use as much as they may.", "wait; or submit with another --qos"),
    "QOSTimeLimit": _stuck("Its QOS has used up its time.", _CANCEL + "another --qos"),
    "AssociationJobLimit": _alone("As many jobs of its account run as may."),
    "AssociationResourceLimit": _alone("The jobs of its account use as much as they may."),
    "AssociationTimeLimit": _stuck("Its account has used up its time.", _CANCEL + "another --account"),
    "AccountingPolicy": _alone("The jobs of its account or its QOS use as much as they may."),
    "MaxMemPerLimit": _stuck("It asks for more memory per CPU or node than may be.", _CANCEL + "less --mem"),
    "DeadLine": _stuck("It cannot end before its --deadline.", _CANCEL + "a shorter --time or a later --deadline"),
    "Cleaning": _alone("It was requeued, and its nodes are still cleaning up after its last run."),
    "Prolog": _alone("Its nodes are being prepared."),
    "BurstBufferResources": _alone("The burst buffer has too little room."),
    "BurstBufferStageIn": _alone("Its files are being copied to the burst buffer."),
    "BurstBufferOperation": _stuck("An operation of the burst buffer failed.", _ADMINISTRATOR),
    "FedJobLock": _alone("Another cluster of the federation is about to start it."),
    "PowerNotAvail": _alone("The nodes are switched off, and the site's power does not allow to start them."),
    "PowerReserved": _alone("The site's power is reserved."),
    "JobLaunchFailure": _stuck(
        "The scheduler could not start it: its folder is not there on the node, or the node is broken.",
        "daskhpc logs {job}; then scontrol release {job}, or --exclude that node",
    ),
    "SystemFailure": _alone("Slurm, a file system or the network failed.", _ADMINISTRATOR),
    "NonZeroExitCode": _stuck("It ended with an exit code other than 0.", "daskhpc logs {job}"),
    "RaisedSignal": _stuck("A signal ended it.", "daskhpc logs {job}"),
    "TimeLimit": _stuck("It reached its time limit.", "daskhpc logs {job}"),
    "OutOfMemory": _stuck("It needed more memory than it had.", "daskhpc logs {job}"),
    "InactiveLimit": _stuck("It reached the site's limit of idle time.", "daskhpc logs {job}"),
    "launch_failed_requeued_held": _stuck(
        "A node could not start it, and the scheduler holds it.", "scontrol release {job}, or --exclude that node"
    ),
    "job_requeued_in_held_state": _stuck("It was requeued on hold.", "scontrol release {job}"),
}

_RESOURCES = {
    "cpu": "CPUs",
    "node": "nodes",
    "mem": "memory",
    "memory": "memory",
    "gres": "GPUs or other devices",
    "job": "jobs",
    "jobs": "jobs",
    "submitjob": "jobs in the queue",
    "submitjobs": "jobs in the queue",
    "submit": "jobs in the queue",
    "wall": "time",
    "wallduration": "time",
    "wallduratio": "time",
    "energy": "energy",
    "license": "licenses",
    "bb": "burst buffer",
    "billing": "billing units",
    "unknown": "resources",
}
_LIMIT = re.compile(
    r"(?P<owner>Assoc|QOS|)(?P<kind>Grp|Max|Min)(?P<what>[A-Za-z]+?)(?P<sum>Run)?(?P<minutes>Minutes)?"
    r"(?P<scope>Per(?:Job|User|Node|Account))?(?:Limit|NotSatisfied)?"
)


def _limit(reason: str) -> WaitReason | None:
    """A reason such as ``QOSMaxCpuPerUserLimit`` or ``AssocGrpCPUMinutesLimit``, read by its parts."""
    match = _LIMIT.fullmatch(reason)
    if match is None:
        return None
    what = _RESOURCES.get(match["what"].lower())
    if what is None:
        return None
    owner, option = ("QOS", "--qos") if match["owner"] == "QOS" else ("account", "--account")
    minutes = f"{what} times minutes" if match["minutes"] else what
    if match["kind"] == "Min":
        return _stuck(
            f"It asks for less than the {what} that its {owner} demands.", f"{_CANCEL}more, or another {option}"
        )
    if what.startswith("jobs"):
        where = "are in the queue" if what == "jobs in the queue" else "run"
        whose = "of its" if match["kind"] == "Grp" else "of yours under its"
        return _alone(f"As many jobs {whose} {owner} {where} as may.", f"{_WHEN_OTHERS_END}; or another {option}")
    if match["scope"] in ("PerJob", "PerNode") or (match["kind"] == "Max" and not match["scope"]):
        where = "on a node " if match["scope"] == "PerNode" else ""
        return _stuck(
            f"It asks for more {minutes} {where}than its {owner} gives to one job.",
            f"{_CANCEL}less, or another {option}",
        )
    if match["kind"] == "Grp" and (what == "time" or (match["minutes"] and not match["sum"])):
        return _stuck(f"Its {owner} has used up its {minutes}.", f"{_CANCEL}another {option}, or ask for more")
    if match["scope"] == "PerUser":
        return _alone(
            f"Your jobs have all the {minutes} that its {owner} gives to one user.",
            f"{_WHEN_OTHERS_END}; or another {option}",
        )
    return _alone(
        f"The running jobs of its {owner} have all the {minutes} that it gives.",
        f"{_WHEN_OTHERS_END}; or another {option}",
    )


# Comments of qstat: beginnings of sentences that PBS Pro, Torque and Maui write, the most special first.
PBS: tuple[tuple[str, WaitReason], ...] = (
    (
        r"Can Never Run",
        _stuck("It asks for more than the machine has, so it never starts.", _CANCEL + "less, or another --queue"),
    ),
    (r"Hold_Types .*u|held by .*owner|Job held by (?:\S+@|user)", _stuck("You hold it.", "qrls {job}")),
    (
        r"Hold_Types .*[so]|[Jj]ob held by (?:root|admin|operator|system)",
        _stuck("An administrator holds it.", _ADMINISTRATOR),
    ),
    (
        r"too many failed attempts|held.*failed",
        _stuck("It failed to start too often, and the scheduler holds it.", "qrls {job}, or support if it recurs"),
    ),
    (r"depend", _alone("It waits for the end of another job.", "daskhpc jobs shows that job, if it is yours")),
    (r"Hold_Types|held by", _stuck("It is on hold.", "qrls {job}")),
    (
        r"dedicated time|maintenance",
        _alone(
            "It would not end before the site's dedicated time.", "wait: it starts after; or submit a shorter --time"
        ),
    ),
    (
        r"reservation or top job|conflict with.*reservation|top job|Draining system",
        _alone("Nodes are being kept for a job or a reservation before it.", f"wait; {_SMALLER}"),
    ),
    (
        r"(?:[Uu]ser|per-user|[Pp]roject|[Gg]roup).*(?:limit|maximum)|limit.*(?:[Uu]ser|[Pp]roject|[Gg]roup)",
        _alone(
            "Your jobs, or those of your project, use as much as they may.", "wait: it starts when some of them end"
        ),
    ),
    (r"[Qq]ueue.*limit|limit.*[Qq]ueue", _alone("The jobs of its queue use as much as they may.")),
    (r"[Ss]erver.*limit", _alone("As many jobs run as the site allows.")),
    (r"[Qq]ueue not started|[Qq]ueue is not", _alone("Its queue is stopped.", "wait; or another --queue: qstat -q")),
    (
        r"cross.*prime|prime ?time",
        _alone("It would run into the hours in which its queue is closed.", "wait; or submit a shorter --time"),
    ),
    (r"[Bb]lock|placement set", _alone("No group of nodes that belong together is free.", f"wait; {_SMALLER}")),
    (r"exclusive", _alone("It asks for whole nodes, and these are in use.", f"wait; {_SMALLER}")),
    (
        r"Insufficient amount of|[Nn]ot enough|[Nn]o available resources|too few free|resources? .*unavailable",
        _alone("Too few nodes are free.", f"wait; {_SMALLER}"),
    ),
    (r"higher priority|[Pp]riority", _alone("Jobs of higher priority are before it.", f"wait; {_SMALLER}")),
    (r"[Ll]icense", _alone("The licenses that it asks for are in use.")),
    (r"[Ee]xecution_Time|not reached", _alone("Its start time is not reached.")),
)


def explain_waiting(reason: str, scheduler: str, job: str) -> WaitReason:
    """Say why a job waits.

    Parameters
    ----------
    reason : str
        What squeue gives as the reason, or qstat as the comment.
    scheduler : str
        "slurm", "pbspro" or "torque".
    job : str
        The job's id, which is filled into the action.

    Returns
    -------
    WaitReason
        For an unknown reason, the scheduler's own words.

    Examples
    --------
    >>> explain_waiting("QOSMaxCpuPerUserLimit", "slurm", "123").sentence
    'Your jobs have all the CPUs that its QOS gives to one user.'
    >>> explain_waiting("JobHeldUser", "slurm", "123").action
    'scontrol release 123'
    >>> explain_waiting("Hold_Types u", "torque", "7.server").action
    'qrls 7.server'
    """
    found = _EXPLAIN[scheduler](reason)
    return WaitReason(found.sentence, found.action.replace(_ID, job), found.starts_alone)


def _slurm(reason: str) -> WaitReason:
    # "ReqNodeNotAvail, UnavailableNodes:node7" and "BeginTime " have more than the name.
    name, _, more = reason.strip().strip("()").partition(",")
    known = SLURM.get(name.strip()) or _limit(name.strip())
    if known is None:
        return WaitReason(f"The scheduler says: {reason}.", "man squeue explains reasons; or the site's support")
    nodes = re.search(r"Nodes:(\S+)", more)
    if nodes:
        return WaitReason(f"{known.sentence[:-1]}: {nodes[1]}.", known.action, known.starts_alone)
    return known


def _pbs(comment: str) -> WaitReason:
    if not comment:
        return SLURM[""]
    known = next((reason for pattern, reason in PBS if re.search(pattern, comment)), None)
    if known is None:
        return WaitReason(f"The scheduler says: {comment.rstrip('.')}.", "the site's support")
    needed = re.search(r"Insufficient amount of resource: *([^)\s]+)", comment)
    if needed and known.sentence == "Too few nodes are free.":
        return WaitReason(f"Too little {needed[1]} is free.", known.action, known.starts_alone)
    return known


_EXPLAIN = {"slurm": _slurm, "pbspro": _pbs, "torque": _pbs}
