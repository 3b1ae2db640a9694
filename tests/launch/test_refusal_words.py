"""What to type after a scheduler did not take a job: by its own words."""

from __future__ import annotations

import pytest

from daskhpc.launch.refusals import remedy

# As sbatch of Slurm 22.05 words them, after "sbatch: error: Batch job submission failed: "; and rules of sites.
SLURM = [
    ("Invalid account or account/partition combination specified", "--account"),
    ("Please specify an account with -A", "job: {account: NAME}"),
    ("Invalid partition name specified", "--partition NAME, one that sinfo lists"),
    ("No partition specified or system default partition", "--partition NAME, one that sinfo lists"),
    ("User's group not permitted to use this partition", "another --partition"),
    ("Requested nodes not in this partition", "--nodelist"),
    ("Invalid qos specification", "--qos"),
    ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", "daskhpc jobs"),
    ("QOSMaxSubmitJobPerUserLimit", "some of your jobs have ended"),
    ("QOSMaxWallDurationPerJobLimit", "a shorter --time"),
    ("Requested time limit is invalid (missing or exceeds some limit)", "a shorter --time"),
    ("Requested account has breached requested QOS usage threshold", "another --account"),
    ("Job can not start due to maintenance reservation.", "--time that ends before the maintenance"),
    ("Requested reservation is invalid", "without --reservation"),
    ("Access denied to requested reservation", "without --reservation"),
    ("SLURM_MEM_PER_CPU, SLURM_MEM_PER_GPU, and SLURM_MEM_PER_NODE are mutually exclusive.", "memory: per-cpu"),
    ("Memory specification can not be satisfied", "memory: per-cpu, or memory: none"),
    ("Memory required by task is not available", "a smaller --mem"),
    ("sbatch: error: Invalid --mem specification", "a smaller --mem"),
    ("sbatch: error: Batch script contains DOS line breaks (\\r\\n)", "CR LF"),
    ("Invalid generic resource (gres) specification", "gpus: gpus-per-node"),
    ("Invalid GRES specification (with and without type identification)", "--gpu-type"),
    ("Invalid feature specification", "--constraint"),
    ("Requested node configuration is not available", "no node of the partition has what is asked for"),
    ("Node count specification invalid", "scontrol show partition"),
    ("Required node not available (down, drained or reserved)", "without --nodelist"),
    ("Invalid job array specification", "MaxArraySize"),
    ("Job dependency problem", "--dependency afterok:ID"),
    ("Invalid license specification", "scontrol show lic"),
    ("Invalid wckey specification", "--wckey"),
    ("sbatch: unrecognized option '--gpus-per-knode'", "without that --slurm option"),
    ("Access/permission denied", "on a login node"),
    ("Failed to connect to authentication agent", "support"),
    ("lua: jobs on this cluster need a comment", "the site's own rules"),
]
PBS = [
    ("qsub: illegal -N value", "--name"),
    ("qsub: Invalid account", "--account NAME"),
    ("qsub: Project is required: use -P", "pbs_account: -P"),
    ("qsub: Unknown queue", "qstat -q"),
    ("qsub: No default queue specified", "--queue NAME"),
    ("qsub: Queue is not enabled", "another --queue"),
    ("qsub: Unauthorized Request", "another --queue"),
    ("qsub: Job exceeds queue and/or server resource limits", "qstat -Qf"),
    ("qsub: Job violates queue and/or server resource limits", "qstat -Qf"),
    ("qsub: would exceed queue generic's per-user limit", "daskhpc jobs"),
    ('qsub: "-lresource=" cannot be used with "select" or "place", resource is: nodes', "scheduler: torque"),
    ("qsub: Unknown resource Resource_List.vortex", "--pbs"),
    ("qsub: submit error (Job rejected: cannot locate feasible nodes (nodes file is empty))", "fewer --nodes"),
    ("qsub: Invalid credential", "the same command again"),
    ("qsub: cannot connect to server hpc (errno=111) Connection refused", "in some minutes"),
    ("qsub: submit error (Bad UID for job execution MSG=ruserok failed)", "support"),
]


@pytest.mark.parametrize(("words", "todo"), SLURM)
def test_sbatch(words: str, todo: str) -> None:
    assert todo in remedy("slurm", f"sbatch: error: Batch job submission failed: {words}")


@pytest.mark.parametrize(("words", "todo"), PBS)
@pytest.mark.parametrize("scheduler", ["pbspro", "torque"])
def test_qsub(words: str, todo: str, scheduler: str) -> None:
    assert todo in remedy(scheduler, words)


@pytest.mark.parametrize("scheduler", ["slurm", "pbspro", "torque"])
def test_unknown_words_stand_for_themselves(scheduler: str) -> None:
    assert remedy(scheduler, "the moon is in the seventh house") == ""
