"""Functions, classes and modules taken apart: libraries by name and version, the user's own code by its source."""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib.util
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from ..compat.pydantic import MADE_OF_THE_FIELDS
from ..compat.python import ABC_ATTRIBUTES, is_namedtuple_field
from .bytecode import instructions, module_imports, module_source, reads
from .key_parts import Attributes, Lenient, Node, Unordered
from .origins import file_of, named, origin

_DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)
_OF_PYTHON = frozenset(
    {
        "__module__",
        "__qualname__",
        "__doc__",
        "__dict__",
        "__weakref__",
        "__annotations__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__classdictcell__",
        "__firstlineno__",
        "__static_attributes__",
        "__orig_bases__",
        "__parameters__",
        "__type_params__",
        *ABC_ATTRIBUTES,
        *MADE_OF_THE_FIELDS,
        "__dataclass_fields__",
        "__dataclass_params__",
        "__match_args__",
        "__slotnames__",
    }
)
_FIELD = ("name", "default", "default_factory", "init", "repr", "hash", "compare", "kw_only")
_PARAMS = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")


def handler(kind: type) -> Callable[[Any], Node] | None:
    """The function that takes objects of a type apart, if they are code."""
    for family, take_apart in _KINDS:
        if issubclass(kind, family):
            return take_apart
    return None


def _function(function: FunctionType) -> Node:
    """A library's by name; else the code, and what it refers to.

    Notes
    -----
    The user's own: source, defaults, closure, attributes, and what it reads of its module. The module's file and name
    do not matter. So a function has the same token in ``__main__``, in a module, and in a process that got it by
    cloudpickle. What a library's decorator made goes by the library's code and what that encloses.
    """
    code, module = function.__code__, function.__globals__.get("__name__")
    home, of = origin(module), origin(function.__module__)
    # One of the user's may have been put in the place of a library's, with its name.
    if not (home.own or of.own) and named(function.__module__, function.__qualname__) is function:
        return Node("function", [function.__module__, function.__qualname__, of.version], keep=True)
    if module == "functools" and code.co_qualname == "singledispatch.<locals>.wrapper":
        return _dispatched(function)
    body: Any = code if home.own else Node("name", [module, code.co_qualname, home.version])
    read = _globals(function) if home.own else {}
    name = f" (function {function.__qualname__})"
    return Node(
        "own function",
        [
            function.__qualname__,
            body,
            function.__defaults__,
            function.__kwdefaults__,
            [_cell(cell) for cell in function.__closure__ or ()],
            Attributes({k: v for k, v in vars(function).items() if not k.startswith("__")}),
            Attributes(read),
        ],
        ["", "", f"{name} default", f"{name} default", f"{name} enclosed", name, f"{name} global"],
        keep=True,
    )


def _dispatched(function: Any) -> Node:
    """One of `functools.singledispatch`, by its implementations: beside them it holds weak references."""
    name = f" (function {function.__qualname__})"
    made = [Node("implementation", [kind, each], ["", name]) for kind, each in function.registry.items()]
    return Node("singledispatch", [function.__qualname__, Unordered(made)], ["", ""], keep=True)


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return Node("empty cell", [])


def _globals(function: FunctionType) -> dict[str, Any]:
    """What a function reads of its module: code strictly, other things by their type if they have no key."""
    space, found = function.__globals__, reads(function.__code__)
    values: dict[str, Any] = {}
    for first, *rest in found.names:
        if first not in space or (first.startswith("__") and first.endswith("__")):
            continue
        name, value = first, space[first]
        while rest and isinstance(value, ModuleType) and origin(value.__name__).own and hasattr(value, rest[0]):
            name, value = f"{name}.{rest[0]}", getattr(value, rest.pop(0))
        values[name] = value if isinstance(value, FunctionType | type) else Lenient(value)
    for level, module, names in found.imports:
        full = importlib.util.resolve_name("." * level + module, space.get("__package__") or "") if level else module
        values[f"import {module}"] = _module_named(full)
        for name in names:
            if file_of(f"{full}.{name}") is not None:
                values[f"import {module}.{name}"] = _module_named(f"{full}.{name}")
    return values


def _class(kind: type) -> Node:
    """A library's by name; else what its body left: methods, attributes, bases.

    Notes
    -----
    Nothing is taken from the source of the class as such, so a class that arrived by cloudpickle is the same. What
    dataclasses, enumerations and named tuples generate differs between versions of Python and is left out; their
    fields and members count.
    """
    home = origin(kind.__module__)
    if not home.own and named(kind.__module__, kind.__qualname__) is kind:
        return Node("class", [kind.__module__, kind.__qualname__, home.version], keep=True)
    children = [kind.__name__, type(kind), kind.__bases__, Attributes(dict(_members(kind)))]
    return Node("own class", children, ["", "", "", f" (class {kind.__qualname__})"], keep=True)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    space = vars(kind)
    made = "__dataclass_fields__" in space or issubclass(kind, enum.Enum) or hasattr(kind, "_fields")
    members = set(kind.__members__) if issubclass(kind, enum.Enum) else set()
    for name, value in space.items():
        if name in _OF_PYTHON or name in members or isinstance(value, _DESCRIPTORS):
            continue
        if members and isinstance(value, kind):
            continue
        inner = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if made and _generated(kind, name, inner):
            continue
        yield name, value if isinstance(value, FunctionType | type) else Lenient(value)
    if "__dataclass_fields__" in space:
        fields = [[getattr(f, n) for n in _FIELD] for f in dataclasses.fields(kind)]
        parameters = space["__dataclass_params__"]
        yield "(fields)", [fields, [getattr(parameters, n) for n in _PARAMS]]
    if issubclass(kind, enum.Enum):
        yield "(members)", _enumerated(kind)


