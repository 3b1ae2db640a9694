"""What comes back is exactly what went in: type and bits."""

from __future__ import annotations

import json
import math
import struct
from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskhpc.errors import JournalError
from daskhpc.journal.codec import decode, encode, to_text

Point = namedtuple("Point", "x y")


class Text(str):
    pass


def there_and_back(value: Any) -> tuple[Any, Any, dict[str, bytes]]:
    """The encoded form after its way through JSON, the value that came back, and the payloads."""
    payloads: dict[str, bytes] = {}
    text = to_text(encode(value, payloads.__setitem__))
    assert text.isascii()
    assert "\n" not in text
    data = json.loads(text)
    return data, decode(data, lambda digest, size: payloads[digest]), payloads


def bits(value: Any) -> Any:
    """Something that is equal for two values only if they are the same in type and bits."""
    if isinstance(value, float) and type(value) is float:
        return "float", struct.pack("<d", value)
    if isinstance(value, np.generic | np.ndarray):
        layout = (value.flags.f_contiguous, value.flags.c_contiguous) if isinstance(value, np.ndarray) else None
        contents = value.tolist() if value.dtype.hasobject else value.tobytes("A")
        exact = list(value) if isinstance(value, str | bytes) else contents
        return type(value), value.dtype.str, value.dtype.char, value.shape, layout, exact
    if isinstance(value, dict):
        return type(value), [(bits(key), bits(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [bits(item) for item in value]
    return type(value), value


floats = st.integers(0, 2**64 - 1).map(lambda number: struct.unpack("<d", struct.pack("<Q", number))[0])
texts = st.text(st.characters(exclude_categories=())) | st.sampled_from(["~", "\ud800\udc00", "\udc80", "a\nb", "\0"])
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | floats
    | st.floats()
    | texts
    | st.binary(max_size=40)
    | st.complex_numbers()
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(texts, inner, max_size=4)
        | st.dictionaries(st.integers() | st.binary(max_size=3) | st.tuples(texts), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(values)
@settings(deadline=None)
def test_nested_values_come_back_exactly(value: Any) -> None:
    assert repr(bits(there_and_back(value)[1])) == repr(bits(value))


CODES = np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?"


@given(st.sampled_from(CODES), st.binary(min_size=32, max_size=32), st.sampled_from("<>"))
@settings(deadline=None)
def test_numpy_scalars_and_arrays_of_all_types_come_back_exactly(code: str, data: bytes, order: str) -> None:
    if code == "?":
        data = bytes(byte & 1 for byte in data)
    array = np.frombuffer(data[: np.dtype(code).itemsize], code)
    swapped = array.astype(np.dtype(code).newbyteorder(order))
    for value in (array[0], array, swapped, swapped[:0], np.asfortranarray(array.repeat(6).reshape(2, 3))):
        data_, back, payloads = there_and_back(value)
        assert bits(back) == bits(value)
        assert not payloads, data_


@pytest.mark.parametrize(
    "value",
    [
        np.datetime64("2024-02-29T12", "h"),
        np.datetime64("NaT", "25s"),
        np.timedelta64(-7, "D"),
        np.array(["a", "bc\0"]),
        np.array([b"a"], "S3"),
        np.zeros((2, 0, 3), order="F"),
        np.zeros(3, "<U0"),
        np.array(1.5),
        np.str_("a\0"),
        np.bytes_(b"a\0"),
        10**5000,
        -(10**40),
        2**63,
        [True, 1, 1.0, np.True_, np.int64(1)],
    ],
    ids=lambda value: type(value).__name__,
)
def test_such_values_need_no_payload(value: Any) -> None:
    data, back, payloads = there_and_back(value)
    assert bits(back) == bits(value)
    assert not payloads, data


@pytest.mark.parametrize(
    "value",
    [
        Point(1, 2.5),
        OrderedDict(b=1, a=2),
        Text("a"),
        {1, 2},
        1j,
        np.arange(1000.0),
        np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]),
        np.array([None, "a"], object),
        np.asfortranarray(np.arange(600.0).reshape(20, 30)),
        "long" * 20_000,
        list(range(20_000)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_else_is_one_payload(value: Any) -> None:
    data, back, payloads = there_and_back(value)
    assert data["~"] == "pickle"
    assert [len(payload) for payload in payloads.values()] == [data["size"]]
    assert bits(back) == bits(value)


def test_only_the_smallest_value_that_needs_it_is_pickled() -> None:
    data, back, payloads = there_and_back({"score": 0.5, "estimator": {1, 2}, "error": [ValueError("no")]})
    assert data["score"] == 0.5
    assert len(payloads) == 2
    assert back["estimator"] == {1, 2}
    assert repr(back["error"]) == "[ValueError('no')]"


def test_cycles_and_depth_are_kept_in_a_payload() -> None:
    cycle: list[Any] = [1]
    cycle.append(cycle)
    back = there_and_back(cycle)[1]
    assert back[0] == 1
    assert back[1] is back
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    assert there_and_back(deep)[1] == deep


def test_doubling_references_do_not_double_the_line() -> None:
    value: list[Any] = [0.5]
    for _ in range(28):
        value = [value, value]
    data, back, _ = there_and_back(value)
    assert data["~"] == "pickle"
    assert back[0] is back[1]


def test_plain_values_are_plain_json() -> None:
    value = {"a": 1, "b": [0.1, -0.0, None, True, "é"]}
    data, back, _ = there_and_back(value)
    assert data == value
    assert math.copysign(1, back["b"][1]) == -1


def test_a_form_of_a_later_version_is_refused() -> None:
    with pytest.raises(JournalError, match="'quaternion'"):
        decode([{"~": "quaternion"}], lambda digest, size: b"")


def test_what_cannot_be_pickled_stores_nothing() -> None:
    stored: dict[str, bytes] = {}
    with pytest.raises(TypeError):
        encode([{1, 2}, (i for i in ())], stored.__setitem__)
    assert stored == {}
