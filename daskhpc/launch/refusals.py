"""Why a scheduler did not take a job: for its own words, the option or the key of a profile to set."""

from __future__ import annotations

import re

# Refusals of Slurm's sbatch, the most special first; each with what to type.
_SLURM: tuple[tuple[str, str], ...] = (
    (
        r"[Ii]nvalid account or account/partition combination|account .*(?:not|invalid)",
        "--account NAME, one that 'sacctmgr show assoc user=$USER format=account,partition,qos' lists; "
        "to keep it: job: {account: NAME} in the profile",
    ),
    (
        r"specify an account|no account specified|account (?:is )?required|need an account",
        "--account NAME; to keep it: job: {account: NAME} in the profile",
    ),
    (r"[Ii]nvalid partition name", "--partition NAME, one that sinfo lists; or job: {partition: NAME} in the profile"),
    (r"[Nn]o partition specified", "--partition NAME, one that sinfo lists; or job: {partition: NAME} in the profile"),
    (r"group not permitted to use this partition", "another --partition: this one is not for your group"),
    (r"Requested nodes not in this partition", "without --nodelist, or with the --partition that has these nodes"),
    (r"partition not available|partition configuration not available", "another --partition that sinfo shows as up"),
    (r"[Ii]nvalid qos", "--qos NAME, one that 'sacctmgr show assoc user=$USER format=account,qos' lists"),
    (
        r"QOSMaxSubmit|AssocMaxSubmit|MaxSubmitJobs|job submit limit",
        "wait until some of your jobs have ended: daskhpc jobs",
    ),
    (r"QOSMinGRES|QOSMin", "ask for more: the QOS has a least amount; or another --qos"),
    (
        r"QOSMax(?:Wall|Time)|QOS.*time limit|time limit is invalid|[Tt]ime limit.*exceeds|PartitionTimeLimit",
        "a shorter --time, or another --partition or --qos: sinfo --format='%P %l' shows the limits",
    ),
    (
        r"QOSMax|QOSGrp|AssocGrp|AssocMax|accounting/QOS policy",
        "fewer --nodes or a shorter --time, or another --account or --qos",
    ),
    (r"usage threshold", "another --account or --qos: this one has used up its share"),
    (
        r"maintenance reservation",
        "a --time that ends before the maintenance: 'scontrol show reservation' says when it begins",
    ),
    (
        r"[Rr]equested reservation is invalid",
        "without --reservation, or with one that 'scontrol show reservation' lists",
    ),
    (r"Access denied to requested reservation", "without --reservation, or ask its owner to add you"),
    (r"reservation not usable", "without --reservation, or at its time"),
    (
        r"mutually exclusive|mem-per-cpu.*mem|--mem .*(?:not|disabled)|[Mm]emory (?:specification|must not)",
        "memory: per-cpu, or memory: none, in the profile: this site does not take --mem",
    ),
    (
        r"Memory required by task is not available|Invalid --mem",
        "a smaller --mem; 'sinfo --format=\"%P %m\"' shows what nodes have",
    ),
    (
        r"generic resource \(gres\)|GRES|gres",
        "gpus: gpus-per-node, or gpus: gres, in the profile; --gpu-type with a type that 'sinfo --format=%G' lists",
    ),
    (r"GPU.*required|request.*GPU|must.*gpu", "--gpus-per-node 1, or another --partition"),
    (r"feature", "a --constraint that 'sinfo --format=%f' lists"),
    (
        r"node configuration is not available|More processors requested|more tasks than available|CPU count spec",
        "fewer --cpus-per-task, less --mem or another --constraint: no node of the partition has what is asked for",
    ),
    (r"Node count specification invalid", "--nodes within the limits that 'scontrol show partition' lists"),
    (r"node not available \(down", "without --nodelist"),
    (r"[Ii]nvalid job array", "a smaller --array: 'scontrol show config | grep MaxArraySize'"),
    (r"dependency", "--dependency afterok:ID with the id of a job that daskhpc jobs shows"),
    (r"[Ll]icense", "a --licenses that 'scontrol show lic' lists"),
    (r"[Ii]nvalid.*wckey", "--slurm --wckey=NAME"),
    (r"[Bb]egin time|deadline", "another --begin or --deadline"),
    (r"time-min", "without --slurm --time-min"),
    (
        r"unrecognized option|invalid option|Unable to process",
        "without that --slurm option: this sbatch does not know it",
    ),
    (r"credential|Munge|authentication", "the site's support: the login node is not accepted by the scheduler"),
    (
        r"Access/permission denied|submit from this (?:host|node)|not allowed to submit",
        "this on a login node; from a compute node this site takes no jobs",
    ),
    (r"No space left|I/O error writing", "the site's support: the scheduler's disk is full"),
    (r"[Pp]athname .* too long", "a shorter --folder"),
    (r"DOS line breaks", "arguments, --env and --setup without the line ends of DOS (CR LF)"),
    (r"violates|policy|filter|lua", "what the words above ask for; the site's own rules wrote them"),
)
# Refusals of qsub of PBS Pro and Torque.
_PBS: tuple[tuple[str, str], ...] = (
    (r"illegal -N value", "a --name of letters, digits and _ that begins with a letter"),
    (
        r"[Ii]nvalid account|[Aa]ccount.*(?:required|invalid|not)|[Pp]roject.*(?:required|invalid|not)|-P |allocation",
        "--account NAME; in the profile pbs_account: -P if the site counts by project, and job: {account: NAME}",
    ),
    (r"[Uu]nknown queue|[Uu]nknown Queue", "--queue NAME, one that 'qstat -q' lists; or job: {partition: NAME}"),
    (r"No default queue", "--queue NAME, one that 'qstat -q' lists; or job: {partition: NAME} in the profile"),
    (r"[Qq]ueue is not enabled|not accept(?:ing)? jobs", "another --queue: this one takes no jobs now"),
    (r"not authori[sz]ed|[Uu]nauthori[sz]ed|[Aa]ccess to queue is denied|ACL", "another --queue, or another --account"),
    (
        r"exceeds queue and/or server resource limits|violates queue and/or server resource limits|exceeds.*limit",
        "fewer --nodes or a shorter --time: 'qstat -Qf' shows the limits of each queue",
    ),
    (
        r"would exceed|[Mm]aximum number of jobs|limit on (?:number|jobs)",
        "wait until some of your jobs have ended: daskhpc jobs",
    ),
    (
        r"select.*nodes|nodes.*select|\"-lresource=\" cannot be used with \"select\"",
        "scheduler: torque, or scheduler: pbspro, in the profile: the site has the other form",
    ),
    (r"[Uu]nknown resource", "without that --pbs option; if it names a resource of select: another profile"),
    (
        r"cannot locate feasible nodes|nodes file is empty|no nodes match",
        "fewer --nodes or --cpus-per-task, or another --constraint",
    ),
    (
        r"Illegal attribute or resource value|Bad (?:UID|GID)|[Ii]nvalid (?:credential|request)",
        "the same command again; if it recurs, the site's support",
    ),
    (r"[Gg]roup", "--pbs '-W group_list=NAME'"),
    (r"[Rr]eservation", "--queue NAME of a reservation that 'pbs_rstat' lists"),
    (r"[Dd]epend", "--dependency afterok:ID with the id of a job that daskhpc jobs shows"),
    (r"cannot connect|Connection refused|No Permission|server.*(?:down|not)", "this on a login node, in some minutes"),
    (r"submit host|not allowed.*host|ruserok", "this on a login node; from a compute node this site takes no jobs"),
)


_TABLES = {"slurm": _SLURM, "pbspro": _PBS, "torque": _PBS}


def remedy(scheduler: str, words: str) -> str:
    """What to type after a refusal.

    Parameters
    ----------
    scheduler : str
        "slurm", "pbspro" or "torque".
    words : str
        The scheduler's own words.

    Returns
    -------
    str
        Empty if the words are none that are known: they then stand for themselves.

    Examples
    --------
    >>> remedy("slurm", "sbatch: error: Batch job submission failed: Invalid partition name specified")
    '--partition NAME, one that sinfo lists; or job: {partition: NAME} in the profile'
    """
    return next((todo for pattern, todo in _TABLES[scheduler] if re.search(pattern, words)), "")
