"""Random numbers that do not depend on the chunks of their array: the same on a laptop and on every cluster."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np

from ..errors import SettingsError
from ..windowed_array import Window, WindowedArray, contiguous
from .chunks import auto_chunks, cut

TILE = 2**17
"""Elements of a tile. A part of the promise: another size would change all numbers."""
DISTRIBUTIONS = (
    "beta",
    "binomial",
    "chisquare",
    "exponential",
    "gamma",
    "integers",
    "laplace",
    "lognormal",
    "normal",
    "poisson",
    "triangular",
    "uniform",
)


def random(
    shape: int | Sequence[int],
    dtype: Any = "float64",
    distribution: str = "normal",
    *,
    seed: int = 0,
    chunks: Any = "auto",
    client: Any = None,
    **parameters: Any,
) -> da.Array:
    """A Dask array of random numbers that do not depend on its chunks.

    The same shape, distribution and seed give the same numbers on a laptop and on a hundred nodes, and with any
    `chunks`; those of Dask's own ``da.random`` change with the chunks.

    Parameters
    ----------
    shape : int or sequence of int
        The shape.
    dtype : dtype
        What the numbers are converted to.
    distribution : str
        A method of `numpy.random.Generator` that draws single numbers: ``"normal"``, ``"uniform"``, ``"integers"``, ...
    seed : int
        Other seeds give other numbers.
    chunks : "auto" or chunks
        By default `auto_chunks`; otherwise as Dask takes them.
    client : distributed.Client, optional
        The cluster that the chunks suit; the current client by default.
    **parameters
        Of the distribution, by NumPy's names: ``loc=0, scale=1``; ``low=0, high=10``.

    Returns
    -------
    dask.array.Array
        Of that shape and dtype.

    Raises
    ------
    SettingsError
        If the distribution is not one of NumPy's, or does not take the parameters.

    Notes
    -----
    The array is made of tiles of at most 131,072 elements, each drawn from its own stream: NumPy's PCG64 with
    ``SeedSequence(seed, spawn_key=place of the tile)``. A chunk that cuts a tile draws all of it.

    Examples
    --------
    >>> whole = random((700, 600), seed=3).compute()
    >>> part = random((700, 600), seed=3, chunks=(100, 333))[200:300, 7]
    >>> bool((part.compute() == whole[200:300, 7]).all())
    True
    """
    shape = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    tiles = Tiles(shape, dtype, distribution, int(seed), parameters)
    if chunks == "auto":
        chunks = auto_chunks(shape, tiles.dtype, previous=tiles.tile, client=client)
    return tiles.to_dask(chunks, f"random-{distribution}")


class Tiles(WindowedArray):
    """Random numbers, drawn tile by tile."""

    from_files = False

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, distribution: str, seed: int, parameters: dict[str, Any]
    ) -> None:
        super().__init__(shape, dtype)
        self.distribution = distribution
        self.seed = seed
        self.parameters = parameters
        self.tile = tuple(max(1, sizes[0]) for sizes in cut(shape, (1,) * len(shape), TILE))
        _check(distribution, parameters, seed)

    def read(self, window: Window) -> Any:
        whole, steps = contiguous(window)
        return self._filled(whole)[steps]

    def _filled(self, window: Window) -> Any:
        out = np.empty([part.stop - part.start for part in window], self.dtype)
        if not out.size:
            return out
        touched = [
            range(part.start // side, -(-part.stop // side)) for part, side in zip(window, self.tile, strict=True)
        ]
        for place in itertools.product(*touched):
            starts = [at * side for at, side in zip(place, self.tile, strict=True)]
            drawn = self._draw(place, [min(s, n - b) for s, n, b in zip(self.tile, self.shape, starts, strict=True)])
            target, source = [], []
            for part, start, length in zip(window, starts, drawn.shape, strict=True):
                first, last = max(part.start, start), min(part.stop, start + length)
                target.append(slice(first - part.start, last - part.start))
                source.append(slice(first - start, last - start))
            out[tuple(target)] = drawn[tuple(source)]
        return out

    def _draw(self, place: tuple[int, ...], size: list[int]) -> Any:
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=place)))
        return np.asarray(getattr(generator, self.distribution)(size=tuple(size), **self.parameters))


def _check(distribution: str, parameters: dict[str, Any], seed: int) -> None:
    """Draw once, so that a wrong name or seed shows here and not in a task."""
    if distribution not in DISTRIBUTIONS:
        raise SettingsError(f"There is no distribution {distribution!r}.", "", f"one of {', '.join(DISTRIBUTIONS)}")
    try:
        drawn = getattr(np.random.default_rng(seed), distribution)(size=(1,), **parameters)
    except (TypeError, ValueError) as error:
        found = f"{error}: seed={seed}, {parameters}"
        raise SettingsError(f"NumPy cannot draw from {distribution!r} with these parameters.", found) from None
    if np.shape(drawn) != (1,):
        raise SettingsError("The parameters of a distribution have to be numbers.", str(parameters))
