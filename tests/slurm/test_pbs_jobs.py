"""``daskhpc submit`` to a Torque and a PBS Pro that are stood in for: a strict qsub over the test Slurm (`qsub.py`)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from bed import SlurmBed
from pbs_site import PBSSite

from daskhpc.launch.job_folder import JobFolder

pytestmark = pytest.mark.slurm

PROGRAM = """\
import json, os, socket, sys
import daskhpc

client = daskhpc.start()
hosts = sorted(client.run(socket.gethostname).values())
runtime = daskhpc.discover()
print("SEEN " + json.dumps([hosts, runtime.scheduler.value, sys.argv[1:], os.getcwd(), os.environ.get("LEFT")]))
sys.exit(int(sys.argv[1]))
"""
# mvp2run starts ranks in turn over the nodes of its job; srun does that here, within the job that is Slurm's.
MVP2RUN = """\
#!/bin/bash
[ "$1 $3 $4 $5" = "-c -m cyclic -a" ] || { echo "mvp2run: usage" >&2; exit 64; }
ranks=$2; shift 5
export SLURM_JOB_ID="$BED_JOB"
exec srun --mpi=pmi2 --overcommit --distribution=cyclic --nodes="$BED_NODES" --ntasks="$ranks" --mem=0 \\
    --kill-on-bad-exit=1 env -u SLURM_JOB_ID -u SLURM_JOBID -u SLURM_STEP_ID "$@"
"""
# A program that is over at once, in the place of ranks: one exit code after the other.
RUN_STUB = """\
#!/bin/bash
codes=(75 1 0); run=$(ls runs | wc -l); touch "runs/$run"
echo "RUN $run"; exit "${codes[run]}"
"""
# A login shell that runs no script of sh: a user of tcsh.
TCSH = '#!/bin/sh\necho "if: Expression Syntax." >&2\nexit 1\n'
SITES = {
    "torque": "{scheduler: torque, cpus_per_node: 4, launcher: 'mvp2run -c {ranks} -m cyclic -a'}",
    "torque-stub": "{scheduler: torque, cpus_per_node: 1, launcher: run-stub}",
    "pbspro": "{scheduler: pbspro, cpus_per_node: 4, pbs_account: -P, job: {account: physics}}",
}


class PBSLogin:
    """A login node of a site with PBS, and of a user of tcsh."""

    def __init__(self, bed: SlurmBed, folder: Path, site: str) -> None:
        self.bed, self.folder = bed, folder / "it's here; echo"
        for path in (self.folder, folder / "config"):
            path.mkdir()
        here = PBSSite(bed, folder, site.partition("-")[0])
        here.command("mvp2run", MVP2RUN)
        here.command("run-stub", RUN_STUB)
        (folder / "config/daskhpc.yaml").write_text(f"daskhpc: {{profiles: {{here: {SITES[site]}}}}}")
        (self.folder / "search.py").write_text(PROGRAM)
        self.env = {
            **here.env,
            "SHELL": str(here.command("tcsh", TCSH)),
            "DASK_CONFIG": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
            "LEFT": "of the session",
        }

    def run(self, *words: str) -> str:
        """Run the ``daskhpc`` command; its standard output."""
        done = self.bed.run([sys.executable, "-P", "-m", "daskhpc", *words], 120, self.folder, self.env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, *words: str) -> tuple[str, JobFolder]:
        """Submit; the ids and the job's folder."""
        out = self.run("submit", *words)
        (path,) = (self.folder / "daskhpc-jobs").iterdir()
        return out.strip(), JobFolder(path)

    def codes(self, names: str) -> list[str]:
        """The exit codes of jobs, once they have ended."""
        return [self.bed.wait(int(name.partition(".")[0]), 150)["ExitCode"] for name in names.split()]


@pytest.mark.parametrize(("site", "nodes", "code"), [("torque", 2, 0), ("pbspro", 1, 3)])
def test_a_job_of_pbs(slurm: SlurmBed, tmp_path: Path, site: str, nodes: int, code: int) -> None:
    """Its script is accepted by the manual's syntax, and runs without the session's shell, variables and folder."""
    login = PBSLogin(slurm, tmp_path, site)
    name, folder = login.submit(f"--nodes={nodes}", "--time=5m", "search.py", str(code), "a 'b'; touch pwned", "$X")
    assert name.endswith(".bed")
    job = int(name.partition(".")[0])
    fields = slurm.wait(job, 150)
    log = folder.path / f"log-{name}.txt"
    assert log.exists(), (folder.path / "job.pbs").read_text()
    text = log.read_text()
    assert fields["ExitCode"] == f"{code}:0", text
    (line,) = [seen for seen in text.splitlines() if seen.startswith("SEEN ")]
    hosts, scheduler, argv, place, left = json.loads(line[5:])
    assert (len(hosts), scheduler, left) == (nodes, site, None)
    assert (argv, place) == ([str(code), "a 'b'; touch pwned", "$X"], str(login.folder))
    assert [(mark.job, mark.event) for mark in folder.marks()] == [(name, "began"), (name, "ended")]
    assert folder.marks()[1].value == str(code)
    assert not list(tmp_path.rglob("pwned"))


def test_a_chain_by_pbs_is_resumed(slurm: SlurmBed, tmp_path: Path) -> None:
    """The second job waits for the first one; what is not done goes on by ``daskhpc resume`` from the login node."""
    login = PBSLogin(slurm, tmp_path, "torque-stub")
    (login.folder / "runs").mkdir()
    names, folder = login.submit("--chain=2", "--time=5m", "search.py")
    assert login.codes(names) == ["75:0", "1:0"]
    assert [name for name in names.split() if "failed" in login.run("jobs", name)] != []
    again = login.run("resume", names.split()[0])
    assert login.codes(again) == ["0:0", "0:0"]
    logs = [(folder.path / f"log-{name}.txt").read_text() for name in (*names.split(), *again.split())]
    assert [f"RUN {run}\n" in log for run, log in enumerate(logs)] == [True, True, True, False]
    first, last = again.split()
    assert f"job {last} has nothing to do: job {first} ended with exit code 0" in logs[3]
    assert "completed" in login.run("jobs", last)


CLUSTER = """\
import os, socket
import daskhpc

client = daskhpc.start(nodes=1, time="3m", cpus_per_task=2, setup=["export GIVEN=yes"])
print(client.submit(lambda: (socket.gethostname(), os.environ["GIVEN"], os.environ.get("LEFT"))).result())
print(client.nthreads().popitem()[1], daskhpc.discover().job.value)
"""


def test_a_cluster_of_jobs_by_pbs(slurm: SlurmBed, tmp_path: Path) -> None:
    """``daskhpc.start(nodes=...)`` on the login node of a Torque; the job is deleted at the end."""
    login = PBSLogin(slurm, tmp_path, "torque")
    (login.folder / "cluster.py").write_text(CLUSTER)
    done = slurm.run([sys.executable, "cluster.py"], 180, login.folder, login.env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["('node1', 'yes', None)", "2 None"], done.stderr
    (path,) = (path for path in (login.folder / "daskhpc-jobs").iterdir() if path.name.startswith("workers-of-"))
    (job,) = JobFolder(path).submitted()
    assert f"jobs {job.id}; " in done.stderr
    assert slurm.wait(int(job.id.partition(".")[0]), 90)["JobState"] == "CANCELLED"
