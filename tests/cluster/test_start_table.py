"""The start table: what a person reads first."""

from __future__ import annotations

import dataclasses
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from example_plans import GB, grant, plans, runtime, settings

from daskhpc.cluster.dashboard_link import DashboardLink
from daskhpc.cluster.local_cluster import plan_local
from daskhpc.cluster.start_table import COLUMNS, StartTable, hosts, show, show_warnings, spans

TWO_NODES = ["n1", "n2", "n1", "n2"]


def table(names: list[str] = TWO_NODES, arguments: dict[str, Any] | None = None, **changes: Any) -> StartTable:
    return StartTable(plans(names, **(arguments or {})), runtime(**changes))


@pytest.mark.parametrize(
    ("ranks", "text"),
    [
        ([], ""),
        ([3], "3"),
        ([0, 1], "0-1"),
        ([2, 3, 4, 7], "2-4,7"),
        ([7, 4, 3, 2], "2-4,7"),
        ([0, 2, 4], "0,2,4"),
        ([1, 2, 5, 6, 9], "1-2,5-6,9"),
        (list(range(2, 1026)), "2-1025"),
    ],
)
def test_spans(ranks: list[int], text: str) -> None:
    assert spans(ranks) == text


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["a", "a", "a"], "a"),
        (["b", "a", "b"], "b,a"),
        (list("abcd"), "a,b,c,d"),
        (list("abcde"), "a,b,c and 2 more"),
        ([f"n{i % 100}" for i in range(1000)], "n0,n1,n2 and 97 more"),
    ],
)
def test_hosts(names: list[str], text: str) -> None:
    assert hosts(iter(names)) == text


def test_ranks_alike_share_a_row() -> None:
    assert table().rows() == [
        ("scheduler", "0", "n1", "-", "-", "-", "-", "ib0", "-"),
        ("client", "1", "n2", "-", "4", "4", "-", "ib0", "-"),
        ("worker", "2-3", "n1,n2", "1", "4", "1", "1.68 GiB", "ib0", "/local/12"),
    ]


def test_a_thousand_ranks_are_three_rows() -> None:
    rows = table([f"n{i % 500}" for i in range(1002)]).rows()
    assert [(row[0], row[1]) for row in rows] == [("scheduler", "0"), ("client", "1"), ("worker", "2-1001")]
    assert rows[2][2] == "n2,n3,n4 and 497 more"


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("nthreads", 2, "2"),
        ("processes", 2, "2"),
        ("memory_limit", 0, "no limit"),
        ("memory_limit", GB, "0.93 GiB"),
        ("interface", "eth0", "eth0"),
        ("interface", None, "default"),
        ("local_directory", "/scratch/a b", "/scratch/a b"),
        ("blas_threads", 3, "3"),
    ],
)
def test_a_rank_that_differs_has_a_row_of_its_own(field: str, value: Any, shown: str) -> None:
    several = plans(["n1"] + ["n2"] * 4)
    odd = several[3]
    several[3] = dataclasses.replace(odd, **{field: dataclasses.replace(getattr(odd, field), value=value)})
    rows = StartTable(several, runtime()).rows()
    assert [row[1] for row in rows] == ["0", "1", "2,4", "3"]
    assert shown in rows[3]


def test_no_limit_is_said() -> None:
    assert table(arguments={"memory_limit": 0}).rows()[2][6] == "no limit"


def test_the_text_of_four_ranks() -> None:
    """All of it, to read as a person would."""
    text = str(dataclasses.replace(table(), dashboard=DashboardLink("http://10.0.0.1:8787/k/status", "n1")))
    assert text.splitlines() == [
        "daskhpc: 2 workers, 8 threads, 2 nodes; job 12.0",
        "  role       ranks  hosts  processes  threads  BLAS  memory    interface  scratch",
        "  scheduler  0      n1     -          -        -     -         ib0        -",
        "  client     1      n2     -          4        4     -         ib0        -",
        "  worker     2-3    n1,n2  1          4        1     1.68 GiB  ib0        /local/12",
        "  from ranks: SLURM_STEP_NUM_TASKS; hosts: SLURM_JOB_NODELIST; processes: default; threads: "
        "SLURM_CPUS_ON_NODE; BLAS: CPUs / threads; memory: cgroup memory.max, 10% headroom; interface: InfiniBand; "
        "scratch: SLURM_TMPDIR",
        "  dashboard http://10.0.0.1:8787/k/status",
    ]


