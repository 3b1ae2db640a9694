"""daskhpc.scaling: time a function with more and more workers."""

from .result import ScalingStudy
from .study import scaling

__all__ = ["ScalingStudy", "scaling"]
