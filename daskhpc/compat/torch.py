"""What daskhpc needs of PyTorch beyond its public names. Importing this imports no torch."""

from __future__ import annotations

from typing import Any


def uncompiled(model: Any) -> Any:
    """The model that ``torch.compile`` has wrapped, or the model itself.

    The names in a compiled model's state begin with the private name under which it holds the other one.
    """
    return getattr(model, "_orig_mod", model)
