"""slurm/climatology on a real Slurm: NetCDF files written, read and reduced by two nodes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from bed import SlurmBed
from test_jobs import Submit

pytestmark = pytest.mark.slurm

FOLDER = Path(__file__).parents[2] / "slurm/climatology"


@pytest.mark.parametrize("system", ["Slurm", "PBS"])
def test_the_climatology(slurm: SlurmBed, tmp_path: Path, system: str) -> None:
    submit = Submit(slurm, tmp_path)
    here = submit.folder / "climatology"
    shutil.copytree(FOLDER, here, ignore=shutil.ignore_patterns("data", "*.nc", "*.png", "__pycache__"))
    program = here / "climatology.py"
    program.write_text(program.read_text().replace("range(1991, 2001)", "range(1999, 2001)"))
    for script in here.glob("job.*"):
        script.write_text(script.read_text().replace("--processes=4", "--processes=2"))
    job = submit.of_folder("climatology", system, "--cpus-per-task=2")
    assert "24 files: time 2924, lat 73, lon 144; 0.11 GiB\nJanuary " in job.out, job.out
    with xr.open_mfdataset(sorted(map(str, here.glob("data/*.nc")))) as plain:
        part = plain.air.isel(lat=slice(0, None, 12), lon=slice(0, None, 12)).compute()
    means = xr.load_dataset(here / "climatology.nc").air.isel(lat=slice(0, None, 12), lon=slice(0, None, 12))
    np.testing.assert_allclose(means, part.groupby("time.month").mean("time"), rtol=1e-5)
    assert (here / "climatology.png").read_bytes().startswith(b"\x89PNG")
