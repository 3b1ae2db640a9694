"""Slurm's compact lists: host names, counts per node, numbers."""

from __future__ import annotations

import re

# Why these are written here: python-hostlist is under the GPL and ClusterShell under the LGPL, while daskhpc is under
# a BSD licence; and scontrol, which expands lists too, is not on every node and asks the controller.
#
# Every list has a limit. One wrong digit in a range (n[1-1000000000]) would otherwise fill the memory of the node.
_LIMIT = 100_000
_REPEATED = re.compile(r"(\d{1,9})(?:\(x(\d{1,6})\))?")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


def expand_hosts(text: str) -> tuple[str, ...]:
    """Expand a Slurm host list.

    Parameters
    ----------
    text : str
        For example ``"a[1-3,07-09]b[1-2],c"``.

    Returns
    -------
    tuple[str, ...]
        The names, in the list's order.

    Raises
    ------
    ValueError
        If the list is empty or malformed, or names more than 100,000 hosts.
    """
    names: list[str] = []
    for item in _split(text):
        names.extend(_expand_item(item))
        if len(names) > _LIMIT:
            raise ValueError(f"more than {_LIMIT} hosts")
    if not names:
        raise ValueError("an empty host list")
    return tuple(names)


def expand_counts(text: str) -> tuple[int, ...]:
    """Expand Slurm's counts per node: ``"72(x2),36"`` is (72, 72, 36).

    Raises
    ------
    ValueError
        If the text is anything else.
    """
    counts: list[int] = []
    for item in text.split(","):
        match = _REPEATED.fullmatch(item.strip())
        if match is None:
            raise ValueError(f"not a count: {item!r}")
        counts.extend([int(match[1])] * min(int(match[2] or 1), _LIMIT))
    return tuple(counts)


def expand_numbers(text: str) -> tuple[int, ...]:
    """Expand a list of numbers and ranges, as the kernel and Slurm write them: ``"0-3,8"`` is (0, 1, 2, 3, 8).

    Raises
    ------
    ValueError
        If the text is empty or anything else.
    """
    numbers: list[int] = []
    for item in text.split(","):
        match = _RANGE.fullmatch(item.strip())
        if match is None:
            raise ValueError(f"not a number or a range: {item!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first > _LIMIT:
            raise ValueError(f"not a range: {item!r}")
        numbers.extend(range(first, last + 1))
    return tuple(numbers)


def _split(text: str) -> list[str]:
    """Split at the commas outside brackets."""
    items, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if depth not in (0, 1):
            raise ValueError(f"unbalanced brackets in {text!r}")
        if character == "," and depth == 0:
            items.append(text[start:position])
            start = position + 1
    if depth:
        raise ValueError(f"unbalanced brackets in {text!r}")
    return [item.strip() for item in [*items, text[start:]] if item.strip()]


def _expand_item(item: str) -> list[str]:
    """Expand one name with any number of bracketed ranges, the last varying fastest."""
    names = [""]
    for literal, ranges in re.findall(r"([^\[\]]+)|\[([^\[\]]*)\]", item):
        endings = [literal] if literal else _expand_ranges(ranges)
        if len(names) * len(endings) > _LIMIT:
            raise ValueError(f"more than {_LIMIT} hosts")
        names = [name + ending for name in names for ending in endings]
    if any(character in name for name in names for character in " \t/"):
        raise ValueError(f"not a host name: {item!r}")
    return names


def _expand_ranges(text: str) -> list[str]:
    """Expand the inside of one pair of brackets, keeping zero padding."""
    endings: list[str] = []
    for item in text.split(","):
        match = _RANGE.fullmatch(item.strip())
        if match is None:
            raise ValueError(f"not a range: {item!r}")
        width = len(match[1])
        endings.extend(f"{number:0{width}d}" for number in expand_numbers(match[0]))
    return endings
