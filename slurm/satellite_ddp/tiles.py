"""Satellite tiles in class folders, as UC Merced land use has them: ``folder/forest/tile-017.png``.

``python tiles.py FOLDER`` makes a set to try with, of 21 classes of 64 x 64 RGB tiles: for each class two colours in a
pattern of a scale of its own, shifted, with noise. A small network learns them in a few epochs.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = """
agricultural airplane baseballdiamond beach buildings chaparral denseresidential forest freeway golfcourse harbor
intersection mediumresidential mobilehomepark overpass parkinglot river runway sparseresidential storagetanks
tenniscourt
"""
CLASSES = NAMES.split()
SIZE = 64
TEST_SHARE = 0.2


def make(folder: Path, each: int = 60, seed: int = 0) -> None:
    """Write `each` tiles of every class."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        colours = np.random.default_rng(number).uniform(0.15, 0.85, (2, 3))
        angle, scale = np.pi * (number % 7) / 7, 3 + 3 * (number // 7)
        for tile in range(each):
            across = np.cos(angle) * x + np.sin(angle) * y
            wave = 0.5 + 0.5 * np.sin(2 * np.pi * (scale * across + draw.uniform()))
            picture = colours[0] + wave[..., None] * (colours[1] - colours[0])
            picture += draw.normal(0, 0.12, picture.shape) + draw.uniform(-0.08, 0.08, 3)
            Image.fromarray((255 * picture.clip(0, 1)).astype(np.uint8)).save(folder / name / f"tile-{tile:03d}.png")


def names(folder: Path) -> list[str]:
    """The classes: the folder's subfolders, in alphabetical order."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All tiles, uint8 of shape (n, 3, 64, 64), and their classes; pictures of another size are scaled."""
    tiles, labels = [], []
    for number, name in enumerate(names(folder)):
        for path in sorted((folder / name).iterdir()):
            with Image.open(path) as picture:
                tiles.append(np.asarray(picture.convert("RGB").resize((SIZE, SIZE))).transpose(2, 0, 1))
            labels.append(number)
    return np.stack(tiles), np.array(labels)


def split(labels: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training part and of the test part, which has the same share of every class."""
    draw = np.random.default_rng(seed)
    test = []
    for number in np.unique(labels):
        own = draw.permutation(np.flatnonzero(labels == number))
        test.extend(own[: max(1, round(TEST_SHARE * len(own)))])
    is_test = np.isin(np.arange(len(labels)), test)
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