@pytest.mark.parametrize(
    ("arguments", "changes", "words"),
    [
        ({}, {}, ["2 workers, 8 threads, 2 nodes", "job 12.0"]),
        ({"processes": 2, "nthreads": 3}, {"step": None}, ["4 workers, 12 threads, 2 nodes", "job 12"]),
        ({}, {"job": None}, ["2 workers, 8 threads, 2 nodes"]),
    ],
)
def test_the_title(arguments: dict[str, Any], changes: dict[str, Any], words: list[str]) -> None:
    assert table(arguments=arguments, **changes).title() == "daskhpc: " + "; ".join(words)


def test_the_title_counts_one() -> None:
    assert table(["n1"] * 3, {"nthreads": 2}, job=None).title() == "daskhpc: 1 worker, 2 threads, 1 node"


def test_the_title_says_when_the_job_ends() -> None:
    end = time.time() + 3 * 3600 + 30
    title = table(end_time=end).title()
    assert title.endswith(f"; ends {time.strftime('%Y-%m-%d %H:%M', time.localtime(end))}, in 3 h")
    assert ", in " not in table(end_time=time.time() - 100).title()


def test_one_machine_is_one_row() -> None:
    here = runtime(job=None, step=None, given=grant(8))
    one = StartTable((plan_local(here, settings(workers=2)),), here, remark="1 of 2 nodes used")
    assert one.rows() == [("worker", "0", "n1", "2", "4", "1", "0.93 GiB", "ib0", "/local/12")]
    assert one.notes() == ["1 of 2 nodes used"]
    assert one.title() == "daskhpc: 2 workers, 8 threads, 1 node"


def test_the_sources_of_ranks_that_differ_are_all_there() -> None:
    several = plans(TWO_NODES)
    other = dataclasses.replace(several[3].nthreads, source="affinity")
    several[3] = dataclasses.replace(several[3], nthreads=other)
    assert StartTable(several, runtime()).sources()[COLUMNS.index("threads")] == "SLURM_CPUS_ON_NODE or affinity"


def test_warnings_are_said_once_with_their_hosts(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (dataclasses.replace(plan, warnings=("slow disk",)) for plan in plans(["a", "b"]))
    show_warnings([dataclasses.replace(first, warnings=("slow disk", "bound")), second])
    assert capsys.readouterr().err.splitlines() == [
        "daskhpc: warning on a,b: slow disk",
        "daskhpc: warning on a: bound",
    ]


class Cells(HTMLParser):
    """The texts of all cells, and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_html_has_the_same_cells_and_escapes_them() -> None:
    hostile = "<script>alert('x')</script>&amp;\"; echo"
    several = plans([hostile] * 4, local_directory=hostile, interface="<b>")
    made = StartTable(
        [dataclasses.replace(p, nthreads=dataclasses.replace(p.nthreads, source=hostile)) for p in several],
        runtime(job=hostile, warnings=(hostile,)),
        dashboard=DashboardLink(hostile, hostile, hostile, file=Path(hostile)),
        remark=hostile,
    )
    page = Cells()
    page.feed(made._repr_html_())
    page.close()
    assert page.open == []
    assert page.tags == {"div", "b", "table", "thead", "tbody", "tfoot", "tr", "th", "td", "i"}
    assert page.rows == [list(COLUMNS), *map(list, made.rows()), list(made.sources())]
    assert hostile in page.rows[1]
    assert hostile in page.rows[-1]
    assert hostile not in made._repr_html_()


def test_the_dashboard_is_one_line() -> None:
    shown = str(dataclasses.replace(table(), dashboard=DashboardLink("http://127.0.0.1:8787/k/status", "n1", "login1")))
    assert len(shown.splitlines()) == 7
    assert re.search(r"^  dashboard http://127\.0\.0\.1:8787/k/status  \(from your machine: ssh ", shown, re.MULTILINE)
    assert "dashboard" not in str(table())


def test_it_is_shown_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    show(table())
    out, err = capfd.readouterr()
    assert (out, err) == ("", f"{table()}\n")