def _enumerated(kind: type[enum.Enum]) -> list[tuple[str, Any]]:
    """The members in their order, then other names of members, which a pickler makes plain attributes of the class."""
    members = [(member.name, member.value) for member in kind]
    known = {name for name, _ in members}
    others: dict[str, Any] = {**vars(kind), **kind.__members__}
    return members + sorted((n, m.value) for n, m in others.items() if isinstance(m, kind) and n not in known)


def _generated(kind: type, name: str, value: Any) -> bool:
    if is_namedtuple_field(value):
        return True
    by_library = issubclass(kind, enum.Enum) or value is None or isinstance(value, FunctionType | BuiltinFunctionType)
    return name.startswith("_") and by_library and not _written(value)


def _written(value: Any) -> bool:
    """Whether a method is the user's own, not made by a library: by names, which a pickler keeps."""
    if not isinstance(value, FunctionType):
        return False
    module = value.__globals__.get("__name__")
    by_dataclass = value.__code__.co_qualname.startswith("__create_fn__.")
    return origin(module).own and not by_dataclass and not str(module).startswith("namedtuple_")


def _module(module: ModuleType) -> Node:
    return _module_named(module.__name__)


def _module_named(name: str) -> Node:
    """A library's module by its version, the user's own by its source and by the modules that it imports."""
    home = origin(name)
    if not home.own:
        return Node("module", [name, home.version])
    text = _text_of(name)
    if text is None:
        return Node("module", [name])
    others = _imported(name, text)
    source = [name.rpartition(".")[2], module_source(text)]
    return Node("own module", [*source, others] if others else source)


def _imported(name: str, text: str) -> list[Node]:
    """What a module of the user's own imports, what that imports, and so on: own modules and versions of libraries."""
    found: dict[str, Node | None] = {name: None}
    left = [(name, text)]
    while left:
        for each in _imports_of(*left.pop()):
            if each in found:
                continue
            home, inner = origin(each), _text_of(each)
            if not home.own:
                found[each] = Node("module", [each, home.version]) if home.version else None
            elif inner is not None:
                found[each] = Node("own module", [each.rpartition(".")[2], module_source(inner)])
                left.append((each, inner))
    return [node for _, node in sorted(found.items()) if node is not None]


def _imports_of(name: str, text: str) -> Iterator[str]:
    """The modules that the source of a module imports, by their full names; some may be no modules."""
    file = file_of(name) or ""
    package = name if Path(file).name == "__init__.py" else name.rpartition(".")[0]
    for level, module, names in module_imports(text):
        try:
            full = importlib.util.resolve_name("." * level + module, package) if level else module
        except ImportError:  # beyond the top
            continue
        yield from (full, *(f"{full}.{each}" for each in names))


def _text_of(name: str) -> str | None:
    """The source of a module of the user's own; None if it has none."""
    file = file_of(name) if name != "__main__" and origin(name).own else None
    path = Path(file) if file is not None else None
    if path is None or path.suffix != ".py" or not path.is_file():
        return None
    return path.read_text("utf-8", "replace")


def _builtin(function: Any) -> Node:
    """A function of C: by its module, or by the object that it is bound to."""
    bound, module = getattr(function, "__self__", None), function.__module__ or ""
    version = origin(module).version if module else ""
    if bound is None or isinstance(bound, ModuleType):
        return Node("builtin", [module, function.__qualname__, version], keep=True)
    if named(module, function.__name__) is function:  # of pybind11, bound to an object that tells nothing
        return Node("builtin", [module, function.__name__, version], keep=True)
    return Node("bound builtin", [function.__name__, bound], ["", ".__self__"])


def _method(method: MethodType) -> Node:
    return Node("method", [method.__func__, method.__self__], ["", ".__self__"])


def _descriptor(found: Any) -> Node:
    return Node("descriptor", [found.__objclass__, found.__name__])


def _property(found: property) -> Node:
    return Node("property", [found.fget, found.fset, found.fdel])


def _wrapped(found: Any) -> Node:
    return Node(type(found).__name__, [found.__func__])


def _cached_property(found: Any) -> Node:
    return Node("cached_property", [found.func])


def _cached(function: Any) -> Node:
    return Node("lru_cache", [function.__wrapped__])


def _dispatched_method(found: Any) -> Node:
    return Node("singledispatchmethod", [found.dispatcher])


def _partial(found: functools.partial[Any]) -> Node:
    return Node(
        "partial",
        [type(found), found.func, found.args, found.keywords, Attributes(vars(found))],
        ["", ".func", ".args", ".keywords", ""],
    )


def _member(member: enum.Enum) -> Node:
    # a flag that is a combination has a name in the original's class alone
    return Node("enum", [type(member), "" if isinstance(member, enum.Flag) else member.name, member.value])


def _mapping(found: Any) -> Node:
    return Node("mappingproxy", [dict(found)], [""])


def _kinds() -> Iterator[tuple[type, Callable[[Any], Node]]]:
    yield FunctionType, _function
    yield enum.Enum, _member
    yield type, _class
    yield CodeType, instructions
    yield ModuleType, _module
    yield MethodType, _method
    yield BuiltinFunctionType, _builtin
    yield types.MethodWrapperType, _builtin
    for kind in (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType):
        yield kind, _descriptor
    yield types.GetSetDescriptorType, _descriptor
    yield types.MemberDescriptorType, _descriptor
    yield property, _property
    yield classmethod, _wrapped
    yield staticmethod, _wrapped
    yield functools.cached_property, _cached_property
    yield type(functools.lru_cache(len)), _cached
    yield functools.partial, _partial
    yield functools.singledispatchmethod, _dispatched_method
    yield types.MappingProxyType, _mapping


_KINDS = tuple(_kinds())
