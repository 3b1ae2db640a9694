"""Known advisories for the packages of lists, without a network: ``python tests/audit.py tests/locked.txt``.

It reads tests/advisories.txt, and with ``--database FOLDER`` a clone of github.com/pypa/advisory-database too. The exit
code is 1 if a package has an advisory. pip-audit, which asks PyPI, has no such way (2.10).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

STORED = Path(__file__).with_name("advisories.txt")


class Advisory(NamedTuple):
    """An advisory; releases from `introduced` on have it, and those from `fixed` on do not, if there are any."""

    package: str
    name: str
    introduced: Version
    fixed: Version | None

    def hits(self, version: Version) -> bool:
        return self.introduced <= version and (self.fixed is None or version < self.fixed)


def stored() -> Iterator[Advisory]:
    """Those of tests/advisories.txt."""
    for line in STORED.read_text().splitlines():
        if line and not line.startswith("#"):
            package, fixed, name = line.split()
            yield Advisory(package, name, Version("0"), Version(fixed))


def of_database(folder: Path, package: str) -> Iterator[Advisory]:
    """Those of a clone of the advisory database, which has a file for each, by package."""
    for path in sorted(folder.glob(f"vulns/{package}/*.yaml")):
        data = yaml.safe_load(path.read_text())
        if "withdrawn" not in data:
            for affected in data["affected"]:
                for each in affected.get("ranges", ()):
                    if each["type"] == "ECOSYSTEM":
                        yield from _ranges(package, data["id"], each["events"])


def _ranges(package: str, name: str, events: list[dict[str, Any]]) -> Iterator[Advisory]:
    since: Version | None = None
    for event in events:
        if "introduced" in event:
            since = Version(event["introduced"])
        elif "fixed" in event and since is not None:
            yield Advisory(package, name, since, Version(event["fixed"]))
            since = None
    if since is not None:
        yield Advisory(package, name, since, None)


def pins(path: Path) -> dict[str, Version]:
    """The releases of a list as ``pip freeze`` writes it."""
    found = {}
    for name, version in re.findall(r"(?m)^([\w.-]+)(?:\[.*\])?==(\S+)", path.read_text()):
        try:
            found[canonicalize_name(name)] = Version(version)
        except InvalidVersion:
            print(f"{path}: {name} has no release but {version!r}", file=sys.stderr)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lists", nargs="+", type=Path)
    parser.add_argument("--database", type=Path)
    given = parser.parse_args()
    if given.database is not None and not (given.database / "vulns").is_dir():
        parser.error(f"{given.database} has no folder vulns")
    known, hits = list(stored()), 0
    for path in given.lists:
        releases = pins(path)
        for package, version in releases.items():
            own = [advisory for advisory in known if advisory.package == package]
            own += of_database(given.database, package) if given.database else []
            for name in dict.fromkeys(advisory.name for advisory in own if advisory.hits(version)):
                print(f"{path}: {package} {version} has {name}")
                hits += 1
        print(f"{path}: {len(releases)} packages looked up")
    return 1 if hits else 0


if __name__ == "__main__":
    sys.exit(main())
