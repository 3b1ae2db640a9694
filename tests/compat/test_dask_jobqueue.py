"""What daskhpc needs of dask-jobqueue beyond its public classes is still there, and what it works around too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from daskhpc.compat.dask_jobqueue import jobqueue_class, worker_job_class

IMPORTS = """
import signal, sys
before = signal.getsignal(signal.SIGINT)
if sys.argv[1] == "ours":
    from daskhpc.compat.dask_jobqueue import jobqueue_class
    jobqueue_class("SLURMCluster")
else:
    import dask_jobqueue
print(signal.getsignal(signal.SIGINT) is before)
"""


def test_an_import_without_effects(tmp_path: Path) -> None:
    """The other way its import takes Ctrl-C, and writes a file; if it does no more, the workaround can go."""
    for way, quiet in (("ours", True), ("theirs", False)):
        home = tmp_path / way
        home.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", IMPORTS, way],
            env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{quiet}\n"
        assert (home / ".config/dask/jobqueue.yaml").exists() is not quiet


def test_the_command_has_our_words() -> None:
    job_class = worker_job_class(jobqueue_class("SLURMJob"), lambda text: "", lambda job: None, ("auto", "0.5"))
    script = job_class("tls://n1:1", name="w", cores=2, memory="1GB", processes=2, worker_command="a.b").job_script()
    assert script.splitlines()[-1].endswith(
        "-m a.b tls://n1:1 --name w --nthreads auto --memory-limit 0.5 --death-timeout 60"
    )
