"""slurm/climatology on a real Slurm: NetCDF files written, read and reduced by two nodes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from bed import SlurmBed
from test_jobs import TWO, Submit

pytestmark = pytest.mark.slurm

FOLDER = Path(__file__).parents[2] / "slurm/climatology"


@pytest.mark.parametrize("system", ["Slurm", "PBS"])
def test_the_climatology(slurm: SlurmBed, tmp_path: Path, system: str) -> None:
    submit = Submit(slurm, tmp_path)
    here = submit.folder / "climatology"
    shutil.copytree(FOLDER, here, ignore=shutil.ignore_patterns("data", "*.nc", "*.png"))
    program = here / "climatology.py"
    program.write_text(program.read_text().replace("range(1991, 2001)", "range(1999, 2001)"))
    if system == "PBS":
        job = submit.pbs("climatology/job.pbs", timeout=150)
    else:
        job = submit.file("climatology/job.sbatch", *TWO, "--cpus-per-task=2", timeout=150)
    assert (job.state, job.code) == ("COMPLETED", "0:0"), job.err
    assert job.rows["worker"][1:3] == ["2-3", "node1,node2"]
    assert job.out.startswith("24 files: time 2924, lat 73, lon 144; 0.11 GiB\nJanuary "), job.out
    with xr.open_mfdataset(sorted(map(str, here.glob("data/*.nc")))) as plain:
        part = plain.air.isel(lat=slice(0, None, 12), lon=slice(0, None, 12)).compute()
    means = xr.load_dataset(here / "climatology.nc").air.isel(lat=slice(0, None, 12), lon=slice(0, None, 12))
    np.testing.assert_allclose(means, part.groupby("time.month").mean("time"), rtol=1e-5)
    assert (here / "climatology.png").read_bytes().startswith(b"\x89PNG")
