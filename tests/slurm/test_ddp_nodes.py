"""Trainings over the nodes of a Slurm job: the interface, the addresses that listen, a lost node; the tutorial."""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest
from bed import SlurmBed
from test_jobs import CHECKPOINTS, REPOSITORY, Submit

pytestmark = pytest.mark.slurm

PROGRAM = """
    import os, socket, time
    import psutil
    import daskhpc

    def fit():
        run = daskhpc.ddp.context()
        mean = run.mean(run.rank)
        found = psutil.Process().net_connections(kind="tcp")
        listening = sorted({c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN})
        run.mean(0)
        own = socket.gethostbyname(socket.gethostname())
        return run.rank, run.node_rank, run.local_world_size, socket.gethostname(), own, mean, listening

    def lost():
        run = daskhpc.ddp.context()
        while True:
            run.log(here=run.mean(1))
            time.sleep(0.05)
            if run.rank == 0:
                open("trains", "w").close()

    with daskhpc.start() as client:
        for row in daskhpc.ddp.train(fit, progress=False):
            print(*row, flush=True)
        try:
            daskhpc.ddp.train(lost, progress=False, max_restarts=1, start_timeout="10 s")
        except daskhpc.errors.TrainingError as error:
            print(error.rank, error.host, error.kind, flush=True)
            print(error.found, flush=True)
"""


def test_a_training_over_nodes_whose_names_are_loopback_and_a_lost_node(slurm: SlurmBed, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    nodes = ["node1", "node2", "node3"]
    original = slurm.exec("node1", ["cat", "/etc/hosts"]).stdout
    for node in nodes:  # as Debian's installer writes it
        lines = [line for line in original.splitlines() if line.split()[1:] != [node]]
        hosts = tmp_path / f"hosts-{node}"
        hosts.write_text("\n".join([f"127.0.1.1 {node}", *lines, ""]))
        slurm.exec(node, ["mount", "--bind", str(hosts), "/etc/hosts"])
    script = tmp_path / "job.sh"
    script.write_text(
        f"#!/bin/bash\n{shlex.quote(sys.executable)} -m daskhpc run --bootstrap=slurm program.py\necho exit $?\n"
    )
    options = ("--nodes=3", f"--nodelist={','.join(nodes)}", "--cpus-per-task=2", "--mem=4G", "--no-kill")
    try:
        out, err = tmp_path / "job.out", tmp_path / "job.err"
        out.touch()
        job = slurm.sbatch(script, *options, "--output=job.out", "--error=job.err", cwd=tmp_path)
        slurm.until(lambda: (tmp_path / "trains").exists() or "exit" in out.read_text(), 180, "the second training")
        slurm.stop("node3")
        slurm.until(lambda: "exit" in out.read_text(), 90, "the program to end")
    except TimeoutError as error:
        raise AssertionError(f"{error}\n{out.read_text()}\n{err.read_text()}") from None
    finally:
        for node in nodes[:2]:
            slurm.exec(node, ["umount", "/etc/hosts"])
    lines = out.read_text().splitlines()
    for rank, node in enumerate(nodes):
        assert lines[rank] == f"{rank} {rank} 1 {node} 127.0.1.1 1.0 ['{slurm.addresses[node]}']", err.read_text()
    assert lines[3] == "2 node3 worker", err.read_text()
    assert lines[4].startswith("not begun again: 2 worker processes for 3 ranks; "), err.read_text()
    assert lines[-1] == "exit 0"
    slurm.wait(job, 60)
    slurm.until(lambda: all(p.node == "node3" for p in slurm.processes(job)), 15, "the end of the job's processes")


@pytest.mark.parametrize("system", ["Slurm", "PBS"])
def test_the_satellite_program(slurm: SlurmBed, tmp_path: Path, system: str) -> None:
    submit = Submit(slurm, tmp_path)
    here = submit.folder / "satellite_ddp"
    shutil.copytree(REPOSITORY / "slurm/satellite_ddp", here, ignore=CHECKPOINTS)
    shutil.rmtree(here / "tiles", ignore_errors=True)
    for name, long, short in (("tiles.py", "each: int = 60", "each: int = 10"), ("train.py", "default=5", "default=2")):
        text = (here / name).read_text()
        assert long in text
        (here / name).write_text(text.replace(long, short))
    job = submit.of_folder("satellite_ddp", system, "--cpus-per-task=2")
    assert "global batch 64 = 32 on each of 2 ranks, of 168 samples\n" in job.err
    assert "Trained by 2 ranks; last checkpoint: checkpoint/epoch-0002.pt\n" in job.out
    assert "Accuracy on 42 tiles that were not trained on: " in job.out
    made = here / "checkpoint"
    assert pd.read_csv(made / "confusion.csv", index_col=0).to_numpy().sum() == 42
    assert (made / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in made.glob("*.pt")) == ["epoch-0001.pt", "epoch-0002.pt"]
