"""What submit commands print, and the id in it: ids are opaque, whole, and with their cluster."""

from __future__ import annotations

import pytest

from daskhpc.launch.batch_systems import batch_system
from daskhpc.launch.scheduler_commands import CommandAnswer
from daskhpc.launch.submission import SubmitOutcome, outcome

BANNER = """
-----------------------------------------------------------------
          Welcome to the Stampede3 Supercomputer
-----------------------------------------------------------------

No reservation for this job
--> Verifying valid submit host (login2)...OK
--> Checking available allocation (TG-ABC123456)...OK
"""

# scheduler, standard output, standard error, id, cluster
ANSWERS = [
    ("slurm", "123\n", "", "123", ""),
    ("slurm", "123;alpha\n", "", "123", "alpha"),
    ("slurm", f"{BANNER}4412345\n", "", "4412345", ""),
    ("slurm", "Balance: 1200 SU of 2000 SU\n99881;snow-2\n", "", "99881", "snow-2"),
    ("slurm", "55\n", "sbatch: Warning: can't run 4 processes on 3 nodes, setting nnodes to 4\n", "55", ""),
    ("slurm", "56\n\n", "sbatch: no partition specified, using default partition 4cores\n", "56", ""),
    ("slurm", "  57  \r\n", "", "57", ""),
    ("pbspro", "123.pbsserver\n", "", "123.pbsserver", ""),
    ("pbspro", "4712[].pbs-01.hsn.cm.example.gov\n", "", "4712[].pbs-01.hsn.cm.example.gov", ""),
    ("pbspro", "Job will be charged to project ab-1\n\n98.gadi-pbs\n", "", "98.gadi-pbs", ""),
    ("torque", "123.bora.sciclone.wm.edu\n", "qsub: WARNING: walltime 2:00:00\n", "123.bora.sciclone.wm.edu", ""),
    ("torque", "9876[4].torque\n", "", "9876[4].torque", ""),
    ("torque", "12\n", "", "12", ""),
    ("slurm", "Submitted batch job 123\n", "", None, ""),
    ("slurm", "job 12 of Stampede3 is queued\n", "", None, ""),
    ("pbspro", "", "", None, ""),
]  # fmt: skip


@pytest.mark.parametrize(("scheduler", "out", "err", "number", "cluster"), ANSWERS)
def test_ids(scheduler: str, out: str, err: str, number: str | None, cluster: str) -> None:
    system = batch_system(scheduler)
    result = outcome(system, CommandAnswer(0, out, err))
    if number is None:
        assert result is SubmitOutcome.UNKNOWN
    else:
        assert result is SubmitOutcome.SUBMITTED
        assert system.job_id(out) == (number, cluster)


@pytest.mark.parametrize(
    ("scheduler", "code", "err", "result"),
    [
        ("slurm", 1, "sbatch: error: Batch job submission failed: Invalid account", SubmitOutcome.REFUSED),
        ("slurm", 1, "sbatch: error: Socket timed out on send/recv operation", SubmitOutcome.UNKNOWN),
        ("slurm", 1, "sbatch: error: Unable to contact slurm controller (connect failure)", SubmitOutcome.LATER),
        ("slurm", 1, "sbatch: error: Slurm temporarily unable to accept job", SubmitOutcome.LATER),
        ("slurm", None, "", SubmitOutcome.UNKNOWN),
        ("pbspro", 171, "qsub: Unknown queue", SubmitOutcome.REFUSED),
        ("pbspro", 2, "qsub: Invalid credential", SubmitOutcome.LATER),
        ("torque", 111, "qsub: cannot connect to server torque (errno=111) Connection refused", SubmitOutcome.LATER),
        ("torque", 1, "qsub: submit error (End of File)", SubmitOutcome.UNKNOWN),
    ],
)  # fmt: skip
def test_what_an_answer_means(scheduler: str, code: int | None, err: str, result: SubmitOutcome) -> None:
    assert outcome(batch_system(scheduler), CommandAnswer(code, "", err)) is result


def test_a_job_is_found_by_its_token() -> None:
    slurm, pbs = batch_system("slurm"), batch_system("pbspro")
    listed = "11 daskhpc:aaa\n12 my own daskhpc:bbb\n13 (null)\n14_[0-9] x\n"
    assert (slurm.found(listed, "bbb"), slurm.found(listed, "ccc")) == ("12", None)
    full = (
        "Job Id: 7.server\n    Variable_List = HOME=/home/ada,\n\tDASKHPC_TOKEN=bb\n\tb,LANG=C\n\n"
        "Job Id: 8.server\n    Variable_List = DASKHPC_TOKEN=ccc\n"
    )
    assert (pbs.found(full, "bbb"), pbs.found(full, "ccc"), pbs.found(full, "ddd")) == ("7.server", "8.server", None)
