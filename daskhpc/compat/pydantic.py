"""What daskhpc needs of pydantic beyond its public names. Importing this imports no pydantic."""

from __future__ import annotations

from typing import Any

MADE_OF_THE_FIELDS = frozenset(
    {
        "__pydantic_core_schema__",
        "__pydantic_validator__",
        "__pydantic_serializer__",
        "__pydantic_setattr_handlers__",
        "__pydantic_complete__",
        "__signature__",
    }
)
"""What pydantic puts into a class beside its fields and validators. It has places in memory, and some comes late."""

DECORATOR = "pydantic._internal._decorators.Decorator"
"""The class of what pydantic keeps of a validator, a serializer or a computed field."""


def what_is_decorated(decorator: Any) -> list[Any]:
    """The method's name, and what was said of it; the method itself stands in the class.

    Why not its pickle: that has the place of the class in memory.
    """
    return [decorator.cls_var_name, decorator.info]
