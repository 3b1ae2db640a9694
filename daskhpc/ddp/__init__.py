"""One PyTorch model trained by all workers: DistributedDataParallel with Dask as its launcher.

Importing this imports no torch, and neither does a Dask worker: each rank is a process of its own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoints import load
    from .evaluation import evaluate
    from .rank_context import RankContext, context
    from .training import TrainingResult, train

__all__ = ["RankContext", "TrainingResult", "context", "evaluate", "load", "train"]

_HOMES = {
    "RankContext": "rank_context",
    "TrainingResult": "training",
    "context": "rank_context",
    "evaluate": "evaluation",
    "load": "checkpoints",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'daskhpc.ddp' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
