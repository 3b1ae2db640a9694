"""Values as JSON and back, exactly: what JSON cannot carry is tagged, or goes to a payload as a pickle."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
import sys
from collections.abc import Callable
from typing import Any

from ..errors import JournalError

TAG = "~"
"""The key by which a JSON object is known as a tagged form."""

Store = Callable[[str, bytes], None]
"""Takes the SHA-256 (hex) and the bytes of a payload."""

Load = Callable[[str, int], bytes]
"""Gives a payload's bytes by its SHA-256 (hex) and size."""

_CHARACTERS = 1 << 16
_PART = 8
_DEPTH = 30
_ARRAY_BYTES = 1024
_INT = 1 << 63
_KINDS = "biufcmMSU"

to_text = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode
"""JSON in one line of ASCII."""


class _TooMuchError(Exception):
    """A value that is too large or too deep for a line."""


def encode(value: Any, store: Store) -> Any:
    """A value in terms of JSON.

    Parameters
    ----------
    value : object
    store : callable
        Called for each payload that the encoded value refers to.

    Returns
    -------
    object
        Of None, bool, int, finite float, str without surrogates, list, and dict with such keys.

    Raises
    ------
    Exception
        Whatever pickle raises for a value that it cannot take.

    Notes
    -----
    ``None``, bool, int, float, str, bytes, list, tuple, dict, NumPy scalars and arrays up to 1 kB are in the line, by
    their exact types; any other object in them is a payload of its own. What takes more than some 64 kB, or is nested
    more than 30 levels deep, cycles included, is one payload as a whole.
    """
    encoder = _Encoder()
    try:
        plain = encoder.encode(value, 0)
    except _TooMuchError:
        encoder = _Encoder()
        plain = encoder.pickled(value)
    for digest, data in encoder.payloads.items():
        store(digest, data)
    return plain


class _Encoder:
    __slots__ = ("left", "payloads")

    def __init__(self) -> None:
        self.left = _CHARACTERS
        self.payloads: dict[str, bytes] = {}

    def spend(self, characters: int) -> None:
        self.left -= characters + _PART
        if self.left < 0:
            raise _TooMuchError

    def encode(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return self.string(value)
        self.spend(0)
        if kind is float:
            return value if math.isfinite(value) else {TAG: "float", "bits": struct.pack(">d", value).hex()}
        if kind is bool or value is None:
            return value
        if kind is int:
            return value if -_INT <= value < _INT else self.integer(value)
        if depth > _DEPTH:
            raise _TooMuchError
        if kind is dict:
            return self.mapping(value, depth + 1)
        if kind is list:
            return [self.encode(item, depth + 1) for item in value]
        if kind is tuple:
            return {TAG: "tuple", "items": [self.encode(item, depth + 1) for item in value]}
        if kind is bytes:
            self.spend(len(value))
            return {TAG: "bytes", "data": _base64(value)}
        return self.numeric(value) or self.pickled(value)

    def string(self, value: str) -> Any:
        self.spend(len(value))
        if _plain(value):
            return value
        return {TAG: "str", "data": _base64(value.encode("utf-8", "surrogatepass"))}

    def integer(self, value: int) -> Any:
        self.spend(value.bit_length() // 4)
        return {TAG: "int", "hex": hex(value)}

    def mapping(self, value: dict[Any, Any], depth: int) -> Any:
        if TAG in value or not all(type(key) is str and _plain(key) for key in value):
            items = [[self.encode(key, depth), self.encode(item, depth)] for key, item in value.items()]
            return {TAG: "dict", "items": items}
        self.spend(sum(map(len, value)))
        return {key: self.encode(item, depth) for key, item in value.items()}

    def numeric(self, value: Any) -> Any:
        """A NumPy scalar or small array; None for anything else."""
        numpy = sys.modules.get("numpy")
        if numpy is None or not isinstance(value, numpy.generic | numpy.ndarray):
            return None
        kind, dtype = type(value), value.dtype
        if dtype.kind not in _KINDS or dtype.metadata or value.nbytes > _ARRAY_BYTES:
            return None
        if kind is numpy.ndarray:
            self.spend(2 * value.nbytes)
            order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
            data, shape = _base64(value.tobytes(order)), list(value.shape)
            return {TAG: "array", "dtype": _name(dtype), "shape": shape, "order": order, "data": data}
        if kind is numpy.str_ or kind is numpy.bytes_:  # an array's item, as in a pickle, loses the zeros at its end
            return {TAG: kind.__name__, "data": self.encode(value[:], 0)}
        if kind is dtype.type:
            return {TAG: "scalar", "dtype": _name(dtype), "data": _base64(value.tobytes())}
        return None

    def pickled(self, value: Any) -> Any:
        import cloudpickle

        data = cloudpickle.dumps(value, protocol=5)
        digest = hashlib.sha256(data).hexdigest()
        self.payloads[digest] = data
        return {TAG: "pickle", "hash": digest, "size": len(data)}


def _plain(text: str) -> bool:
    """Whether JSON carries a string: two surrogates in a row would come back as one character."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name(dtype: Any) -> str:
    """``dtype.str``, but for types that are others of the same size, such as ``np.longlong``."""
    import numpy as np

    name: str = dtype.str
    return name if np.dtype(name).char == dtype.char else name[0].replace("|", "") + dtype.char


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def decode(data: Any, load: Load) -> Any:
    """The value of which `data` is the encoded form.

    Parameters
    ----------
    data : object
        What `encode` returned, also after its way through JSON.
    load : callable
        Called for each payload.

    Raises
    ------
    JournalError
        For a tagged form that this version does not know.
    Exception
        Whatever `load` and the unpickling of a payload raise.
    """
    kind = type(data)
    if kind is list:
        return [decode(item, load) for item in data]
    if kind is not dict:
        return data
    if TAG in data:
        return _tagged(data, load)
    return {key: decode(item, load) for key, item in data.items()}


def _tagged(data: dict[str, Any], load: Load) -> Any:
    match data[TAG]:
        case "float":
            return struct.unpack(">d", bytes.fromhex(data["bits"]))[0]
        case "int":
            return int(data["hex"], 16)
        case "str":
            return base64.b64decode(data["data"]).decode("utf-8", "surrogatepass")
        case "bytes":
            return base64.b64decode(data["data"])
        case "tuple":
            return tuple([decode(item, load) for item in data["items"]])
        case "dict":
            return {decode(key, load): decode(item, load) for key, item in data["items"]}
        case "scalar":
            return _array((), "C", data)[()]
        case "array":
            return _array(tuple(data["shape"]), data["order"], data)
        case "str_" | "bytes_" as name:
            import numpy as np

            return getattr(np, name)(decode(data["data"], load))
        case "pickle":
            from ..compat.cloudpickle import loads

            return loads(load(data["hash"], data["size"]))
        case other:
            raise JournalError(
                f"A result is in a form that this version of daskhpc does not know: {other!r}",
                todo="read this journal with the version of daskhpc that wrote it, or a later one",
            )


def _array(shape: tuple[int, ...], order: Any, data: dict[str, Any]) -> Any:
    import numpy as np

    buffer = bytearray(base64.b64decode(data["data"]))
    return np.ndarray(shape, np.dtype(data["dtype"]), buffer, order=order).copy("K")
