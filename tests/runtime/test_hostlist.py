"""Slurm's compact lists."""

from __future__ import annotations

import pytest

from daskhpc.runtime.hostlist import expand_counts, expand_hosts, expand_numbers


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("n1", "n1"),
        ("n1,n2", "n1 n2"),
        ("n[1-3]", "n1 n2 n3"),
        ("n[1-2,07-09]", "n1 n2 n07 n08 n09"),
        ("n[08-11]", "n08 n09 n10 n11"),
        ("n[1,3]-ib", "n1-ib n3-ib"),
        ("a[1-2]b[3-4],c", "a1b3 a1b4 a2b3 a2b4 c"),
        ("a[1-3,07-09]b[1-2],c", "a1b1 a1b2 a2b1 a2b2 a3b1 a3b2 a07b1 a07b2 a08b1 a08b2 a09b1 a09b2 c"),
        ("rack[1-2]n[01-02].site.org", "rack1n01.site.org rack1n02.site.org rack2n01.site.org rack2n02.site.org"),
        ("[1-2]x", "1x 2x"),
        (" n1 , n2 ,", "n1 n2"),
    ],
)
def test_hosts(text, hosts):
    assert expand_hosts(text) == tuple(hosts.split())


@pytest.mark.parametrize(
    "text", ["", " ", ",", "n[", "n]", "n[1-", "n[]", "n[a-b]", "n[3-1]", "n[[1-2]]", "n[1-999999999]", "(null) x"]
)
def test_malformed_hosts(text):
    with pytest.raises(ValueError, match=r"."):
        expand_hosts(text)


@pytest.mark.parametrize(("text", "counts"), [("8", (8,)), ("72(x2),36", (72, 72, 36)), ("4(x3)", (4, 4, 4))])
def test_counts(text, counts):
    assert expand_counts(text) == counts


@pytest.mark.parametrize("text", ["", "a", "4(x)", "4x2", "-1"])
def test_malformed_counts(text):
    with pytest.raises(ValueError, match="not a count"):
        expand_counts(text)


@pytest.mark.parametrize(("text", "numbers"), [("0", (0,)), ("0-3,8,10-11", (0, 1, 2, 3, 8, 10, 11))])
def test_numbers(text, numbers):
    assert expand_numbers(text) == numbers


@pytest.mark.parametrize("text", ["", "x", "3-1", "0-", "0-9999999"])
def test_malformed_numbers(text):
    with pytest.raises(ValueError, match="not a"):
        expand_numbers(text)
