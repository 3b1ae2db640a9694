"""An exception of a rank, made again on the client: with its causes, and the user's lines of its traceback."""

from __future__ import annotations

import ast
import contextlib
import os
import pickle
import traceback
from dataclasses import dataclass
from types import CodeType, TracebackType
from typing import Any, NamedTuple

from ..errors import DaskhpcError, one_line

_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_RUNS_SCRIPTS = "<frozen runpy>"
_MOST_CAUSES = 20


class Frame(NamedTuple):
    """A line of a traceback: its place in the code, and the columns that the carets below it mark."""

    file: str
    function: str
    lines: tuple[int, int] = (1, 1)
    columns: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class RaisedError:
    """An exception that can travel.

    Attributes
    ----------
    pickled : bytes
        The exception, without its traceback and causes; empty if it cannot be made on the client.
    name, text : str
        Its type and its text, for a stand-in.
    frames : tuple of Frame
    cause, context : RaisedError or None
        What it was raised from; without that, what was being handled, unless it is not to be shown.
    members : tuple of RaisedError
        The exceptions of a group.
    todo : str
        Its third part, what to type next; empty if it is no error of this package.
    """

    pickled: bytes
    name: str
    text: str
    frames: tuple[Frame, ...]
    cause: RaisedError | None = None
    context: RaisedError | None = None
    members: tuple[RaisedError, ...] = ()
    todo: str = ""

    @classmethod
    def of(cls, error: BaseException, depth: int = 0) -> RaisedError:
        """What can travel of an exception."""

        def other(linked: BaseException | None) -> RaisedError | None:
            return None if linked is None or depth >= _MOST_CAUSES else cls.of(linked, depth + 1)

        members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        found = [_frame(each) for each in traceback.extract_tb(error.__traceback__)]
        try:
            text = str(error)
        except Exception:
            text = one_line(error)
        return cls(
            _pickled(error),
            type(error).__qualname__,
            text,
            tuple(of_the_user(found, isinstance(error, DaskhpcError))),
            other(error.__cause__),
            None if error.__suppress_context__ else other(error.__context__),
            tuple(each for each in map(other, members) if each is not None),
            error.todo if isinstance(error, DaskhpcError) else "",
        )

    def error(self) -> BaseException:
        """The exception; if its type cannot be made here, one with its name and its text."""
        error = _unpickled(self.pickled) if self.pickled else None
        if error is None:
            error = type(self.name.rpartition(".")[2], (RuntimeError,), {"__module__": "builtins"})(self.text)
        if isinstance(error, BaseExceptionGroup) and self.members:
            kind, attributes = type(error), error.__dict__
            error = kind.__new__(kind, error.message, [member.error() for member in self.members])
            error.__dict__.update(attributes)
        error.__traceback__ = _traceback(self.frames)
        if self.cause is not None:
            error.__cause__ = self.cause.error()
        elif self.context is not None:
            error.__context__ = self.context.error()
        return error


def of_the_user(frames: list[Frame], told: bool) -> list[Frame]:
    """The frames without those of this package.

    Parameters
    ----------
    frames : list of Frame
        The outermost first.
    told : bool
        Whether the exception's own message has what to do: then it does not matter which line of this package raised
        it. The inner frames of any other exception that was raised here are kept.

    Examples
    --------
    >>> [frame.function for frame in of_the_user([Frame(f"{_OWN}ddp/x.py", "main"), Frame("train.py", "fit")], False)]
    ['fit']
    """
    own = [frame.file.startswith((_OWN, _RUNS_SCRIPTS)) for frame in frames]
    first = own.index(False) if False in own else len(frames)
    keep = bool(own) and own[-1] and not told
    return [frame for n, frame in enumerate(frames[first:], first) if keep or not own[n]]


def _frame(found: traceback.FrameSummary) -> Frame:
    file, line = found.filename, max(found.lineno or 1, 1)
    if found.end_lineno is None or found.colno is None or found.end_colno is None:  # PYTHONNODEBUGRANGES
        return Frame(file, found.name, (line, line))
    return Frame(file, found.name, (line, found.end_lineno), (found.colno, found.end_colno))


def _pickled(error: BaseException) -> bytes:
    """An exception as bytes, also of a type whose ``__init__`` takes other arguments; empty if that cannot be done.

    Not as pickle itself does it: with Dask, exceptions are pickled with all that they came from (by tblib), and that
    loses the arguments of some types.
    """
    import cloudpickle

    for way in (_with_init, _without_init):
        with contextlib.suppress(Exception):
            data = bytes(cloudpickle.dumps(way(error)))
            if _unpickled(data) is not None:
                return data
    return b""


def _with_init(error: BaseException) -> Any:
    if isinstance(error, BaseExceptionGroup):
        raise TypeError("its members travel apart, with their own lines")
    return error.__reduce__()


def _without_init(error: BaseException) -> Any:
    args: tuple[Any, ...] = error.args
    if isinstance(error, BaseExceptionGroup):
        args = (error.message, [Exception() if isinstance(error, ExceptionGroup) else BaseException()])
    return _new, (type(error), *args), error.__dict__


def _new(kind: type[BaseException], *args: Any) -> BaseException:
    return kind.__new__(kind, *args)


def _unpickled(data: bytes) -> BaseException | None:
    with contextlib.suppress(Exception):
        make, args, *state = pickle.loads(data)
        error = make(*args)
        if state and state[0]:
            error.__setstate__(state[0])
        str(error)
        return error if isinstance(error, BaseException) else None
    return None


def _traceback(frames: tuple[Frame, ...]) -> TracebackType | None:
    """A traceback that Python prints as it would print that of the rank."""
    made: TracebackType | None = None
    for frame in reversed(frames):
        at = _raised_at(frame)
        made = TracebackType(made, at.tb_frame, at.tb_lasti, at.tb_lineno)
    return made


def _raised_at(frame: Frame) -> TracebackType:
    """A frame is only made by code that runs: here by a statement that has the file, the line and the columns."""
    name = ast.Name("LookupError", ast.Load())
    statement = ast.Raise(name)
    for node in (statement, name):
        node.lineno, node.end_lineno, node.col_offset, node.end_col_offset = frame.lines + frame.columns
    code: CodeType = compile(ast.Module([statement], []), frame.file, "exec")
    try:
        exec(code.replace(co_name=frame.function), {"__name__": "", "__file__": frame.file})
    except LookupError as error:
        at = error.__traceback__ and error.__traceback__.tb_next
    assert at is not None
    return at
