"""The public `daskhpc.start`, and clusters whose workers are jobs."""

from .start import start

__all__ = ["start"]
