"""What a lazy object is, what computing it takes on this cluster, and what is unwise about it."""

from .explanation import Explanation, explain
from .model import Advice, Layer, Part, Size, Work

__all__ = ["Advice", "Explanation", "Layer", "Part", "Size", "Work", "explain"]
