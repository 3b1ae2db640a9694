"""slurm/timeseries on a real Slurm: CSV files written, read and summarized by two nodes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from bed import SlurmBed
from test_jobs import Submit

pytestmark = pytest.mark.slurm

FOLDER = Path(__file__).parents[2] / "slurm/timeseries"


@pytest.mark.parametrize("system", ["Slurm", "PBS"])
def test_the_time_series(slurm: SlurmBed, tmp_path: Path, system: str) -> None:
    submit = Submit(slurm, tmp_path)
    here = submit.folder / "timeseries"
    shutil.copytree(FOLDER, here, ignore=shutil.ignore_patterns("data*", "results", "__pycache__"))
    job = submit.of_folder("timeseries", system)
    assert ["id", "float64", "2000-09.csv:1236"] in [line.split() for line in job.out.splitlines()]

    parts = [pd.read_csv(path, parse_dates=["time"]) for path in sorted((here / "data").glob("*.csv"))]
    plain = pd.concat(parts, ignore_index=True)
    spread = plain[plain["y"] > 0].groupby("name")["x"].std()
    written = pd.read_csv(here / "results/spread.csv", index_col="name")["x"]
    pd.testing.assert_series_equal(written, spread, rtol=1e-11)
    for name, rule in {"hourly": "h", "daily": "D"}.items():
        table = pd.read_csv(here / f"results/{name}.csv", parse_dates=["time"], index_col="time")
        want = plain.resample(rule, on="time")[["x", "y"]].mean()
        pd.testing.assert_frame_equal(table, want, rtol=1e-11, atol=1e-13, check_freq=False)
    assert (here / "results/daily.png").read_bytes().startswith(b"\x89PNG")
