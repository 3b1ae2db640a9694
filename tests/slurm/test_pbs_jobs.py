"""``daskhpc submit`` to a Torque and a PBS Pro that are stood in for: a strict qsub over the test Slurm (`qsub.py`)."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import pytest
from bed import SlurmBed

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
# A login shell that runs no script of sh: a user of tcsh.
TCSH = '#!/bin/sh\necho "if: Expression Syntax." >&2\nexit 1\n'
SITES = {
    "torque": "{scheduler: torque, cpus_per_node: 4, launcher: 'mvp2run -c {ranks} -m cyclic -a'}",
    "pbspro": "{scheduler: pbspro, cpus_per_node: 4, pbs_account: -P, job: {account: physics}}",
}


class PBSLogin:
    """A login node of a site with PBS, and of a user of tcsh."""

    def __init__(self, bed: SlurmBed, folder: Path, site: str) -> None:
        self.bed, self.folder = bed, folder / "it's here; echo"
        commands = folder / "bin"
        for path in (self.folder, commands, folder / "config"):
            path.mkdir()
        tests = Path(__file__).parent
        texts = {
            "qsub": f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(tests / "qsub.py"))} "$@"\n',
            "mvp2run": MVP2RUN,
            "tcsh": TCSH,
        }
        for name, text in texts.items():
            (commands / name).write_text(text)
            (commands / name).chmod(0o755)
        (folder / "config/daskhpc.yaml").write_text(f"daskhpc: {{profiles: {{here: {SITES[site]}}}}}")
        (folder / "nodes").write_text("\n".join(f"{name}={value}" for name, value in bed.env.items()))
        (self.folder / "search.py").write_text(PROGRAM)
        self.env = {
            "PATH": f"{commands}:{os.environ['PATH']}",
            "QSUB": site,
            "QSUB_PATH": str(commands),
            "QSUB_ENVIRONMENT": str(folder / "nodes"),
            "SHELL": str(commands / "tcsh"),
            "DASK_CONFIG": str(folder / "config"),
            "XDG_STATE_HOME": str(folder / "state"),
            "HOME": str(folder),
            "LEFT": "of the session",
        }

    def submit(self, *words: str) -> tuple[str, JobFolder]:
        """Submit; the id and the job's folder."""
        done = self.bed.run([sys.executable, "-P", "-m", "daskhpc", "submit", *words], 60, self.folder, self.env)
        assert done.returncode == 0, done.stderr
        (path,) = (self.folder / "daskhpc-jobs").iterdir()
        return done.stdout.strip(), JobFolder(path)


@pytest.mark.parametrize(("site", "nodes", "code"), [("torque", 2, 0), ("pbspro", 1, 3)])
def test_a_job_of_pbs(slurm: SlurmBed, tmp_path: Path, site: str, nodes: int, code: int) -> None:
    """Its script is accepted by the manual's syntax, and runs without the session's shell, variables and folder."""
    login = PBSLogin(slurm, tmp_path, site)
    name, folder = login.submit(f"--nodes={nodes}", "--time=5m", "search.py", str(code), "a 'b'; touch pwned", "$X")
    assert name.endswith(".bed")
    job = int(name.partition(".")[0])
    fields = slurm.wait(job, 90)
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
