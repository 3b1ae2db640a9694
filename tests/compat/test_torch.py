"""PyTorch has what daskhpc.compat.torch relies on."""

from __future__ import annotations

import torch

from daskhpc.compat.torch import uncompiled


def test_uncompiled() -> None:
    model = torch.nn.Linear(2, 1)
    assert uncompiled(model) is model
    assert uncompiled(torch.compile(model)) is model
