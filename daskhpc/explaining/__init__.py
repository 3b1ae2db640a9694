"""What a lazy object is, what computing it takes on this cluster, and what is unwise about it."""

from .explanation import Explanation, explain
from .model import Advice, Collection, Layer, Size, Work

__all__ = ["Advice", "Collection", "Explanation", "Layer", "Size", "Work", "explain"]
