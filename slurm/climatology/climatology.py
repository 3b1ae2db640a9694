"""The mean of every month over many years of NetCDF files, as a file and as a picture.

On a laptop:

    daskhpc run climatology.py

on a cluster:

    daskhpc submit --nodes 2 --cpus-per-task 4 --time 10m --processes 4 climatology.py

The first run writes the NetCDF files, made-up air temperatures over the globe, into the folder ``data`` beside this
file. The means go to ``climatology.nc`` and ``climatology.png``.
"""

import time
from pathlib import Path

from matplotlib.figure import Figure

import daskhpc

HERE = Path(__file__).parent
YEARS = range(1991, 2001)
FILES_PER_YEAR = 12
PATTERN = "data/air-*.nc"
VARIABLE = "air"
MONTHS = {1: "January", 4: "April", 7: "July", 10: "October"}


def main() -> None:
    daskhpc.start()

    if len(list(HERE.glob(PATTERN))) != len(YEARS) * FILES_PER_YEAR:
        daskhpc.cubes.make_air_temperature(HERE / "data", YEARS, FILES_PER_YEAR)

    began = time.perf_counter()
    data = daskhpc.cubes.open_dataset(HERE / PATTERN)
    opened = time.perf_counter()
    means = daskhpc.cubes.climatology(data).compute()
    computed = time.perf_counter()

    sizes = ", ".join(f"{name} {size}" for name, size in data[VARIABLE].sizes.items())
    print(f"{len(list(HERE.glob(PATTERN)))} files: {sizes}; {data.nbytes / 2**30:.2f} GiB")
    for month, name in MONTHS.items():
        air = means[VARIABLE].sel(month=month)
        north, south = (air.sel(lat=part).mean().item() for part in (slice(90, 0), slice(0, -90)))
        print(f"{name:8} north of the equator {north:.2f}, south of it {south:.2f} {air.units}")
    print(f"Opening took {opened - began:.2f} s, the climatology {computed - opened:.2f} s (times of this run)")

    means.to_netcdf(HERE / "climatology.nc")
    picture(means[VARIABLE]).savefig(HERE / "climatology.png", dpi=100)


def picture(means) -> Figure:
    """Four maps on one scale."""
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    limits = {"vmin": means.min().item(), "vmax": means.max().item()}
    for ax, (month, name) in zip(axes, MONTHS.items(), strict=True):
        mesh = ax.pcolormesh(means.lon, means.lat, means.sel(month=month), cmap="RdYlBu_r", shading="nearest", **limits)
        ax.set_title(name)
    figure.colorbar(mesh, ax=axes, label=f"{means.attrs['long_name']} ({means.attrs['units']})")
    figure.supxlabel("degrees east")
    figure.supylabel("degrees north")
    return figure


main()
