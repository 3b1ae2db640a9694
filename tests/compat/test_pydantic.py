"""pydantic has what daskhpc.compat.pydantic relies on."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from daskhpc.compat.pydantic import DECORATOR, what_is_decorated
from daskhpc.journal.tokens import token

PROGRAM = """
import inspect, typing, pydantic
from daskhpc.journal.tokens import token

class Base(pydantic.BaseModel):
    rate: typing.Annotated[float, pydantic.Field(gt=0)] = 2.0

class Settings(Base):
    steps: int = 1
    names: list[str] = pydantic.Field(default_factory=list)
    inner: "typing.Optional[Settings]" = None

    @pydantic.field_validator("steps")
    @classmethod
    def positive(cls, value): return value

    @pydantic.computed_field
    @property
    def twice(self) -> int: return 2 * self.steps

@pydantic.dataclasses.dataclass
class Row:
    x: int = 1

def run(x): return Settings(steps=x), Row(x)

found = [run, Settings, Settings(steps=2), Row, Row(3)]
before = [token(each).hex() for each in found]
changed = Settings()
changed.steps = 5
run(2), changed.model_dump_json(), inspect.signature(Settings)
assert [token(each).hex() for each in found] == before
print(*before)
"""


def run(text: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_models_are_the_same_in_each_process_and_used_or_not() -> None:
    plain = run(PROGRAM)
    assert run(PROGRAM) == plain
    for old, new in (("steps: int", "steps: float"), ("gt=0", "gt=1"), ('("steps")', '("steps", mode="before")')):
        changed = run(PROGRAM.replace(old, new))
        assert [a == b for a, b in zip(plain, changed, strict=True)] == [False, False, False, True, True], new


class Decorator:
    """As pydantic's: which class it is of has a place in memory."""

    def __init__(self, cls_var_name: str, cls_ref: str) -> None:
        self.cls_var_name, self.cls_ref, self.info = cls_var_name, cls_ref, ("steps",)


def test_what_is_decorated() -> None:
    assert what_is_decorated(Decorator("positive", "1")) == ["positive", ("steps",)]


def test_what_is_made_of_the_fields_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, name = DECORATOR.rpartition(".")
    monkeypatch.setattr(Decorator, "__module__", module)
    assert name == Decorator.__qualname__

    def model(place: str, decorated: str = "positive") -> Any:
        members = {"__pydantic_core_schema__": {"ref": place}, "__pydantic_validator__": place}
        return type("Settings", (), {"__module__": "__main__", **members, "made": Decorator(decorated, place)})

    assert token(model("1")) == token(model("2")) != token(model("1", "negative"))
