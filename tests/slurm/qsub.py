"""A qsub over the test Slurm: it takes the directives of Torque or PBS Pro by their manuals, and no others.

PBS itself is not to be had here. This shows that a script is accepted by the manuals' syntax, and that it runs in what
PBS gives a job: its own variables and a node file, none of the session's variables, the home folder as working
directory, and the user's login shell unless ``-S`` names another one. ``$QSUB`` names the dialect,
``$QSUB_ENVIRONMENT`` a file with the variables that the nodes have by themselves.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "launch"))
from grammars import Dialect, qsub_job

PREAMBLE = """\
#!/bin/bash
# What PBS does before it starts the script: nothing of the session or of Slurm is left.
NODES=$(mktemp)
for host in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
    for place in $(seq {places}); do echo "$host"; done
done >"$NODES"
cd "$HOME"
exec env -i HOME="$HOME" USER="$USER" PATH={path}:/usr/bin:/bin SHELL={login_shell} {variables} \\
    PBS_ENVIRONMENT=PBS_BATCH PBS_JOBID="$SLURM_JOB_ID.bed" PBS_NODEFILE="$NODES" PBS_O_WORKDIR={submitted_from} \\
    BED_JOB="$SLURM_JOB_ID" BED_NODES="$SLURM_JOB_NUM_NODES" {own} {shell} {script}
"""
TORQUE = "PBS_VERSION=TORQUE-6.1.3 PBS_NUM_NODES={nodes} PBS_NUM_PPN={ppn} PBS_NP={np} PBS_WALLTIME={walltime}"
PRO = "NCPUS={ppn}"


def main(argv: list[str]) -> int:
    dialect = Dialect(os.environ["QSUB"])
    given: list[str] = []
    after: list[str] = []
    while argv and argv[0].startswith("-"):
        depend = re.fullmatch(r"depend=afterany:(\d+)\.bed", argv[1]) if len(argv) > 2 else None
        if argv[0] == "-v" and len(argv) > 2:
            given += argv[1].split(",")
        elif argv[0] == "-W" and depend:
            after = [f"--dependency=afterany:{depend[1]}"]
        else:
            return refuse(f"qsub: invalid option or value: {' '.join(argv[:2])}")
        argv = argv[2:]
    if len(argv) != 1:
        return refuse("usage: qsub [-v variable_list] [-W depend=afterany:ID] [script]")
    script = Path(argv[0]).absolute()
    try:
        job = qsub_job(script.read_text(), dialect)
    except ValueError as error:
        return refuse(f"qsub: {error}")
    login_shell = os.environ.get("SHELL", "/bin/sh")
    own = TORQUE if dialect is Dialect.TORQUE else PRO
    np = job.nodes * job.ppn
    text = PREAMBLE.format(
        places=job.ppn if dialect is Dialect.TORQUE else job.mpiprocs,
        path=shlex.quote(os.environ["QSUB_PATH"]),
        login_shell=shlex.quote(login_shell),
        variables=" ".join(map(shlex.quote, [*given, *Path(os.environ["QSUB_ENVIRONMENT"]).read_text().split("\n")])),
        submitted_from=shlex.quote(os.getcwd()),
        own=own.format(nodes=job.nodes, ppn=job.ppn, np=np, walltime=job.walltime),
        shell=shlex.quote(job.shell or login_shell),
        script=shlex.quote(str(script)),
    )
    line = ["sbatch", "--parsable", *after, "--export=HOME,USER,PATH", f"--job-name={job.name or script.name}"]
    line += [
        f"--nodes={job.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={job.ppn}",
        "--mem=2G",
        "--output=/dev/null",
    ]
    line += [f"--time={-(-job.walltime // 60)}"] if job.walltime else []
    done = subprocess.run(line, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        return refuse(done.stderr)
    print(f"{re.match(r'[0-9]+', done.stdout)[0]}.bed")
    return 0


def refuse(words: str) -> int:
    print(words, file=sys.stderr)
    return 32  # as qsub does


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
