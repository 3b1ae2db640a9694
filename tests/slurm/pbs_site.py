"""A site with PBS, stood in for over the test Slurm: a strict qsub, a qstat, a qdel, and an ssh to a job's nodes."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from bed import SlurmBed

# MPICH's mpiexec reaches the nodes of a job by ssh: `ssh -x HOST "PROGRAM" ARGUMENTS...`
SSH = """\
#!/bin/bash
host="$2"; program="${3//\\"/}"; shift 3
exec srun --jobid="${BED_JOB}" --overlap --nodes=1 --ntasks=1 --nodelist="${host}" --mpi=none \\
    bash -c 'unset "${!SLURM_@}" "${!PMI@}"; exec "$@"' ssh "${program}" "$@"
"""


class PBSSite:
    """The commands of a site, and the environment of its login node.

    Parameters
    ----------
    bed : SlurmBed
    folder : Path
        Where the commands go; it is the user's home folder.
    dialect : str
        "torque" or "pbspro".
    """

    def __init__(self, bed: SlurmBed, folder: Path, dialect: str) -> None:
        self.bed = bed
        self.commands = folder / "bin"
        self.commands.mkdir()
        for name in ("qsub", "qstat"):
            line = shlex.join([sys.executable, str(Path(__file__).parent / f"{name}.py")])
            self.command(name, f'#!/bin/sh\nexec {line} "$@"\n')
        self.command("qdel", '#!/bin/bash\nexec scancel "${@%.bed}"\n')
        on_nodes = {**bed.env, "HYDRA_LAUNCHER": "ssh", "HYDRA_LAUNCHER_EXEC": str(self.command("ssh", SSH))}
        (folder / "nodes").write_text("\n".join(f"{name}={value}" for name, value in on_nodes.items()))
        self.env = {
            "PATH": f"{self.commands}:{os.environ['PATH']}",
            "QSUB": dialect,
            "QSUB_PATH": str(self.commands),
            "QSUB_ENVIRONMENT": str(folder / "nodes"),
            "HOME": str(folder),
        }

    def command(self, name: str, text: str) -> Path:
        """Put a command on the path of the login node and of the nodes."""
        path = self.commands / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def qsub(self, script: Path) -> str:
        """Submit a script from its folder; the job's id."""
        done = self.bed.run(["qsub", script.name], 60, script.parent, self.env)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
