"""The releases that daskhpc admits have no advisory that is known here."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
from audit import main, stored
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
ENTRY = """
id: PYSEC-2023-1
affected:
- package: {name: thing, ecosystem: PyPI}
  ranges:
  - type: ECOSYSTEM
    events: [{introduced: "1.0"}, {fixed: "1.4"}, {introduced: "2.0"}]
"""


def test_the_lower_bounds_exclude_what_has_an_advisory() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    asked = [Requirement(text) for each in lists for text in each]
    named = {canonicalize_name(requirement.name) for requirement in asked}
    for advisory in stored():
        assert advisory.package in named | {"pyarrow"}, "dask[dataframe] has the bound of pyarrow"
        for requirement in asked:
            if canonicalize_name(requirement.name) == advisory.package:
                assert advisory.fixed is not None
                assert max(Version(bound.version) for bound in requirement.specifier) >= advisory.fixed, str(
                    requirement
                )


@pytest.mark.parametrize(
    ("pinned", "found"),
    [
        ("tornado==6.5.4", ["PYSEC-2026-140"]),
        ("tornado==6.5.5", []),
        ("Jupyter_Server==2.19.0", ["CVE-2026-44727", "CVE-2026-86049"]),
        ("thing==0.9\nother==1.0", []),
        ("thing==1.3.9", ["PYSEC-2023-1"]),
        ("thing==1.4", []),
        ("thing==2.0.1", ["PYSEC-2023-1"]),
    ],
)
def test_what_the_audit_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pinned: str, found: list[str]
) -> None:
    (tmp_path / "list.txt").write_text(f"# a list\n{pinned}\n")
    (tmp_path / "vulns" / "thing").mkdir(parents=True)
    (tmp_path / "vulns" / "thing" / "PYSEC-2023-1.yaml").write_text(ENTRY)
    monkeypatch.setattr(sys, "argv", ["audit.py", str(tmp_path / "list.txt"), "--database", str(tmp_path)])
    assert main() == (1 if found else 0)
    assert re.findall(r" has (\S+)", capsys.readouterr().out) == found


def test_the_releases_of_the_tests_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["audit.py", str(ROOT / "tests/locked.txt"), str(ROOT / "tests/oldest.txt")])
    assert main() == 0
