"""Which land use does a satellite tile show? One network, trained by all workers with DistributedDataParallel.

On a laptop:

    daskhpc run train.py

on a cluster:

    daskhpc submit --nodes 2 --cpus-per-task 4 --time 10m train.py

Without ``--tiles FOLDER``, a folder with a subfolder for each class such as UC Merced land use, 21 classes are made to
try with. Checkpoints are kept in the folder ``checkpoint`` beside this file: run again, it goes on from the last one.
Remove the folder to begin anew. In the same folder are then ``confusion.csv``, and ``confusion.png`` if Matplotlib is
installed.
"""

import argparse
from pathlib import Path

import numpy as np
import tiles

import daskhpc

HERE = Path(__file__).parent
FOLDER = HERE / "checkpoint"


def network(classes: int, name: str):
    """The simple network of three convolutions, or a ResNet of torchvision."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    if name != "simple":
        import torchvision

        return getattr(torchvision.models, name)(num_classes=classes)

    def convolution(before: int, after: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(4))

    return nn.Sequential(
        convolution(3, 16), convolution(16, 32), convolution(32, 64), nn.Flatten(), nn.Linear(64, classes)
    )


class Tiles:
    """A dataset of tiles in memory: pictures of numbers from 0 to 1, and classes."""

    def __init__(self, pictures: np.ndarray, labels: np.ndarray, chosen: np.ndarray) -> None:
        self.pictures, self.labels, self.chosen = pictures, labels, chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int):
        import torch

        number = self.chosen[index]
        return torch.from_numpy(self.pictures[number].copy()).float() / 255, int(self.labels[number])


def fit(folder: Path, name: str, epochs: int, batch_size: int, lr: float) -> None:
    """What each rank does; outside a training it is the one rank of a laptop."""
    import torch
    from torch.nn.functional import cross_entropy

    run = daskhpc.ddp.context()
    labels = tiles.read(folder)[1] if run.local_rank == 0 else None
    pictures = run.shared(lambda: tiles.read(folder)[0])  # once in the memory of each node
    labels = run.shared(lambda: labels)
    train, test = tiles.split(labels)
    model = run.prepare(network(len(tiles.names(folder)), name))
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    batches = run.loader(Tiles(pictures, labels, train), batch_size)
    state = {"model": model, "optimizer": optimizer, "schedule": schedule}
    for _ in run.epochs(epochs, **state):
        model.train()
        for pictures_of_batch, classes in batches:
            output = model(pictures_of_batch.to(run.device))
            loss = cross_entropy(output, classes.to(run.device))  # on logits: it has the softmax in it
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.log(loss=loss)
        schedule.step()
        # On tiles that no rank has trained on; the checkpoint of the best epoch is kept.
        scores = daskhpc.ddp.evaluate(model, Tiles(pictures, labels, test))
        run.metric = float((scores.argmax(1) == labels[test]).mean())
        run.log(accuracy=run.metric)


def draw(table, path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 8), layout="constrained")
    axes.imshow(table, cmap="Blues")
    axes.set(xlabel="predicted", ylabel="actual", title="Tiles of the test part")
    axes.set_xticks(range(len(table)), table.columns, rotation=90)
    axes.set_yticks(range(len(table)), table.index)
    figure.savefig(path, dpi=120)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--tiles", type=Path)
    options.add_argument("--network", default="simple", help="simple, or resnet18 and the other ResNets of torchvision")
    options.add_argument("--epochs", type=int, default=5)
    options.add_argument("--batch-size", type=int, default=32, help="of each rank")
    options.add_argument("--lr", type=float, default=0.05)
    given = options.parse_args()
    daskhpc.start()
    folder = given.tiles or HERE / "tiles"
    if not folder.exists():
        tiles.make(folder)

    done = daskhpc.ddp.train(
        fit, folder, given.network, given.epochs, given.batch_size, given.lr, checkpoint=FOLDER, max_restarts=2
    )
    print(f"Trained by {done.world_size} ranks; last checkpoint: checkpoint/{done.checkpoint.name}")

    pictures, labels = tiles.read(folder)
    names, (_, test) = tiles.names(folder), tiles.split(labels)
    model = network(len(names), given.network)
    model.load_state_dict(daskhpc.ddp.load(FOLDER, best=True)["model"])  # read as data: nothing in it is executed
    predicted = daskhpc.ddp.evaluate(model, Tiles(pictures, labels, test)).argmax(1)
    table = daskhpc.report.crosstab(labels[test], predicted, names)
    table.to_csv(FOLDER / "confusion.csv")
    print(f"Accuracy on {len(test)} tiles that were not trained on: {np.diag(table).sum() / len(test):.3f}\n")
    wrong = table.where(~np.eye(len(table), dtype=bool), 0).stack()
    for (actual, taken), count in wrong[wrong > 0].nlargest(5).items():
        print(f"  {count} of {actual} taken for {taken}")
    try:
        draw(table, FOLDER / "confusion.png")
        print("Files: checkpoint/confusion.csv and confusion.png")
    except ModuleNotFoundError as missing:
        print(f"File: checkpoint/confusion.csv\nNo picture: {missing}; pip install 'daskhpc[plots]'")


if __name__ == "__main__":
    main()
