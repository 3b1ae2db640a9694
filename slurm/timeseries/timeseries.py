"""A year of measurements in twelve CSV files: types, a filter, a spread, means per hour and day, a picture.

On a laptop:

    daskhpc run timeseries.py

on a cluster:

    daskhpc submit --nodes 2 --cpus-per-task 4 --time 10m timeseries.py

It reads ``data/*.csv`` beside this file, and makes such files where there are none: put your own there instead, with
the columns ``time``, ``name``, ``x`` and ``y``. Tables and the picture are written to the folder ``results``.
"""

from pathlib import Path

import dask
import numpy as np
import pandas as pd

import daskhpc
from daskhpc import frames

HERE = Path(__file__).parent
NAMES = np.array(["Alice", "Bob", "Charlie", "Dan", "Edith", "Frank"])


def make(folder: Path, year: int = 2000) -> None:
    """Twelve files, a row for each minute; in one of them a value is missing in a column of whole numbers."""
    unfinished = folder.with_name("data.unfinished")
    unfinished.mkdir(exist_ok=True)
    draw = np.random.default_rng(0)
    for month in range(1, 13):
        times = pd.date_range(
            f"{year}-{month:02}-01", periods=pd.Period(f"{year}-{month:02}").days_in_month * 1440, freq="min"
        )
        day = 2 * np.pi * (times.hour + times.minute / 60) / 24
        season = 2 * np.pi * times.day_of_year / 366
        table = pd.DataFrame(
            {
                "time": times,
                "name": draw.choice(NAMES, len(times)),
                "id": draw.poisson(1000, len(times)),
                "x": (np.sin(day) - np.cos(season) + 0.3 * draw.normal(size=len(times))).round(4),
                "y": draw.uniform(-1, 1, len(times)).round(4),
            }
        )
        if month == 9:
            table["id"] = table["id"].astype(object)
            table.loc[1234, "id"] = None
        table.to_csv(unfinished / f"{year}-{month:02}.csv", index=False)
    unfinished.rename(folder)


def main() -> None:
    daskhpc.start()
    data, results = HERE / "data", HERE / "results"
    if not data.exists():
        make(data)
    results.mkdir(exist_ok=True)

    types = frames.column_types(data / "*.csv", parse_dates=["time"])
    types["forced_by"] = [str(place).removeprefix(f"{data.absolute()}/") for place in types["forced_by"]]
    print(types.to_string(index=False), end="\n\n")

    frame = frames.read_csv(data / "*.csv", parse_dates=["time"])
    above = frame[frame["y"] > 0]
    numbers = frame[["time", "x", "y"]]
    spread, hourly, daily = dask.compute(
        above.groupby("name")["x"].std(),
        frames.resample(numbers, "h", time="time"),
        frames.resample(numbers, "D", time="time"),
    )
    spread = spread.sort_index()
    print("Standard deviation of x where y is above 0:\n")
    print(spread.to_string(), end="\n\n")

    for name, table in {"spread": spread, "hourly": hourly, "daily": daily}.items():
        table.to_csv(results / f"{name}.csv")
        print(f"results/{name}.csv: {len(table)} rows")
    frames.plot_time(daily).figure.savefig(results / "daily.png", dpi=150)
    print("results/daily.png")


main()
